"""The optimisers of the distilled set, against plain NumPy, and their schedule."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from isa_toolkit.methods.optimizers import OPTIMIZERS, cosine_decay


def adam_directions(gradients: list[np.ndarray], epsilon: float) -> list[np.ndarray]:
    first = second = np.zeros_like(gradients[0])
    directions = []
    for count, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean, square = first / (1 - 0.9**count), second / (1 - 0.999**count)
        directions.append(mean / (np.sqrt(square) + epsilon))
    return directions


@pytest.fixture(scope="module")
def problem() -> tuple[tuple, list]:
    draw = np.random.default_rng(0)
    values = (draw.normal(size=(4, 3)), draw.normal(size=5))
    gradients = [tuple(draw.normal(size=v.shape) for v in values) for _ in range(4)]
    return values, gradients


def updates_of(name: str, problem) -> list[tuple]:
    values, gradients = problem
    params = tuple(jnp.asarray(value, jnp.float32) for value in values)
    optimizer, updates = OPTIMIZERS[name], []
    state = optimizer.init(params)
    for gradient in gradients:
        given = tuple(jnp.asarray(leaf, jnp.float32) for leaf in gradient)
        update, state = optimizer.update(given, state, params)
        updates.append(update)
    return updates


@pytest.mark.parametrize(("name", "epsilon"), [("lamb", 1e-6), ("adam", 1e-8)])
def test_updates_equal_plain_numpy(name, epsilon, problem):
    values, gradients = problem
    updates = updates_of(name, problem)
    for part, value in enumerate(values):
        leaves = [gradient[part] for gradient in gradients]
        for step, direction in enumerate(adam_directions(leaves, epsilon)):
            trust = np.linalg.norm(value) / np.linalg.norm(direction)
            expected = (trust if name == "lamb" else 1) * direction
            np.testing.assert_allclose(updates[step][part], expected, rtol=1e-4)


def test_lamb_moves_each_tensor_by_its_own_length(problem):
    """A learning rate of 3e-4 is a relative change of 3e-4."""
    values, _ = problem
    for update in updates_of("lamb", problem):
        for leaf, value in zip(update, values, strict=True):
            assert np.linalg.norm(leaf) == pytest.approx(
                np.linalg.norm(value), rel=1e-5
            )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_no_gradient_is_no_update(name):
    params = (jnp.ones(3),)
    optimizer = OPTIMIZERS[name]
    update, _ = optimizer.update((jnp.zeros(3),), optimizer.init(params), params)
    assert not np.any(update[0])


def test_lamb_leaves_the_ratio_alone_where_a_norm_is_0():
    params = (jnp.zeros(3),)
    optimizer = OPTIMIZERS["lamb"]
    update, _ = optimizer.update((jnp.ones(3),), optimizer.init(params), params)
    np.testing.assert_allclose(update[0], np.ones(3), rtol=1e-4)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 3e-4), (100, (3e-4 + 3e-5) / 2), (200, 3e-5), (250, 3e-5)],
)
def test_cosine_decay_of_the_published_run(step, expected):
    rate = cosine_decay(jnp.asarray(step), peak=3e-4, final=0.1, steps=200)
    assert float(rate) == pytest.approx(expected, rel=1e-5)
    assert rate.dtype == jnp.float32


def test_cosine_decay_falls_monotonically_and_by_the_cosine():
    steps = jnp.arange(101)
    rates = np.asarray(cosine_decay_of(steps))
    assert (np.diff(rates) < 0).all()
    expected = 0.2 + 0.8 * 0.5 * (1 + np.cos(np.pi * np.arange(101) / 100))
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def cosine_decay_of(steps):
    import jax

    return jax.vmap(lambda step: cosine_decay(step, peak=1.0, final=0.2, steps=100))(
        steps
    )


def test_adabelief_divides_by_the_surprise_of_the_gradient(problem):
    _, gradients = problem
    got = updates_of("adabelief", problem)
    for place in (0, 1):
        mean = spread = np.zeros_like(gradients[0][place])
        for count, gradient in enumerate(gradients, start=1):
            mean = 0.9 * mean + 0.1 * gradient[place]
            spread = 0.999 * spread + 0.001 * (gradient[place] - mean) ** 2 + 1e-16
            expected = (mean / (1 - 0.9**count)) / (
                np.sqrt(spread / (1 - 0.999**count)) + 1e-16
            )
            np.testing.assert_allclose(got[count - 1][place], expected, rtol=1e-4)
