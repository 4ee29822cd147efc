"""Which real images a step sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.datasets import load_dataset
from isa_toolkit.distillation import Experiment
from isa_toolkit.distillation.sampling import (
    class_indices,
    first_order,
    sample_batch,
    train_data,
)
from isa_toolkit.methods import DM, MTT

LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 1, 0, 0, 1, 2, 2], np.int32)


def test_so_many_of_each_class_class_after_class_and_none_twice():
    compiled = quick_jit(class_indices, static_argnames=("num_classes", "count"))
    seen = np.stack(
        [
            compiled(jax.random.key(i), jnp.asarray(LABELS), num_classes=3, count=3)
            for i in range(200)
        ]
    )
    np.testing.assert_array_equal(
        LABELS[seen], np.broadcast_to(np.repeat(np.arange(3), 3), seen.shape)
    )
    assert all(len(set(row)) == 9 for row in seen.tolist())
    # Each of the four or five images of a class is drawn equally often.
    counts = np.bincount(seen.ravel(), minlength=len(LABELS))
    expected = 200 * 3 / np.bincount(LABELS)[LABELS]
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(expected.max()))


def test_a_step_draws_by_its_number_alone():
    def at(step):
        order = first_order(jax.random.key(0), jnp.asarray(step), 13, 6, "per_class")
        chosen, _ = sample_batch(
            jax.random.key(0),
            jnp.asarray(step),
            order,
            jnp.asarray(LABELS),
            sampling="per_class",
            batch_size=6,
            num_classes=3,
        )
        return np.asarray(chosen)

    np.testing.assert_array_equal(at(3), at(3))
    assert (at(3) != at(4)).any()


def test_a_method_without_real_images_sees_none_of_them():
    mtt = Experiment(method=MTT(), selection="last").resolve()
    empty = train_data(mtt, extra=jnp.ones(2))
    assert empty.images.shape == (0, 8, 8, 1)
    assert empty.labels.shape == (0,)
    chosen, _ = sample_batch(
        jax.random.key(0),
        jnp.asarray(0),
        jnp.zeros((0,), jnp.int32),
        empty.labels,
        sampling="none",
        batch_size=0,
        num_classes=10,
    )
    assert chosen.shape == (0,)
    every = train_data(Experiment(selection="last").resolve())
    assert every.images.shape == (1438, 8, 8, 1)


def test_the_batch_size_is_what_the_method_draws():
    def size(method, **changes):
        return Experiment(method=method, selection="last", **changes).resolve()

    smallest = int(np.bincount(load_dataset("digits").train.labels).min())
    assert size(DM(), batch_size=32).batch_size == 320
    # 256 of each class, the published number, are more than there are.
    assert size(DM()).batch_size == 10 * smallest
    with pytest.warns(UserWarning, match=f"the smallest class has {smallest}: a step"):
        assert size(DM(), batch_size=999).batch_size == 10 * smallest
    assert size(DM()).settings.network.name == "convnet_in"
    assert size(MTT()).batch_size == 0
    with pytest.raises(
        ValueError, match="batch_size must be left out for method 'mtt'"
    ):
        Experiment(method=MTT(), batch_size=32)
