"""Training by SGD on cross-entropy, step by step against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.networks.base import Network, NetworkOutput
from isa_toolkit.networks.fit_sgd import SGDSettings, cross_entropy, dsa_fit, fit_sgd

N, PIXELS, CLASSES = 4, 6, 3


def linear() -> Network:
    """Return logits that are linear in the pixels, first weights 0."""

    def init(key):
        del key
        return {"w": jnp.zeros((PIXELS, CLASSES)) + 0.1}, {}

    def apply(params, state, images, train=False):
        del train
        flat = images.reshape(images.shape[0], -1)
        return NetworkOutput(flat @ params["w"], flat, state)

    return Network("linear", init, apply, (2, 3, 1), CLASSES)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    classes = np.arange(N) % CLASSES
    labels = np.eye(CLASSES, dtype=np.float32)[classes] - 1 / CLASSES
    return draw.normal(size=(N, 2, 3, 1)).astype(np.float32), labels


def test_every_step_is_torch_sgd_and_the_fall_loses_the_momentum(problem):
    images, labels = problem
    rule = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.05}
    params, _ = quick_jit(
        lambda: fit_sgd(
            jax.random.key(0),
            linear(),
            jnp.asarray(images),
            jnp.asarray(labels),
            steps=jnp.asarray(6),
            fall_step=jnp.asarray(4),
            final_learning_rate=0.1,
            batch_size=N,
            **rule,
        )
    )()
    flat, classes = images.reshape(N, -1).astype(float), labels.argmax(1)
    weights, velocity, rate = np.full((PIXELS, CLASSES), 0.1), 0.0, 0.3
    for step in range(6):
        if step == 4:
            rate, velocity = 0.03, 0.0
        scores = np.exp(flat @ weights)
        slope = scores / scores.sum(1, keepdims=True) - np.eye(CLASSES)[classes]
        gradient = flat.T @ slope / N + 0.05 * weights
        velocity = 0.9 * velocity + gradient
        weights = weights - rate * velocity
    np.testing.assert_allclose(params["w"], weights, rtol=1e-4)


def test_cross_entropy_is_that_of_the_largest_label(problem):
    _, labels = problem
    logits = np.random.default_rng(1).normal(size=(N, CLASSES)).astype("float32")
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(N), labels.argmax(1)]
    for scale in (1, 0.1, 7):
        seen = cross_entropy(jnp.asarray(logits), jnp.asarray(labels * scale))
        np.testing.assert_allclose(seen, expected, rtol=1e-5)


def test_the_published_lengths():
    # 1,001 epochs; the rate falls after epoch 501, counted from 0.
    assert dsa_fit(10) == SGDSettings(steps=1001, fall_step=502, batch_size=10)
    many = dsa_fit(500, learning_rate=0.02)
    assert (many.steps, many.batch_size, many.learning_rate) == (1001, 256, 0.02)
    assert (dsa_fit(1000).steps, dsa_fit(1000).fall_step) == (3003, 1506)
    short = dsa_fit(10, epochs=100)
    assert (short.steps, short.fall_step) == (101, 52)
    assert (dsa_fit(10, steps=200).steps, dsa_fit(10, steps=200).fall_step) == (
        200,
        101,
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "evaluation steps must be at least 1"),
        ({"fall_step": -1}, "fall_step must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"order": "best"}, "order must be one of"),
    ],
)
def test_bad_settings_get_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SGDSettings(**{"steps": 5, "fall_step": 3, **changes})
