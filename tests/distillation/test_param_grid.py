"""Grids of experiments, and which of them share a program."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tiny_run import tiny

from isa_toolkit.distillation import Experiment
from isa_toolkit.distillation.param_grid import (
    expand_grid,
    group_by_program,
    resolve_together,
)
from isa_toolkit.methods import DM, MTT


def test_a_grid_has_every_combination_and_the_last_name_varies_fastest() -> None:
    made = expand_grid(
        [tiny(), tiny(steps=3)], {"drop_easy": [0.0, 0.4], "seed": range(2)}
    )
    assert [(one.steps, one.method.drop_easy, one.seed) for one in made] == [  # pyright: ignore[reportAttributeAccessIssue]
        (steps, fraction, seed)
        for steps in (24, 3)
        for fraction in (0.0, 0.4)
        for seed in (0, 1)
    ]
    assert expand_grid(tiny(seed=7)) == [tiny(seed=7)]


def test_several_grids_follow_each_other() -> None:
    made = expand_grid(tiny(), [{"seed": [3]}, {"segment": [(0, 0), (-1, 0)]}])
    assert made == [tiny(seed=3), tiny(segment=(0, 0)), tiny(segment=(-1, 0))]


@pytest.mark.parametrize(
    ("grid", "kind", "name"),
    [
        ({"ridge": [1e-6]}, ValueError, "name of the grid"),
        ({"seed": 3}, TypeError, "grid"),
        ({"seed": []}, TypeError, "grid"),
        ({"drop_easy": [1.5]}, ValueError, "drop_easy"),
    ],
)
def test_a_bad_grid_is_refused(grid: Any, kind: type, name: str) -> None:
    with pytest.raises(kind, match=name):
        expand_grid(Experiment(method=MTT()), grid)


def test_runs_that_differ_in_traced_settings_share_a_program() -> None:
    one = expand_grid(tiny(), {"drop_easy": [0, 0.4], "segment": [(0, 0), (-1, 0)]})
    others = [tiny(steps=5), tiny(validation_every=4), tiny(learning_rate=1)]
    assert group_by_program([*one, *others]) == [[*one, *others]]


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 16},
        {"images_per_class": 2},
        {"selection": "last"},
        {"limit": 500},
        {"partner": "random"},
        {"pool_size": 3},
    ],
)
def test_runs_that_differ_in_static_settings_do_not(change: dict[str, Any]) -> None:
    assert group_by_program([tiny(), tiny(**change)]) == [[tiny()], [tiny(**change)]]


def test_runs_of_other_methods_or_data_do_not() -> None:
    digits = tiny().load()
    fewer, _ = digits.holdout(0.5)
    mine = tiny(dataset=digits)
    dm = dataclasses.replace(mine, method=DM())
    again = dataclasses.replace(mine, seed=1)
    groups = group_by_program([mine, dm, tiny(dataset=fewer), again])
    assert [[one.seed for one in group] for group in groups] == [[0, 1], [0], [0]]


def test_data_are_loaded_and_held_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    load = Experiment.load

    def counted(self: Experiment) -> Any:
        loads.append(1)
        return load(self)

    monkeypatch.setattr(Experiment, "load", counted)
    experiments = [tiny(), tiny(drop_easy=0), tiny(seed=1, steps=9)]
    first, *others = resolve_together(experiments)
    assert len(loads) == 1
    assert [one.hash for one in others] == [
        one.resolve().hash for one in experiments[1:]
    ]
    for other in others:
        assert other.train is first.train
        assert other.validation is first.validation
