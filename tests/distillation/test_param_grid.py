"""Every combination is there once, in order, and refused where it makes no sense."""

from __future__ import annotations

import pytest
from tiny_run import tiny

from isa_toolkit.distillation.param_grid import combinations, programs, refusal
from isa_toolkit.methods import MTT


def test_the_last_list_varies_fastest_and_none_leaves_things_as_they_are():
    made = combinations(
        [tiny(), tiny(steps=3)], drop_easy=[0.0, 0.4], segment=None, seeds=range(2)
    )
    assert [(one.steps, one.method.drop_easy, one.seed) for one in made] == [
        (steps, share, seed)
        for steps in (24, 3)
        for share in (0.0, 0.4)
        for seed in (0, 1)
    ]
    assert combinations(tiny(seed=7)) == [tiny(seed=7)]


def test_what_differs_in_what_is_traced_is_one_program():
    one = combinations(
        tiny(), drop_easy=[0.0, 0.4], segment=[(0, 0), (-1, 0)], seeds=[1]
    )
    other = tiny(batch_size=31)
    assert programs([*one, other, tiny(steps=5)]) == [[*one, tiny(steps=5)], [other]]


def test_settings_that_a_method_lacks_are_refused():
    with pytest.raises(ValueError, match="ridge must be left out for method 'mtt'"):
        combinations(tiny().__class__(method=MTT()), ridge=[1e-6])
    with pytest.raises(ValueError, match="experiments must be an Experiment or a list"):
        combinations([])
    assert "batch_size must be the same" in str(refusal("batch_size", 1, 2))
