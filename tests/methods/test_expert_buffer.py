"""The experts of MTT: plain SGD, with crucial samples and segments by quadrature."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import CLASSES, dense_network, quick_jit, toy_problem

from isa_toolkit.methods.expert_buffer import (
    ExpertKnobs,
    expert_loss,
    expert_shards,
    flat_size,
    train_experts,
    unravel_of,
)
from isa_toolkit.networks.base import NetworkOutput

N = 12


def knobs(rate=0.1, easy=0.0, hard=0.0, segment=(0.0, 0.0)) -> ExpertKnobs:
    return ExpertKnobs(*map(jnp.float32, (rate, easy, hard, *segment)))


@pytest.fixture(scope="module")
def output() -> tuple[NetworkOutput, np.ndarray]:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(N, 5)).astype("float32")
    logits = features @ draw.normal(size=(5, CLASSES)).astype("float32")
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(N) % CLASSES]
    return NetworkOutput(jnp.asarray(logits), jnp.asarray(features), {}), labels


def loss(output: Any, partner: str, numbers: ExpertKnobs) -> float:
    seen, labels = output
    compiled = quick_jit(
        lambda: expert_loss(
            seen, jnp.asarray(labels), numbers, partner=partner, key=jax.random.key(0)
        )
    )
    return float(compiled())


def entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = logits.astype(float)
    return -np.sum(labels * (logits - np.log(np.exp(logits).sum(-1))[..., None]), -1)


@pytest.mark.parametrize("partner", ["none", "nearest", "random", "same_class"])
def test_with_nothing_dropped_and_no_segment_it_is_cross_entropy(output, partner):
    expected = entropy(np.asarray(output[0].logits), output[1]).mean()
    assert loss(output, partner, knobs()) == pytest.approx(expected, rel=1e-5)


def test_the_easy_and_the_hard_ends_are_dropped(output):
    values = np.sort(entropy(np.asarray(output[0].logits), output[1]))
    seen = loss(output, "none", knobs(easy=0.25, hard=1 / 12))
    assert seen == pytest.approx(values[3:-1].mean(), rel=1e-5)


@pytest.mark.parametrize("partner", ["nearest", "same_class"])
def test_the_segment_is_the_integral_of_mixed_cross_entropy(output, partner):
    (logits, features, _), labels = output
    logits, features = np.asarray(logits, float), np.asarray(features, float)
    kept = np.argsort(entropy(logits, labels))[3:]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = []
    for i in kept:
        others = [
            j
            for j in kept
            if j != i and (partner == "nearest" or j % CLASSES == i % CLASSES)
        ]
        j = max(others, key=lambda other: unit[i] @ unit[other])
        t = np.linspace(-1, 0, 401)[:, None]
        mixed = entropy(
            logits[i] + t * (logits[i] - logits[j]),
            labels[i] + t * (labels[i] - labels[j]),
        )
        total.append(np.trapezoid(mixed, t[:, 0]))
    seen = loss(output, partner, knobs(easy=0.25, segment=(-1.0, 0.0)))
    # Three nodes against four hundred.
    assert seen == pytest.approx(np.mean(total), rel=2e-3)


def trained(seeds, **changes: Any) -> np.ndarray:
    toy = toy_problem()
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 24,
        "ops": (),
        "partner": "none",
        "knobs": knobs(),
        **changes,
    }
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    labels = jax.nn.one_hot(jnp.argmax(toy.batch.labels, -1), CLASSES)
    return np.asarray(
        train_experts(keys, dense_network(), toy.batch.images, labels, **settings)
    )


def test_a_snapshot_is_the_one_before_less_the_gradient():
    toy, network = toy_problem(), dense_network()
    unravel, norms = unravel_of(network)
    labels = jax.nn.one_hot(jnp.argmax(toy.batch.labels, -1), CLASSES)
    snapshots = trained([3])[0]
    assert snapshots.shape == (3, flat_size(network))

    def cross_entropy(flat):
        seen = network.apply(unravel(flat), norms, toy.batch.images, train=True)
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(seen.logits), -1))

    slope = quick_jit(jax.grad(cross_entropy))
    for before, after in itertools.pairwise(snapshots):
        # A full batch: order does not matter.
        np.testing.assert_allclose(after, before - 0.1 * slope(before), atol=1e-5)


def test_experts_are_each_their_own_and_do_not_depend_on_company():
    both = trained([3, 4], batch_size=7)
    np.testing.assert_allclose(both[:1], trained([3], batch_size=7), atol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 0.01


def test_shards_cut_the_snapshots_that_no_piece_reaches():
    toy = toy_problem()
    classes = np.argmax(np.asarray(toy.batch.labels), -1).astype(np.int32)
    numbers = ExpertKnobs(0.1, 0.0, 0.0, 0.0, 0.0)
    shards = expert_shards(
        dense_network(), np.asarray(toy.batch.images), classes,
        count=2, epochs=2, needed=2, batch_size=99, ops=(), partner="none", seed=3,
        knobs=numbers,
    )  # fmt: skip
    made = shards.make(0, lambda: None)
    assert made["parameters"].nbytes == shards.sizes[0]
    assert shards.gather([made]).shape == (2, 2, flat_size(dense_network()))
    np.testing.assert_array_equal(
        shards.make(0, lambda: None)["parameters"], made["parameters"]
    )


def test_training_can_be_ended_after_any_epoch():
    epochs = []

    def heed():
        epochs.append(1)
        if len(epochs) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained([3], epochs=5, heed=heed)
    assert len(epochs) == 2
