"""Cross-entropy at a learned scale, along a segment, against plain NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from isa_toolkit.losses.platt import (
    scaled_cross_entropy,
    segment_cross_entropy,
    segment_mean,
)

CLASSES = 4


def problem(count: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    prediction = draw.normal(size=(count, CLASSES))
    labels = np.eye(CLASSES)[draw.integers(CLASSES, size=count)] - 1 / CLASSES
    return prediction, labels, np.roll(np.arange(count), 1)


def by_hand(prediction, labels, scale):
    return -np.sum(
        (labels + 1 / CLASSES) * special.log_softmax(scale * prediction, axis=-1), -1
    )


def test_it_is_minus_the_log_probability_of_the_class():
    prediction, labels, _ = problem()
    classes = labels.argmax(1)
    for scale in (0.5, 1.0, 3.0):
        got = scaled_cross_entropy(
            jnp.asarray(prediction), jnp.asarray(labels), float(np.log(scale))
        )
        chance = special.softmax(scale * prediction, axis=-1)
        np.testing.assert_allclose(
            got, -np.log(chance[np.arange(6), classes]), rtol=1e-5
        )


def test_a_perfect_prediction_costs_nothing_at_a_large_scale():
    _, labels, _ = problem()
    loss = scaled_cross_entropy(jnp.asarray(labels), jnp.asarray(labels), 5.0)
    assert float(jnp.max(loss)) < 1e-6


@pytest.mark.parametrize("ends", [(-1.0, 0.0), (-0.5, -0.25)])
def test_the_segment_loss_is_the_integral_it_claims(ends):
    prediction, labels, partner = problem()
    rise, turn = prediction - prediction[partner], labels - labels[partner]
    got = segment_cross_entropy(
        *map(jnp.asarray, (prediction, labels, rise, turn)), 0.4, *ends
    )
    a, b = ends
    exact, _ = integrate.quad_vec(
        lambda t: by_hand(prediction + t * rise, labels + t * turn, np.exp(0.4)), a, b
    )
    np.testing.assert_allclose(got, exact / (b - a), rtol=2e-3)


def test_a_segment_of_no_length_is_the_plain_loss():
    prediction, labels, partner = problem()
    arrays = [
        jnp.asarray(array, jnp.float32)
        for array in (
            prediction,
            labels,
            prediction - prediction[partner],
            labels - labels[partner],
        )
    ]
    plain = scaled_cross_entropy(arrays[0], arrays[1], 0.2)
    at_zero = segment_cross_entropy(*arrays, 0.2, 0.0, 0.0)
    np.testing.assert_allclose(at_zero, plain, rtol=1e-6)
    # One step towards the partner is the partner's own loss.
    whole = segment_cross_entropy(*arrays, 0.2, -1.0, -1.0)
    np.testing.assert_allclose(whole, plain[partner], rtol=1e-5)


def test_beyond_the_sample_the_loss_is_unbounded_below():
    """Why methods refuse such a segment: a better fit of nothing pays without limit."""
    labels = jnp.asarray(np.eye(2)[:1] - 0.5, jnp.float32)
    turn = jnp.asarray(np.eye(2)[:1] - np.eye(2)[1:], jnp.float32)
    loss = [
        float(
            segment_cross_entropy(size * turn, labels, 0 * turn, turn, 0.0, 1.0, 1.0)[0]
        )
        for size in (1.0, 10.0, 100.0)
    ]
    assert loss[0] > loss[1] > loss[2]
    assert loss[2] < -100


def test_the_slope_in_the_scale_is_right():
    prediction, labels, _ = map(jnp.asarray, problem())
    slope = jax.grad(lambda k: scaled_cross_entropy(prediction, labels, k).sum())(0.3)
    ahead, behind = (
        by_hand(*problem()[:2], np.exp(k)).sum() for k in (0.3 + 1e-6, 0.3 - 1e-6)
    )
    assert float(slope) == pytest.approx((ahead - behind) / 2e-6, rel=1e-4)


# --- quadrature -------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(-1.0, 0.0), (0.25, 2.0), (1.0, -0.5)])
def test_polynomials_up_to_the_degree_are_exact_and_the_next_is_not(ends):
    a, b = ends
    for degree in range(7):
        value = float(segment_mean(lambda t, p=degree: t**p, a, b))
        exact = (b ** (degree + 1) - a ** (degree + 1)) / ((degree + 1) * (b - a))
        if degree < 6:
            assert value == pytest.approx(exact, rel=1e-5, abs=1e-6)
        else:
            assert abs(value - exact) > 1e-4


def test_a_segment_of_no_length_gives_the_value_there():
    assert float(segment_mean(jnp.exp, 0.3, 0.3)) == pytest.approx(np.exp(0.3))


def test_a_smooth_function_is_close_to_its_mean():
    exact, _ = integrate.quad(np.exp, -1, 0)
    assert float(segment_mean(jnp.exp, -1.0, 0.0)) == pytest.approx(exact, rel=2e-6)


def test_the_ends_can_be_traced():
    run = jax.jit(lambda a, b: segment_mean(jnp.square, a, b))
    assert float(run(-1.0, 0.0)) == pytest.approx(1 / 3)
    assert float(run(0.0, 3.0)) == pytest.approx(3.0)
    assert run._cache_size() == 1
