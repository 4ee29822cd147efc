"""Training as one compiled loop: schedules, order, and each optimiser step by step."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import assert_same_bytes, dense_network, quick_jit, toy_problem

from isa_toolkit.networks.base import Network, NetworkOutput
from isa_toolkit.networks.training import (
    FitSettings,
    SGDSettings,
    batch_indices,
    cross_entropy,
    dsa_fit,
    fit,
    warmup_cosine,
)


@pytest.fixture(scope="module")
def rate():
    return quick_jit(
        lambda step: warmup_cosine(
            step, peak=3e-4, final=0.01, warmup=500.0, steps=2000.0
        )
    )


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.0),
        (1, 3e-4 / 500),
        (250, 1.5e-4),
        (500, 3e-4),
        (1250, 3e-4 * (1 + 0.01) / 2),
        (2000, 3e-6),
        (2500, 3e-6),
    ],
)
def test_the_published_schedule(rate, step, expected):
    assert float(rate(step)) == pytest.approx(expected, rel=1e-4, abs=1e-12)


def test_the_schedule_rises_then_falls(rate):
    rates = np.asarray([rate(step) for step in range(0, 2001, 50)])
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()


def test_without_warm_up_the_first_step_is_at_the_peak():
    rates = [warmup_cosine(s, peak=1.0, final=0.0, warmup=0, steps=10) for s in (0, 10)]
    assert float(rates[0]) == 1.0
    assert float(rates[1]) == pytest.approx(0, abs=1e-6)


@cache
def drawing(count: int, batch_size: int, steps: int, order: str):
    def run(key):
        def body(permutation, step):
            chosen, permutation = batch_indices(
                key, step, permutation, batch_size, order
            )
            return permutation, chosen

        return jax.lax.scan(body, jnp.zeros(count, jnp.int32), jnp.arange(steps))[1]

    return quick_jit(run)


def drawn(count: int, batch_size: int, steps: int, order: str, seed: int = 0):
    """Return the samples of each step, [steps, b]."""
    return np.asarray(drawing(count, batch_size, steps, order)(jax.random.key(seed)))


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (12, 12), (14, 4)])
def test_a_shuffled_epoch_has_no_sample_twice(count, batch_size):
    batches = count // batch_size
    chosen = drawn(count, batch_size, 3 * batches, "shuffled")
    for epoch in chosen.reshape(3, batches * batch_size):
        assert len(set(epoch)) == batches * batch_size
        assert set(epoch) <= set(range(count))
    assert (chosen[0] != np.arange(batch_size)).any()
    assert (chosen[:batches] != chosen[batches : 2 * batches]).any()
    if count % batch_size == 0:
        assert set(chosen[:batches].ravel()) == set(range(count))


def test_what_is_left_over_changes_from_epoch_to_epoch():
    chosen = drawn(14, 4, 30, "shuffled")
    assert set(chosen.ravel()) == set(range(14))


def test_the_order_follows_the_key():
    first, again, other = (drawn(12, 4, 6, "shuffled", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_resumed_epoch_needs_only_its_permutation():
    key = jax.random.key(0)
    whole = drawn(12, 4, 6, "shuffled")
    permutation = jax.random.permutation(jax.random.fold_in(key, 1), 12)
    chosen, _ = batch_indices(key, jnp.asarray(5), permutation, 4, "shuffled")
    np.testing.assert_array_equal(chosen, whole[5])


def test_the_released_order_is_contiguous_and_wraps_around():
    chosen = drawn(10, 4, 5, "released")
    assert chosen.tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 0, 1],
        [2, 3, 4, 5],
        [6, 7, 8, 9],
    ]


@pytest.fixture(scope="module")
def traces():
    return []


@pytest.fixture(scope="module")
def train(traces):
    toy = toy_problem(targets=60)

    def run(key, settings):
        traces.append(1)
        return fit(key, dense_network(), toy.batch.images, toy.batch.labels, settings)

    compiled = quick_jit(run)

    def call(seed=0, steps=150, learning_rate=0.01, warmup=10, final=0.01):
        settings = FitSettings(
            steps=steps or 1,
            learning_rate=learning_rate,
            warmup_steps=warmup,
            final_learning_rate=final,
            batch_size=20,
        )
        # Without a step, which the settings refuse, a network is as it was drawn.
        settings = jax.tree.map(jnp.asarray, settings)
        settings = dataclasses.replace(settings, steps=jnp.asarray(steps))
        return compiled(jax.random.key(seed), settings)

    return call


class TestFit:
    def accuracy(self, trained):
        # The state is the mean image of the last batch, as good as that of any.
        batch = toy_problem(targets=60).batch
        logits = dense_network().apply(*trained, batch.images).logits
        return float(np.mean(np.argmax(logits, 1) == np.argmax(batch.labels, 1)))

    def test_it_learns_a_separable_set(self, train):
        assert self.accuracy(train(steps=0)) < 0.8
        assert self.accuracy(train()) > 0.97

    def test_one_program_serves_every_length_and_schedule(self, train, traces):
        results = [
            train(),
            train(steps=3),
            train(learning_rate=1e-3),
            train(warmup=2),
            train(final=1.0),
        ]
        assert len(traces) == 1
        heads = [np.asarray(params["head"]) for params, _ in results]
        assert all(np.any(head != heads[0]) for head in heads[1:])

    def test_the_same_key_gives_the_same_bytes_and_another_does_not(self, train):
        first, again, other = train(1, steps=4), train(1, steps=4), train(2, steps=4)
        assert_same_bytes(first, again)
        assert np.any(np.asarray(first[0]["head"]) != np.asarray(other[0]["head"]))

    def test_no_steps_give_the_drawn_network(self, train):
        params, state = train(steps=0)
        assert not np.any(state["mean"])
        key = jax.random.split(jax.random.key(0), 3)[0]
        expected, _ = dense_network().init(key)
        np.testing.assert_allclose(params["head"], expected["head"], rtol=1e-6)

    def test_the_warm_up_takes_half_of_the_steps_at_most(self, train):
        assert_same_bytes(train(steps=6, warmup=10), train(steps=6, warmup=3))
        assert_same_bytes(train(steps=1, warmup=10), train(steps=1, warmup=0))

    def test_augmentation_sees_every_batch_and_its_own_key(self):
        toy = toy_problem()

        def trained(augment):
            return quick_jit(
                lambda: fit(
                    jax.random.key(0),
                    dense_network(),
                    toy.batch.images,
                    toy.batch.labels,
                    FitSettings(
                        steps=3,
                        learning_rate=0.01,
                        warmup_steps=0,
                        final_learning_rate=1.0,
                        batch_size=100,
                    ),
                    augment=augment,
                )
            )()

        def shift(key, images):
            return images + jax.random.normal(key, ())

        assert_same_bytes(trained(lambda key, images: images), trained(None))
        plain, moved = trained(None)[1]["mean"], trained(shift)[1]["mean"]
        gap = np.asarray(moved - plain)
        # A batch as large as the set is the whole set; the last shift is the state's.
        np.testing.assert_allclose(
            plain, np.mean(toy.batch.images, axis=0).ravel(), atol=1e-6
        )
        np.testing.assert_allclose(gap, gap[0], atol=1e-5)
        augment_key = jax.random.split(jax.random.key(0), 3)[2]
        last = jax.random.normal(jax.random.fold_in(augment_key, 2), ())
        np.testing.assert_allclose(gap[0], last, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 0}, "evaluation steps must be at least 1, got 0"),
        ({"batch_size": 0}, "evaluation batch_size must be at least 1"),
        ({"learning_rate": 0.0}, "evaluation learning_rate must be above 0"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0"),
        ({"final_steps": 10}, "final_steps must be below the 10 evaluation steps"),
        (
            {"final_learning_rate": 1.5},
            r"final_learning_rate must be at least 0 and at most 1",
        ),
        ({"order": "sorted"}, "order must be one of 'released', 'shuffled'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        FitSettings(**{"steps": 10, **given})


def test_the_defaults_are_the_published_ones():
    settings = FitSettings(steps=1000)
    assert (settings.batch_size, settings.warmup_steps) == (500, 500)
    assert (settings.learning_rate, settings.final_learning_rate) == (3e-4, 0.01)


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


def test_every_step_is_torch_sgd_and_the_decay_loses_the_momentum(problem):
    images, labels = problem
    rule = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.05}
    params, _ = quick_jit(
        lambda: fit(
            jax.random.key(0),
            linear(),
            jnp.asarray(images),
            jnp.asarray(labels),
            SGDSettings(
                steps=6, decay_step=4, final_learning_rate=0.1, batch_size=N, **rule
            ),
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


def test_the_published_lengths_of_dsa():
    # 1,001 epochs; the rate falls after epoch 501, counted from 0.
    assert dsa_fit(10) == SGDSettings(steps=1001, decay_step=502, batch_size=10)
    many = dsa_fit(500, learning_rate=0.02)
    assert (many.steps, many.batch_size, many.learning_rate) == (1001, 256, 0.02)
    assert (dsa_fit(1000).steps, dsa_fit(1000).decay_step) == (3003, 1506)
    short = dsa_fit(10, epochs=100)
    assert (short.steps, short.decay_step) == (101, 52)
    assert (dsa_fit(10, steps=200).steps, dsa_fit(10, steps=200).decay_step) == (
        200,
        101,
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "evaluation steps must be at least 1"),
        ({"decay_step": -1}, "decay_step must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"momentum": 1.0}, r"momentum must be at least 0 and below 1"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"order": "best"}, "order must be one of"),
    ],
)
def test_a_wrong_sgd_setting_is_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SGDSettings(**{"steps": 5, "decay_step": 3, **changes})
