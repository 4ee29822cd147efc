"""Laws of the ridge readout."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import central_difference, double_precision, quick_jit

from isa_toolkit.losses import ridge

SHAPES = [(4, 9), (9, 4)]

dual_readout = quick_jit(ridge.dual_readout)
primal_readout = quick_jit(ridge.primal_readout)
readout = quick_jit(ridge.readout)


def problem(samples: int, dimensions: int) -> tuple[jax.Array, jax.Array]:
    draw = np.random.default_rng(samples)
    features = draw.normal(size=(samples, dimensions)) + 0.5
    return jnp.asarray(features), jnp.asarray(draw.normal(size=(samples, 3)))


def cholesky_side(function, *args) -> int:
    sides = re.findall(r"\[(\d+),\1\] = cholesky", str(jax.make_jaxpr(function)(*args)))
    assert len(sides) == 1
    return int(sides[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relative", [1e-3, 0.3])
def test_primal_equals_dual(shape, relative):
    with double_precision():
        features, labels = problem(*shape)
        dual = dual_readout(features, labels, relative)
        primal = primal_readout(features, labels, relative)
        np.testing.assert_allclose(dual.weights, primal.weights, rtol=1e-9)
        np.testing.assert_allclose(dual.regulariser, primal.regulariser, rtol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_readout_solves_the_regularised_normal_equations(shape):
    with double_precision():
        features, labels = problem(*shape)
        weights, regulariser, *_ = readout(features, labels, 0.01)
    f, y, w = np.asarray(features), np.asarray(labels), np.asarray(weights)
    lam = 0.01 * np.sum(f**2) / len(f)
    np.testing.assert_allclose(regulariser, lam, rtol=1e-13)
    gradient = f.T @ (f @ w - y) + lam * w
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_readout_equals_kernel_ridge_of_scikit_learn(shape):
    from sklearn.kernel_ridge import KernelRidge

    with double_precision():
        features, labels = problem(*shape)
        targets, _ = problem(5, shape[1])
        weights, regulariser, *_ = readout(features, labels, 0.05)
        ours = ridge.predict(targets, weights)
    theirs = KernelRidge(alpha=float(regulariser), kernel="linear")
    theirs.fit(np.asarray(features), np.asarray(labels))
    np.testing.assert_allclose(ours, theirs.predict(np.asarray(targets)), rtol=1e-9)


@pytest.mark.parametrize("solve", [dual_readout, primal_readout])
def test_predictions_do_not_depend_on_the_scale_of_the_features(solve):
    with double_precision():
        features, labels = problem(4, 9)
        plain = solve(features, labels, 0.1)
        scaled = solve(1000 * features, labels, 0.1)
        np.testing.assert_allclose(1000 * scaled.weights, plain.weights, rtol=1e-9)
        np.testing.assert_allclose(scaled.regulariser, 1e6 * plain.regulariser)


@pytest.mark.parametrize("solve", [dual_readout, primal_readout])
def test_the_ridge_counts_relative_to_the_mean_diagonal_of_the_kernel(solve):
    features = jnp.asarray([[3.0, 0.0], [0.0, 1.0]])
    labels = jnp.eye(2)
    weights, regulariser, *_ = solve(features, labels, 0.2)
    assert float(regulariser) == pytest.approx(0.2 * (9 + 1) / 2)
    expected = [[3 / (9 + 1), 0], [0, 1 / (1 + 1)]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_readout_factorises_the_smaller_matrix(shape):
    features, labels = problem(*shape)
    assert cholesky_side(ridge.readout, features, labels, 0.1) == min(shape)
    assert cholesky_side(ridge.dual_readout, features, labels, 0.1) == shape[0]
    assert cholesky_side(ridge.primal_readout, features, labels, 0.1) == shape[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_flows_through_the_trace(shape):
    # At a ridge of .5 most of the gradient passes through the trace.
    def loss(arguments):
        features, labels = arguments
        weights = ridge.readout(features, labels, 0.5).weights
        return jnp.sum(jnp.sin(ridge.predict(probe, weights)))

    with double_precision():
        point = problem(*shape)
        probe, _ = problem(7, shape[1])
        value = quick_jit(loss)
        gradient = quick_jit(jax.grad(loss))(point)
        draw = np.random.default_rng(0)
        for _ in range(3):
            direction = jax.tree.map(lambda x: draw.normal(size=x.shape), point)
            slope = sum(
                float(jnp.vdot(g, d)) for g, d in zip(gradient, direction, strict=True)
            )
            numeric = central_difference(value, point, direction)
            assert slope == pytest.approx(numeric, rel=1e-7, abs=1e-9)


def test_without_ridge_a_full_rank_readout_interpolates():
    with double_precision():
        features, labels = problem(4, 9)
        weights = readout(features, labels, 0.0).weights
        fitted = ridge.predict(features, weights)
        np.testing.assert_allclose(fitted, labels, atol=1e-10)


@pytest.mark.parametrize("solve", [dual_readout, primal_readout])
def test_a_failed_factorisation_gives_nan(solve):
    # Equal samples: the kernel is 4 everywhere and its second pivot exactly 0.
    features = jnp.ones((4, 4))
    weights = solve(features, jnp.eye(4), 0.0).weights
    assert np.isnan(weights).all()
    weights = solve(features, jnp.eye(4), 1e-3).weights
    assert np.isfinite(weights).all()


def hard_problem(samples: int, equal: bool) -> tuple[np.ndarray, ...]:
    """Features whose spectrum falls as that of a network, [n, 64]; half of them equal."""
    draw = np.random.default_rng(samples)
    decay = 10 ** (-2.5 * np.arange(64) / 64)
    mixing = np.linalg.qr(draw.normal(size=(64, 64)))[0]
    drawn = np.maximum(draw.normal(size=(samples + 200, 64)) * decay @ mixing + 0.1, 0)
    features, targets = drawn[:samples], drawn[samples:]
    labels = np.eye(3)[np.arange(samples) % 3] - 1 / 3
    if equal:
        half = samples // 2
        features[half : 2 * half] = features[:half]
        labels[half : 2 * half] = labels[:half]
    return features, labels, targets


@pytest.mark.slow
@pytest.mark.parametrize("samples", [16, 60, 64, 66, 128])
def test_single_precision_is_accurate_or_the_ridge_is_raised(samples):
    # Near equality of samples and dimensions, and with equal samples, a plain Cholesky
    # solve in single precision gives NaN or a gradient of noise.
    def value(features, labels, targets, relative):
        found = ridge.readout(features, labels, relative)
        prediction = ridge.predict(targets, found.weights)
        return jnp.sum(prediction**2) / len(targets), (prediction, found)

    slope = quick_jit(jax.value_and_grad(value, has_aux=True))
    factors = []
    for equal in (False, True):
        given = hard_problem(samples, equal)
        single = [jnp.asarray(array, jnp.float32) for array in given]
        (_, (prediction, found)), gradient = slope(*single, 1e-6)
        raised = float(found.ridge_factor)
        factors.append(raised)
        assert float(found.error) <= ridge.MAX_ERROR
        with double_precision():
            (_, (exact, double)), exact_gradient = slope(
                *map(jnp.asarray, given), 1e-6 * raised
            )
            assert float(double.ridge_factor) == 1
            np.testing.assert_allclose(found.regulariser, double.regulariser, 1e-4)
        scale = np.linalg.norm(exact)
        error = np.linalg.norm(np.asarray(prediction) - np.asarray(exact))
        assert error < 2 * ridge.MAX_ERROR * scale
        scale = np.linalg.norm(exact_gradient)
        error = np.linalg.norm(np.asarray(gradient) - np.asarray(exact_gradient))
        assert error < 6 * ridge.MAX_ERROR * scale
    # Equal samples cannot be separated at this ridge; more samples than twice the
    # dimensions, in distinct pairs, can.
    assert (factors[1] > 1) == (samples != 128)
