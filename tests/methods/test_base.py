"""What methods have in common."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from isa_toolkit.methods import METHODS, FRePo, method_of
from isa_toolkit.methods.base import (
    Batch,
    accuracy_of,
    add_flips,
    as_arrays,
    default_segment,
    dropped_fractions,
    first_failure,
    required,
    static_fields,
)


@pytest.mark.parametrize("finite", [*itertools.product([True, False], repeat=3)])
def test_the_code_is_one_plus_the_index_of_the_first_failure(finite):
    values = [jnp.ones(2) if one else (jnp.ones(1), jnp.inf) for one in finite]
    code = first_failure(*values)
    assert int(code) == (0 if all(finite) else 1 + finite.index(False))
    assert code.dtype == jnp.int32
    assert code.shape == ()


def test_a_batch_needs_images_and_labels_only():
    batch = Batch(jnp.zeros((2, 4, 4, 1)), jnp.eye(2))
    assert batch.extra == ()
    assert batch.progress == 0


def test_the_selection_sets_in_at_a_fraction_of_the_steps_and_at_an_accuracy():
    def found(progress, accuracy, **changes):
        settings = as_arrays(FRePo(drop_easy=0.3, drop_hard=0.1, **changes))
        given = None if accuracy is None else jnp.float32(accuracy)
        fractions = dropped_fractions(settings, jnp.float32(progress), given)
        return tuple(round(float(one), 6) for one in fractions)

    on, off = (0.3, 0.1), (0.0, 0.0)
    assert found(0, 0.0) == found(0, None) == on
    # Every fraction that is a whole number of steps begins with that step.
    for step in range(1, 50):
        assert found(step / 50, 1.0, select_from=step / 50) == on
        assert found((step - 1) / 50, 1.0, select_from=step / 50) == off
    assert found(0.99, 1.0, select_from=1.0) == off
    late = {"select_from": 0.5, "select_from_accuracy": 0.8}
    assert found(0.5, 0.8, **late) == found(0.5, None, **late) == on
    assert found(0.4, 0.8, **late) == found(0.5, 0.79, **late) == off
    for name in late:
        with pytest.raises(
            ValueError, match=f"{name} must be at least 0 and at most 1"
        ):
            FRePo(**{name: 1.5})


def test_the_accuracy_counts_the_largest_predictions():
    labels = jnp.eye(3)[jnp.asarray([0, 1, 2, 2])] - 1 / 3
    prediction = labels.at[3].set(jnp.asarray([0.9, 0.2, 0.1]))
    assert float(accuracy_of(prediction, labels)) == 0.75


def test_flips_follow_the_images_under_the_same_labels():
    images = jnp.arange(12.0).reshape(2, 2, 3, 1)
    both, labels = add_flips(images, jnp.eye(2))
    np.testing.assert_array_equal(both[:2], images)
    np.testing.assert_array_equal(both[2:], np.asarray(images)[:, :, ::-1])
    np.testing.assert_array_equal(labels, np.tile(np.eye(2), (2, 1)))


def test_traced_settings_are_leaves_and_static_ones_are_structure():
    one, other = FRePo(ridge=1e-3), FRePo(drop_easy=0.1, segment=(0, 1))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert jax.tree.structure(one) != jax.tree.structure(FRePo(pool_size=3))
    assert static_fields(one)["partner"] == "nearest"
    assert "ridge" not in static_fields(one)
    arrays = as_arrays(one)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(arrays))
    assert method_of(arrays) is METHODS["frepo"]


def test_settings_can_be_rebuilt_around_anything_that_jax_puts_into_them():
    leaves, structure = jax.tree.flatten(FRePo())
    for leaf in (object(), jnp.zeros(3), jax.ShapeDtypeStruct((), jnp.float32)):
        made = jax.tree.unflatten(structure, [leaf] * len(leaves))
        assert made.ridge is leaf
    traced = jax.jit(lambda s: dataclasses.replace(s, ridge=2 * s.ridge).ridge)
    assert float(traced(FRePo(ridge=1e-3))) == pytest.approx(2e-3)
    # Numbers are checked however they came in.
    with pytest.raises(ValueError, match="drop_easy"):
        jax.tree.unflatten(structure, [2.0] * len(leaves))


def test_the_default_segment_is_one_that_the_loss_accepts():
    assert default_segment("mse", "nearest") == (0.0, 0.5)
    assert default_segment("cross_entropy", "random") == (0.0, 0.0)
    assert default_segment("cross_entropy", "none") == (0.0, 0.0)


def test_what_is_not_resolved_is_named():
    with pytest.raises(ValueError, match="label_scale must be resolved"):
        required(FRePo(), "label_scale")
