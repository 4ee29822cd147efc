"""The pool of networks: birth, ages, training and replacement."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import assert_same_bytes, dense_network, quick_jit, toy_convnet, toy_problem

from isa_toolkit.networks import pool
from isa_toolkit.networks.pool import put, take

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def convnet_learner():
    return quick_jit(lambda key: pool.fresh_learner(key, toy_convnet()))(
        jax.random.key(0)
    )


@pytest.fixture(scope="module")
def convnet_step():
    network = toy_convnet()
    return quick_jit(
        lambda learner, images, labels, rate: pool.online_step(
            network, learner, images, labels, learning_rate=rate
        )
    )


@cache
def dense_step(learning_rate: float):
    return quick_jit(
        lambda learner, images, labels: pool.online_step(
            dense_network(), learner, images, labels, learning_rate=learning_rate
        )
    )


@cache
def update(max_age: int, batch_size: int):
    network = dense_network()
    return quick_jit(
        lambda key, learner, images, labels: pool.update_member(
            key,
            network,
            learner,
            images,
            labels,
            learning_rate=1e-2,
            max_age=max_age,
            batch_size=batch_size,
        )
    )


@cache
def dense_pool(size: int = 4, max_age: int = 10, stagger: bool = True):
    return quick_jit(
        lambda key: pool.init_pool(
            key, dense_network(), size=size, max_age=max_age, stagger=stagger
        )
    )(jax.random.key(0))


@pytest.mark.parametrize(
    ("size", "max_age", "ages"),
    [
        (10, 100, list(range(0, 100, 10))),
        (3, 4, [0, 1, 2]),
        (3, 100, [0, 33, 66]),
        (4, 2, [0, 0, 0, 0]),
    ],
)
def test_ages_are_staggered_over_a_life(size, max_age, ages):
    assert np.asarray(dense_pool(size, max_age).age).tolist() == ages


def test_only_the_counters_are_staggered():
    staggered, plain = dense_pool(), dense_pool(stagger=False)
    assert np.asarray(plain.age).tolist() == [0, 0, 0, 0]
    assert_same_bytes(staggered._replace(age=plain.age), plain)
    assert not np.any(staggered.optimizer.count)


def test_members_are_different_networks():
    hidden = np.asarray(dense_pool().params["hidden"])
    assert len(np.unique(hidden[:, 0, 0])) == 4


def test_a_member_comes_out_as_it_was_put_in():
    members = dense_pool()
    one = take(members, jnp.asarray(2))
    np.testing.assert_array_equal(one.params["head"], members.params["head"][2])
    moved = put(members, jnp.asarray(0), one)
    assert_same_bytes(take(moved, jnp.asarray(0)), one)
    for other in (1, 2, 3):
        assert_same_bytes(
            take(moved, jnp.asarray(other)),
            take(members, jnp.asarray(other)),
        )


def test_members_are_drawn_uniformly():
    members = dense_pool()
    draw = quick_jit(jax.vmap(lambda key: pool.draw_member(key, members)))
    counts = np.bincount(draw(jax.random.split(jax.random.key(1), 4000)), minlength=4)
    assert len(counts) == 4
    # 1,000 each, with a standard deviation of 27.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_online_steps_lower_the_loss_they_claim(convnet_learner, convnet_step):
    toy, network, learner = toy_problem(), toy_convnet(), convnet_learner

    def loss(learner):
        logits = network.apply(
            learner.params, learner.state, toy.images, train=True
        ).logits
        return float(0.5 * np.mean(np.sum(np.square(logits - toy.labels), axis=1)))

    first = loss(learner)
    for _ in range(30):
        learner = convnet_step(learner, toy.images, toy.labels, 3e-3)
    assert loss(learner) < 0.5 * first
    assert int(learner.age) == 30


def test_the_first_adam_step_moves_each_number_by_the_learning_rate(
    convnet_learner, convnet_step
):
    toy = toy_problem()
    after = convnet_step(convnet_learner, toy.images, toy.labels, 1e-3)
    moves = jax.tree.map(
        lambda a, b: np.abs(a - b), after.params, convnet_learner.params
    )
    # A ReLU that is shut for every image has no gradient and stays.
    flat = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moves)])
    active = flat[flat > 1e-9]
    assert active.size > 0.5 * flat.size
    assert flat.max() <= 1e-3 * 1.01
    assert np.mean(np.abs(active - 1e-3) < 2e-5) > 0.9


def test_a_learning_rate_of_0_moves_only_statistics_and_age(
    convnet_learner, convnet_step
):
    toy = toy_problem()
    after = convnet_step(convnet_learner, toy.images, toy.labels, 0.0)
    assert_same_bytes(after.params, convnet_learner.params)
    assert int(after.age) == 1
    # Published decay .1: a tenth of the old statistics (0 and 1) is left.
    before, moved = jax.tree.leaves(convnet_learner.state), jax.tree.leaves(after.state)
    assert moved
    for old, new in zip(before, moved, strict=True):
        assert np.any(np.asarray(old) != np.asarray(new))


def test_an_online_step_equals_plain_numpy_for_a_dense_network():
    """Gradient of the head by hand; Adam's first step is its sign."""
    toy, network = toy_problem(), dense_network()
    learner = pool.fresh_learner(jax.random.key(4), network)
    after = pool.online_step(
        network, learner, toy.images, toy.labels, learning_rate=0.1
    )
    output = network.apply(learner.params, learner.state, toy.images, train=True)
    error = np.asarray(output.logits - toy.labels)
    gradient = np.asarray(output.features).T @ error / len(error)
    np.testing.assert_allclose(
        np.asarray(after.params["head"]) - np.asarray(learner.params["head"]),
        -0.1 * gradient / (np.abs(gradient) + 1e-8),
        atol=1e-5,
    )
    np.testing.assert_allclose(after.optimizer.mu["head"], 0.1 * gradient, atol=1e-6)


