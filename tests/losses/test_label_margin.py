"""Laws of the label-margin hinge."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.losses.label_margin import label_margin_loss

slope = quick_jit(jax.grad(label_margin_loss))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[1.0, 0.0, 0.0]], -1 / 3),
        ([[0.5, 0.4, 0.0]], -0.1),
        ([[0.2, 0.2, 0.2]], 0.0),
        ([[-0.1, -0.3, -0.2, -0.9]], -0.1),
        ([[0.5, 0.4, 0.0], [0.0, 0.0, 9.0]], -(0.1 + 1 / 3) / 2),
    ],
)
def test_known_values(labels, expected):
    assert float(label_margin_loss(jnp.asarray(labels))) == pytest.approx(expected)


def test_centred_one_hot_labels_sit_at_the_bottom():
    labels = jnp.eye(5) - 1 / 5
    assert float(label_margin_loss(labels)) == pytest.approx(-1 / 5)
    assert not np.any(slope(labels))


def test_gradient_pushes_small_gaps_apart_and_leaves_large_ones_alone():
    labels = jnp.asarray([[0.1, 0.3, 0.0], [1.0, 0.0, 0.2]])
    gradient = slope(labels)
    # Descent raises the first of the narrow row and lowers its second, each by 1/m.
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0], [0, 0, 0]], atol=1e-7)


def test_the_order_of_classes_and_a_common_shift_do_not_matter():
    labels = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)) / 8)
    value = float(label_margin_loss(labels))
    assert float(label_margin_loss(labels[:, ::-1])) == pytest.approx(value)
    assert float(label_margin_loss(labels + 3)) == pytest.approx(value, abs=1e-6)


def test_half_the_margin_is_that_of_rcig():
    wide, narrow = jnp.asarray([[1.0, 0.0, 0.0]]), jnp.asarray([[0.3, 0.2, 0.0]])
    assert float(label_margin_loss(wide, limit=0.5)) == pytest.approx(-1 / 6)
    assert float(label_margin_loss(narrow, limit=0.5)) == pytest.approx(-0.1)
