"""Many networks in one compiled call: what is traced, and what the numbers mean."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import SIDE, dense_network, quick_jit, toy_problem

from isa_toolkit.evaluation.train import train_and_test
from isa_toolkit.networks.training import ORDERS, FitSettings

pytestmark = pytest.mark.slow


def published(**changes):
    """Return the evaluation of the toy network, full batch and without augmentation."""
    static = {"ops": (), "augment_mode": "batch", "flips": False}
    return train_and_test(dense_network(), **{**static, **changes})


@cache
def compiled(**changes):
    """Return the same function, compiled in less time."""
    return quick_jit(published(**changes).__wrapped__)


def fit_settings(steps, rate, **static):
    """Return settings whose number of steps may also be 0."""
    settings = FitSettings(steps=1, learning_rate=rate, warmup_steps=3, **static)
    settings = jax.tree.map(jnp.asarray, settings)
    return dataclasses.replace(settings, steps=jnp.asarray(steps))


def accuracies(
    function,
    *,
    problem_seed=0,
    images=None,
    steps=60,
    rate=3e-2,
    seed=0,
    tested=None,
    **static,
):
    """Return (network, ridge), each [2]: two networks on twelve toy images."""
    toy = toy_problem(problem_seed, per_class=4, targets=90)
    labels = toy.labels
    if images is None:
        images = toy.images
    elif len(images) == 2 * len(labels):
        labels = jnp.concatenate([labels, labels])
    if tested is None:
        tested = toy.batch.images, jnp.argmax(toy.batch.labels, -1)
    result = function(
        jax.random.split(jax.random.key(seed), 2),
        images,
        labels,
        *tested,
        fit_settings(steps, rate, **{"batch_size": 12, **static}),
        jnp.float32(1e-3),
        (),
    )
    return np.asarray(result.network), np.asarray(result.ridge)


def test_training_beats_chance_and_no_training():
    before, _ = accuracies(compiled(), steps=0)
    after, ridge = accuracies(compiled(), steps=60)
    assert before.shape == after.shape == ridge.shape == (2,)
    assert (after > before).all()
    assert (after > 0.6).all()  # chance is a third
    assert (ridge > 0.6).all()


def test_steps_learning_rate_and_set_are_traced():
    function = published()
    for steps, rate, problem_seed in ((0, 3e-2, 0), (5, 1e-3, 0), (9, 1e-2, 3)):
        accuracies(function, steps=steps, rate=rate, problem_seed=problem_seed)
    assert function._cache_size() == 1
    assert published() is function


def test_same_key_same_numbers_and_another_key_another_network():
    first, again = (accuracies(compiled(), steps=3) for _ in range(2))
    other = accuracies(compiled(), steps=3, seed=1)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).any()
    # Keys, not places, make networks: those of one call differ, too.
    assert first[0][0] != first[0][1]


def test_a_diverged_network_scores_nothing():
    network, _ = accuracies(compiled(), steps=9, rate=1e38)
    assert network.tolist() == [0, 0]


@pytest.mark.parametrize("batch_size", [12, 5])
def test_order_matters_only_for_batches_smaller_than_the_set(batch_size):
    shuffled, released = (
        accuracies(compiled(), steps=4, order=order, batch_size=batch_size)[0]
        for order in ORDERS
    )
    assert (shuffled != released).any() == (batch_size < 12)


def test_augmentation_changes_the_training():
    plain, _ = accuracies(compiled(), steps=20)
    augmented, _ = accuracies(compiled(ops=("cutout",)), steps=20)
    assert (plain != augmented).any()


def test_flipped_support_is_the_set_with_its_flipped_copies():
    toy = toy_problem(per_class=4)
    both = jnp.concatenate([toy.images, toy.images[:, :, ::-1]])
    # Without training, the two differ in nothing but the support.
    network, flipped = accuracies(compiled(flips=True), steps=0)
    same_network, explicit = accuracies(compiled(), images=both, steps=0)
    np.testing.assert_array_equal(network, same_network)
    np.testing.assert_array_equal(flipped, explicit)


def test_flipped_support_recognises_mirror_images():
    toy = toy_problem(per_class=4)
    flipped = toy.images[:, :, ::-1], jnp.argmax(toy.labels, -1)
    _, plain = accuracies(compiled(), steps=0, tested=flipped)
    _, both = accuracies(compiled(flips=True), steps=0, tested=flipped)
    assert (both > plain).all()


def test_the_toy_is_not_its_own_mirror_image():
    images = np.asarray(toy_problem().images)
    assert images.shape[1:] == (SIDE, SIDE, 1)
    assert not np.allclose(images, images[:, :, ::-1])
