"""RFAD's training: its steps against NumPy and optax, when it stops, published rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import quick_jit

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import random_real
from isa_toolkit.evaluation.evaluation import evaluate
from isa_toolkit.evaluation.rfad import (
    RFADFit,
    RFADSettings,
    fit_centred,
    rfad_settings,
    validation_images,
)
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.base import Network, NetworkOutput
from isa_toolkit.networks.random_features import draw_random

pytestmark = pytest.mark.slow

M, PIXELS, CLASSES = 6, 4, 3
USUAL = {
    "learning_rate": 3.0,
    "label_scale": 8.0,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "steps": 3,
    "validate_every": 3,
    "patience": 100,
    "batch_size": M,
}


def bent() -> Network:
    """Return ``tanh(x w) + b``: small, and not linear in its parameters."""

    def init(key):
        del key
        return {"w": jnp.zeros((PIXELS, CLASSES)), "b": jnp.zeros(CLASSES)}, {}

    def apply(params, state, images, train=False):
        del train
        flat = images.reshape(images.shape[0], -1)
        return NetworkOutput(jnp.tanh(flat @ params["w"]) + params["b"], flat, state)

    return Network("bent", init, apply, (2, 2, 1), CLASSES)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    classes = np.arange(M) % CLASSES
    images = draw.normal(size=(M, 2, 2, 1)).astype(np.float32)
    return images, (np.eye(CLASSES)[classes] - 1 / CLASSES).astype(np.float32)


def trained(problem, *, held=None, **changes) -> RFADFit:
    images, labels = map(jnp.asarray, problem)
    held_labels = labels.argmax(1) if held is None else jnp.asarray(held)
    settings = RFADSettings(**{**USUAL, **changes})
    validation = (images, held_labels)
    return quick_jit(
        lambda: fit_centred(
            jax.random.key(3), bent(), images, labels, validation, settings
        )
    )()


def by_hand(problem, first, *, scale, decay, rate, momentum, steps, centred):
    """Return the parameters after SGD, gradients written out, in float64."""
    flat, labels = problem[0].reshape(M, -1).astype(float), problem[1].astype(float)
    w, b = np.asarray(first["w"], float), np.asarray(first["b"], float)
    start_w, start_b = (w, b) if centred else (0.0, 0.0)
    offset = np.tanh(flat @ w) + b if centred else 0.0
    v_w, v_b = 0.0, 0.0
    for _ in range(steps):
        bend = np.tanh(flat @ w)
        slope = 2 * (bend + b - offset - scale * labels) / scale**2 / labels.size
        g_w = flat.T @ (slope * (1 - bend**2)) + 2 * decay * (w - start_w)
        g_b = slope.sum(0) + 2 * decay * (b - start_b)
        v_w, v_b = momentum * v_w + g_w, momentum * v_b + g_b
        w, b = w - rate * v_w, b - rate * v_b
    return {"w": w, "b": b}


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_its_steps_are_those_written_out(problem, centred, steps):
    fitted = trained(problem, centred=centred, steps=steps)
    expected = by_hand(
        problem,
        fitted.first,
        scale=8.0,
        decay=0.01,
        rate=3.0,
        momentum=0.9,
        steps=steps,
        centred=centred,
    )
    for name, value in expected.items():
        np.testing.assert_allclose(fitted.params[name], value, rtol=1e-4, atol=1e-6)
    # Balanced labels leave the centred bias where it is.
    assert np.abs(expected["w"] - np.asarray(fitted.first["w"])).max() > 1e-3


def test_at_scale_one_without_centring_and_decay_it_is_plain_sgd(problem):
    plain = {"label_scale": 1.0, "weight_decay": 0.0, "momentum": 0.0}
    fitted = trained(problem, centred=False, **plain)
    images, labels = map(jnp.asarray, problem)
    network, rule = bent(), optax.sgd(3.0)

    def loss_of(params):
        error = network.apply(params, {}, images).logits - labels
        return jnp.square(error).mean()

    params = fitted.first
    state = rule.init(params)
    for _ in range(3):
        updates, state = rule.update(jax.grad(loss_of)(params), state)
        params = optax.apply_updates(params, updates)
    for name in ("w", "b"):
        np.testing.assert_allclose(fitted.params[name], params[name], rtol=1e-4)


def test_it_starts_from_a_random_network_of_rfad(problem):
    fitted = trained(problem)
    key = jax.random.split(jax.random.key(3))[0]
    drawn = draw_random(key, bent(), count=1)
    for name in ("w", "b"):
        np.testing.assert_allclose(fitted.first[name], drawn[name][0], rtol=1e-6)


def test_patience_stops_and_the_first_of_the_best_is_kept(problem):
    # Labels that no network meets: every validation is 0, the first the best.
    nowhere = np.full(M, -2)
    fitted = trained(problem, held=nowhere, steps=50, validate_every=2, patience=6)
    assert (int(fitted.steps), int(fitted.best_step)) == (8, 2)
    after_two = trained(problem, steps=2, validate_every=2)
    for name in ("w", "b"):
        np.testing.assert_allclose(fitted.params[name], after_two.params[name])
    patient = trained(problem, held=nowhere, steps=7, validate_every=2, patience=99)
    assert (int(patient.steps), int(patient.best_step)) == (7, 2)


def test_a_better_validation_gives_it_more_time(problem):
    # From the wrong labels at first, centred outputs of rate 0 would all be equal.
    fitted = trained(problem, steps=400, validate_every=2, patience=40)
    assert float(fitted.accuracy) > 0.8
    assert int(fitted.best_step) > 2
    assert int(fitted.steps) == min(400, int(fitted.best_step) + 40)


def test_diverging_counts_as_wrong_and_keeps_finite_parameters(problem):
    good = trained(problem, steps=2, validate_every=1)
    assert float(good.accuracy) > 0
    wild = trained(problem, learning_rate=1e30, steps=4, validate_every=1)
    assert 0 <= float(wild.accuracy) <= 1
    assert int(wild.best_step) == 1


def test_a_larger_set_is_taken_in_batches(problem):
    fitted = trained(problem, batch_size=2)
    whole = trained(problem)
    assert not np.allclose(fitted.params["w"], whole.params["w"], atol=1e-6)
    assert np.isfinite(np.asarray(fitted.params["w"])).all()


def test_the_published_rows():
    row = rfad_settings("mnist", 10)
    assert (row.learning_rate, row.label_scale, row.weight_decay) == (1e-2, 8, 1e-3)
    assert (row.steps, row.validate_every, row.patience) == (20_000, 100, 500)
    assert (row.batch_size, row.validation_per_class, row.momentum) == (513, 500, 0.9)
    cifar = rfad_settings("cifar10", 10)
    assert (cifar.label_scale, cifar.weight_decay) == (2, 0)
    with pytest.warns(UserWarning, match="evaluation for 'digits'"):
        assert rfad_settings("digits", 10) == cifar
    hundred = rfad_settings("cifar100", 10, num_classes=100)
    assert hundred.validation_per_class == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0},
        {"label_scale": -1.0},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
        {"patience": 0},
        {"validate_every": 0},
        {"validation_per_class": 0},
    ],
)
def test_a_bad_setting_is_named(changes):
    usual = {"learning_rate": 0.1, "label_scale": 8.0, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=next(iter(changes))):
        RFADSettings(**{**usual, **changes})


def test_every_class_validates_with_as_many_images():
    digits = load_dataset("digits", limit=300)
    images, labels = validation_images(digits, 7, seed=0)
    assert np.bincount(labels).tolist() == [7] * 10
    again, _ = validation_images(digits, 7, seed=0)
    other, _ = validation_images(digits, 7, seed=1)
    np.testing.assert_array_equal(images, again)
    assert (images != other).any()
    assert len(validation_images(digits, 10_000, seed=0)[1]) == 300


def test_its_protocol_evaluates_a_set_of_digits():
    digits = load_dataset("digits", limit=300)
    distilled = random_real(digits, 3)
    fit = RFADSettings(
        learning_rate=0.03,
        label_scale=2.0,
        weight_decay=0.0,
        steps=60,
        validate_every=20,
        patience=40,
    )
    chosen = {"protocol": "rfad", "fit": fit, "networks": 2}
    network = NetworkSettings(name="convnet_flat", width=8, depth=1)
    result = evaluate(distilled, digits, network=network, **chosen)
    assert (result.network > 0.5).all()
    assert (result.ridge > 0.5).all()
    assert (result.details["steps"] <= 60).all()
    assert set(result.to_dict()["details"]) == {"validation", "best_step", "steps"}
    with pytest.raises(ValueError, match="network must have no running statistics"):
        evaluate(
            distilled,
            digits,
            network=NetworkSettings(name="convnet_flat", norm="batch"),
            **chosen,
        )