@pytest.mark.parametrize(("age", "expected"), [(0, 1), (4, 5), (5, 0), (9, 0)])
def test_a_learner_past_its_age_is_replaced_by_a_fresh_one(age, expected):
    # max_age 4: online steps at ages 0 to 4, a fresh network at 5.
    toy, network = toy_problem(), dense_network()
    learner = pool.fresh_learner(jax.random.key(0), network)
    learner = dense_step(0.1)(learner, toy.images, toy.labels)
    learner = learner._replace(age=jnp.asarray(age, jnp.int32))
    key = jax.random.key(5)
    after = update(4, 1000)(key, learner, toy.images, toy.labels)
    assert int(after.age) == expected
    if expected == 0:
        assert int(after.optimizer.count) == 0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(after.optimizer.mu))
        assert not np.any(after.state["mean"])
        other = update(4, 1000)(jax.random.key(6), learner, toy.images, toy.labels)
        assert np.any(np.asarray(after.params["head"]) != other.params["head"])
    else:
        assert int(after.optimizer.count) == 2


class TestBatch:
    """The state of the dense network is the mean image it saw."""

    def seen(self, key, batch_size, images):
        labels = jnp.zeros((images.shape[0], 3))
        learner = pool.fresh_learner(jax.random.key(0), dense_network())
        after = update(9, batch_size)(jax.random.key(key), learner, images, labels)
        return np.asarray(after.state["mean"])

    @pytest.fixture
    def images(self):
        # Image i has only pixel i: their mean tells which were drawn.
        return jnp.eye(12, 36).reshape(12, 6, 6, 1)

    def test_all_images_below_the_batch_size(self, images):
        np.testing.assert_allclose(self.seen(0, 13, images)[:12], 1 / 12, rtol=1e-6)

    def test_a_draw_without_replacement_from_the_batch_size_on(self, images):
        draws = [self.seen(key, 5, images)[:12] for key in range(6)]
        for mean in draws:
            assert np.sum(np.isclose(mean, 1 / 5)) == 5
            assert np.sum(mean == 0) == 7
        assert any(np.any(mean != draws[0]) for mean in draws)

    def test_each_image_once_at_the_batch_size(self, images):
        np.testing.assert_allclose(self.seen(0, 12, images)[:12], 1 / 12, rtol=1e-6)

    def test_images_and_labels_stay_together(self, images):
        learner = pool.fresh_learner(jax.random.key(0), dense_network())
        images = jnp.stack([jnp.full((6, 6, 1), float(i % 2)) for i in range(12)])
        labels = jnp.where(jnp.arange(12)[:, None] % 2, 1.0, -1.0) * jnp.ones((12, 3))
        key = jax.random.key(3)
        after = update(9, 4)(key, learner, images, labels)
        chosen = jax.random.choice(jax.random.split(key)[1], 12, (4,), replace=False)
        expected = dense_step(1e-2)(learner, images[chosen], labels[chosen])
        for ours, theirs in zip(
            jax.tree.leaves(after), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
