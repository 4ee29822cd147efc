"""FRePo: the plain method written out again, ages, failures and settings."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import (
    Bound,
    assert_same_bytes,
    dense_network,
    quick_jit,
    toy_convnet,
    toy_problem,
)

from isa_toolkit.losses import isa
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.methods.frepo import FRePo
from isa_toolkit.networks import base
from isa_toolkit.networks.pool import fresh_learner, online_step

pytestmark = pytest.mark.slow

PLAIN = FRePo(
    drop_easy=0.0,
    segment=(0.0, 0.0),
    flips=False,
    label_scale=1.0,
    pool_size=3,
    max_online_updates=3,
    learning_rate=0.01,
)
STEPS = 12


def started(settings: FRePo, network: Any, jit: Any = quick_jit) -> tuple:
    """Return (state, step, toy): step takes (key, state, batch), compiled once."""
    state, step, toy = _started(jax.tree.structure(settings), network, jit)
    return state, partial(step, as_arrays(settings)), toy


@cache
def _started(structure: Any, network: Any, jit: Any) -> tuple:
    settings = jax.tree.unflatten(structure, jax.tree.leaves(PLAIN))
    toy, bound = toy_problem(), Bound(settings, network)
    state = quick_jit(bound.init)(jax.random.key(0), toy.images, toy.labels)
    return state, jit(bound.step), toy


def run(settings: FRePo, network: Any, steps: int = STEPS, jit: Any = quick_jit):
    state, step, toy = started(settings, network, jit)
    infos = []
    for count in range(steps):
        key = jax.random.fold_in(jax.random.key(7), count)
        batch = toy.batch._replace(progress=jnp.float32(count) / STEPS)
        state, info = step(key, state, batch)
        infos.append(info)
    return state, infos


def assert_equals_plain_frepo(partner: str, network: Any, jit: Any) -> None:
    """All of the state: images, labels, moments and the pool, after twelve steps."""
    plain = dataclasses.replace(PLAIN, partner="none")
    ours = dataclasses.replace(PLAIN, partner=partner)
    state, infos = run(ours, network, jit=jit)
    expected, plain_infos = run(plain, network, jit=jit)
    assert_same_bytes(state, expected)
    assert np.any(np.asarray(state.images) != np.asarray(toy_problem().images))
    # The reported loss is a sum that XLA may order otherwise in another program; no
    # state depends on it.
    losses = [[float(info.loss) for info in record] for record in (infos, plain_infos)]
    np.testing.assert_allclose(*losses, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("partner", ["nearest", "random"])
def test_nothing_dropped_and_no_segment_is_plain_frepo_to_the_bit(partner):
    assert_equals_plain_frepo(partner, dense_network(), quick_jit)


@pytest.mark.parametrize("network", [dense_network, toy_convnet])
def test_the_same_at_full_optimisation(network):
    assert_equals_plain_frepo("nearest", network(), jax.jit)


@pytest.mark.parametrize("partner", ["nearest", "random"])
def test_a_single_point_of_no_segment_is_plain_frepo_to_the_bit(partner):
    state, _ = run(
        dataclasses.replace(PLAIN, augmentation="single", partner=partner),
        dense_network(),
    )
    expected, _ = run(dataclasses.replace(PLAIN, partner="none"), dense_network())
    assert_same_bytes(state, expected)


def test_bfloat16_reads_the_same_targets_a_little_coarser():
    network = toy_convnet()
    ours = dataclasses.replace(PLAIN, drop_easy=0.2, segment=(0.0, 0.5))
    _, (exact,) = run(ours, network, steps=1)
    _, (coarse,) = run(
        dataclasses.replace(ours, target_precision="bfloat16"), network, steps=1
    )
    apart = abs(float(coarse.target_loss) / float(exact.target_loss) - 1)
    assert 0 < apart < 0.02
    assert float(coarse.label_loss) == float(exact.label_loss)
    assert coarse.target_loss.dtype == jnp.float32


def test_the_released_reduction_is_two_over_c_times_the_half_sum():
    _, (half,) = run(PLAIN, dense_network(), steps=1)
    released = dataclasses.replace(PLAIN, reduction="released")
    _, (info,) = run(released, dense_network(), steps=1)
    ratio = float(info.target_loss) / float(half.target_loss)
    assert ratio == pytest.approx(2 / 3, rel=1e-5)
    assert float(info.label_loss) == float(half.label_loss)


def test_mixup_is_the_loss_on_the_features_of_mixed_images():
    settings = dataclasses.replace(PLAIN, augmentation="mixup", drop_easy=0.25)
    network = dense_network()
    state, step, toy = started(settings, network)
    key = jax.random.key(4)
    _, info = step(key, state, toy.batch)
    learner = jax.tree.map(lambda leaf: leaf[int(info.member)], state.pool)

    def look(images):
        output = network.apply(learner.params, learner.state, images)
        return np.asarray(output.features, np.float64)

    f_s, f_t = look(toy.images), look(toy.batch.images)
    kernel = f_s @ f_s.T
    kernel += 1e-6 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    weights = f_s.T @ np.linalg.solve(kernel, np.asarray(toy.labels, np.float64))
    labels = np.asarray(toy.batch.labels)
    scores = 0.5 * np.sum((f_t @ weights - labels) ** 2, axis=1)
    hard = np.sort(np.argsort(scores)[6:])
    pair_key, share_key = jax.random.split(jax.random.split(key, 3)[1])
    kept = jnp.zeros(24).at[hard].set(1)
    pairs = np.asarray(isa.random_permutation(pair_key, kept))
    share = float(jax.random.uniform(share_key, ()))
    mixed = look((1 - share) * toy.batch.images + share * toy.batch.images[pairs])
    mixed_labels = (1 - share) * labels + share * labels[pairs]
    losses = 0.5 * np.sum((mixed @ weights - mixed_labels) ** 2, axis=1)
    assert float(info.kept) == len(hard)
    assert float(info.target_loss) == pytest.approx(losses[hard].mean(), rel=5e-3)
    assert abs(losses[hard].mean() / scores[hard].mean() - 1) > 0.05


def plain_frepo_step(network, key, state, batch, count):
    """Return one step of FRePo from its equations alone, with optax's LAMB."""
    images, labels, lamb_state, pool = state
    member_key, _, online_key = jax.random.split(key, 3)
    member = jax.random.randint(member_key, (), 0, 3)
    learner = jax.tree.map(lambda leaf: leaf[member], pool)
    look = lambda x: network.apply(learner.params, learner.state, x).features  # noqa: E731
    f_t = look(batch.images)

    def loss_of(distilled):
        x_s, y_s = distilled
        f_s = look(x_s)
        kernel = f_s @ f_s.T
        lam = 1e-6 * jnp.trace(kernel) / kernel.shape[0]
        system = kernel + lam * jnp.eye(kernel.shape[0])
        alpha = jax.scipy.linalg.solve(system, y_s, assume_a="pos")
        prediction = f_t @ f_s.T @ alpha
        error = 0.5 * jnp.sum((prediction - batch.labels) ** 2, axis=1)
        ordered = jnp.sort(y_s, axis=1)
        gap = ordered[:, -1] - ordered[:, -2]
        margin = -jnp.mean(jnp.minimum(gap, 1 / y_s.shape[1]))
        return jnp.mean(error) + margin

    loss, gradient = jax.value_and_grad(loss_of)((images, labels))
    rate = 0.01 * (0.1 + 0.9 * 0.5 * (1 + jnp.cos(jnp.pi * count / STEPS)))
    lamb = optax.lamb(1.0)
    updates, lamb_state = lamb.update(gradient, lamb_state, (images, labels))
    images, labels = (
        value + rate * update
        for value, update in zip((images, labels), updates, strict=True)
    )
    fresh = fresh_learner(jax.random.split(online_key)[0], network)
    older = online_step(network, learner, images, labels, learning_rate=3e-4)
    aged = jax.tree.map(lambda a, b: jnp.where(learner.age > 3, a, b), fresh, older)
    pool = jax.tree.map(lambda all_, one: all_.at[member].set(one), pool, aged)
    return (images, labels, lamb_state, pool), loss


def test_plain_frepo_equals_an_independent_step_from_the_equations():
    """Equal up to float32 rounding, not to the bit.

    The other program multiplies kernel and prediction in another order, and a ridge of
    1e-6 leaves the solve a condition number that amplifies the last digit.
    """
    network = dense_network()
    start, _, toy = started(PLAIN, network)
    lamb_state = optax.lamb(1.0).init((toy.images, toy.labels))
    state = (toy.images, toy.labels, lamb_state, start.pool)
    step = quick_jit(lambda *args: plain_frepo_step(network, *args))
    losses = []
    for count in range(STEPS):
        key = jax.random.fold_in(jax.random.key(7), count)
        state, loss = step(key, state, toy.batch, jnp.float32(count))
        losses.append(loss)
    ours, infos = run(PLAIN, network)
    np.testing.assert_allclose([info.loss for info in infos], losses, rtol=2e-3)
    for mine, theirs, first in (
        (ours.images, state[0], toy.images),
        (ours.labels, state[1], toy.labels),
    ):
        moved = np.linalg.norm(mine - first)
        assert moved > 0.01 * np.linalg.norm(first)
        assert np.linalg.norm(mine - theirs) < 0.01 * moved
    np.testing.assert_array_equal(ours.pool.age, state[3].age)
    for mine, theirs in zip(
        jax.tree.leaves(ours.pool.params), jax.tree.leaves(state[3].params), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)


def test_many_large_images_are_read_in_pieces_that_change_nothing(monkeypatch):
    toy, bound = toy_problem(), Bound(PLAIN, dense_network())
    start = quick_jit(bound.init)(jax.random.key(0), toy.images, toy.labels)

    def stepped():
        step = quick_jit(lambda *given: bound.step(as_arrays(PLAIN), *given))
        return step(jax.random.key(7), start, toy.batch)

    whole, info = stepped()
    # Four images of 6x6 pixels at a time: the targets; of the distilled ones fewer.
    monkeypatch.setattr(base, "_LARGEST_MAP", 4 * 36)
    pieces, again = stepped()
    assert float(again.loss) == pytest.approx(float(info.loss), rel=1e-4)
    moved = np.linalg.norm(whole.images - toy.images)
    assert np.linalg.norm(pieces.images - whole.images) < 1e-3 * moved


def test_ages_count_online_updates_and_start_again_past_the_limit():
    state, step, toy = started(PLAIN, dense_network())
    assert np.asarray(state.pool.age).tolist() == [0, 1, 2]
    ages, replaced = [0, 1, 2], 0
    for count in range(30):
        before = state
        state, info = step(
            jax.random.fold_in(jax.random.key(1), count), state, toy.batch
        )
        member = int(info.member)
        assert int(info.age) == ages[member] <= 4
        fresh = ages[member] > 3
        ages[member] = 0 if fresh else ages[member] + 1
        assert np.asarray(state.pool.age).tolist() == ages
        adam_steps = np.asarray(state.pool.optimizer.count)
        if fresh:
            replaced += 1
            assert int(adam_steps[member]) == 0
            assert not np.any(state.pool.state["mean"][member])
        for other in {0, 1, 2} - {member}:
            assert_same_bytes(
                jax.tree.map(lambda leaf, o=other: leaf[o], before.pool),
                jax.tree.map(lambda leaf, o=other: leaf[o], state.pool),
            )
    assert replaced >= 2


def test_the_network_trains_on_the_images_of_after_the_update():
    network = dense_network()
    state, step, toy = started(PLAIN, network)
    after, info = step(jax.random.key(2), state, toy.batch)
    seen = np.asarray(after.pool.state["mean"][int(info.member)])
    flat = np.asarray(after.images).reshape(len(toy.images), -1)
    np.testing.assert_allclose(seen, flat.mean(axis=0), atol=1e-6)
    assert (
        np.abs(seen - np.asarray(toy.images).reshape(len(flat), -1).mean(0)).max() > 0
    )


FIXED = dataclasses.replace(PLAIN, learn_labels=False, label_margin=False)


def test_fixed_labels_keep_their_bytes():
    state, _ = run(FIXED, dense_network(), steps=3)
    toy = toy_problem()
    assert np.asarray(state.labels).tobytes() == np.asarray(toy.labels).tobytes()
    assert np.any(np.asarray(state.images) != np.asarray(toy.images))
    learned, _ = run(PLAIN, dense_network(), steps=3)
    assert np.any(np.asarray(learned.labels) != np.asarray(toy.labels))


def test_flips_make_a_flipped_problem_the_same_problem():
    settings = dataclasses.replace(PLAIN, flips=True)
    network = dense_network()
    state, step, toy = started(settings, network)
    key = jax.random.key(0)
    _, info = step(key, state, toy.batch)
    flipped = state._replace(images=state.images[:, :, ::-1])
    _, other = step(key, flipped, toy.batch)
    np.testing.assert_allclose(info.loss, other.loss, rtol=1e-3)
    # Without flips the readout sees other images, and the loss is another.
    state, step, _ = started(PLAIN, network)
    _, info = step(key, state, toy.batch)
    _, other = step(key, flipped, toy.batch)
    assert abs(float(info.loss) - float(other.loss)) > 1e-2


def test_info_adds_up_and_counts_the_kept():
    settings = dataclasses.replace(PLAIN, drop_easy=0.25, segment=(0.0, 0.5))
    _, infos = run(settings, dense_network(), steps=2)
    for info in infos:
        assert float(info.loss) == pytest.approx(
            float(info.target_loss + info.label_loss), rel=1e-6
        )
        assert float(info.kept) == 18
        assert 0 <= float(info.target_accuracy) <= 1
    _, infos = run(FIXED, dense_network(), steps=1)
    assert float(infos[0].label_loss) == 0
    assert float(infos[0].loss) == float(infos[0].target_loss)


@pytest.fixture(scope="module")
def plain():
    return (*started(PLAIN, dense_network()), METHODS["frepo"].quantities)


class TestFailures:
    """A step that is not finite says which quantity was the first."""

    def failed(self, plain, state, batch):
        _, step, _, quantities = plain
        _, info = step(jax.random.key(0), state, batch)
        code = int(info.failure)
        return quantities[code - 1] if code else None

    def test_nothing(self, plain):
        state, _, toy, _ = plain
        assert self.failed(plain, state, toy.batch) is None

    def test_target_features(self, plain):
        state, _, toy, _ = plain
        batch = toy.batch._replace(images=toy.batch.images.at[5, 2, 2].set(jnp.nan))
        assert self.failed(plain, state, batch) == "the target features"

    def test_distilled_features(self, plain):
        state, _, toy, _ = plain
        state = state._replace(images=state.images.at[0, 1, 1].set(jnp.inf))
        assert self.failed(plain, state, toy.batch) == "the distilled features"

    def test_ridge_readout(self, plain):
        # Features this negative are 0, and so are the kernel and its relative ridge.
        state, _, toy, _ = plain
        params = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), state.pool.params)
        state = state._replace(
            pool=state.pool._replace(params=params),
            images=jnp.full_like(state.images, 1e3),
        )
        assert self.failed(plain, state, toy.batch).startswith("the ridge readout")

    def test_ridge_readout_of_labels_that_are_not_finite(self, plain):
        state, _, toy, _ = plain
        state = state._replace(labels=state.labels.at[0, 0].set(jnp.nan))
        assert self.failed(plain, state, toy.batch).startswith("the ridge readout")

    def test_loss(self, plain):
        state, _, toy, _ = plain
        batch = toy.batch._replace(labels=1e30 * toy.batch.labels)
        assert self.failed(plain, state, batch) == "the loss"

    def test_gradient(self, plain):
        """A norm has no slope at the origin: value 0, gradient not a number."""
        network = dense_network()

        def apply(params, state, images, train=False):
            output = network.apply(params, state, images, train)
            kink = jnp.sqrt(jnp.sum(jnp.square(images - images), axis=(1, 2, 3)))
            return output._replace(features=output.features + kink[:, None])

        state, step, toy = started(PLAIN, network._replace(apply=apply))
        _, info = step(jax.random.key(0), state, toy.batch)
        assert plain[3][int(info.failure) - 1] == "the gradient"
        assert np.isfinite(info.loss)


class TestSettings:
    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (
                {"drop_easy": 0.7, "drop_hard": 0.3},
                r"drop_easy \+ drop_hard must be be",
            ),
            ({"drop_easy": 1.0}, r"drop_easy must be at least 0 and below 1, got 1.0"),
            (
                {"drop_hard": -0.1},
                r"drop_hard must be at least 0 and below 1, got -0.1",
            ),
            ({"drop_easy": float("nan")}, "drop_easy must be finite, got nan"),
            ({"partner": "closest"}, "partner must be one of"),
            ({"partner": "none"}, r"segment must be \(0, 0\) when partner is 'none'"),
            (
                {"augmentation": "mixup"},
                r"segment must be \(0, 0\) when augmentation is 'mixup', got \(0.0, 0.5\)",
            ),
            (
                {"augmentation": "cutmix"},
                "augmentation must be one of 'mixup', 'segment', 'single', got 'cutmix'",
            ),
            ({"segment": (0, 1, 2)}, r"segment must be a pair \(start, stop\), got"),
            ({"segment": 0.5}, r"segment must be a pair \(start, stop\), got 0.5"),
            ({"segment": (0, float("inf"))}, "segment must be finite, got inf"),
            ({"ridge": -1e-6}, "ridge must be at least 0, got -1e-06"),
            ({"reduction": "mean"}, "reduction must be one of 'half_sum', 'released'"),
            (
                {"optimizer": "sgd"},
                "optimizer must be one of 'adam', 'lamb', got 'sgd'",
            ),
            ({"learning_rate": -1}, "learning_rate must be at least 0"),
            (
                {"final_learning_rate": 2},
                r"final_learning_rate must be at least 0 and at most 1",
            ),
            ({"pool_size": 0}, "pool_size must be at least 1, got 0"),
            ({"max_online_updates": -1}, "max_online_updates must be at least 0"),
            ({"online_learning_rate": -1.0}, "online_learning_rate must be at least 0"),
            ({"online_batch_size": 0}, "online_batch_size must be at least 1"),
            ({"label_scale": 0}, "label_scale must be above 0"),
            (
                {"target_precision": "tf32"},
                "target_precision must be one of 'bfloat16', 'default', 'float32'",
            ),
        ],
    )
    def test_a_wrong_value_is_one_sentence(self, given, sentence):
        with pytest.raises(ValueError, match=sentence):
            FRePo(**given)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"drop_easy": "0.2"}, "drop_easy must be a number, got '0.2'"),
            ({"segment": ("0", 1)}, "segment must be a number, got '0'"),
            ({"pool_size": 2.5}, "pool_size must be a whole number, got 2.5"),
            ({"pool_size": True}, "pool_size must be a whole number, got True"),
            ({"flips": "no"}, "flips must be True or False, got 'no'"),
            ({"learn_labels": 0}, "learn_labels must be True or False, got 0"),
            ({"label_margin": None}, "label_margin must be True or False, got None"),
            ({"stagger": "false"}, "stagger must be True or False, got 'false'"),
        ],
    )
    def test_a_wrong_kind_is_one_sentence(self, given, sentence):
        with pytest.raises(TypeError, match=sentence):
            FRePo(**given)

    def test_the_defaults_are_the_published_ones(self):
        settings = FRePo()
        assert (settings.drop_easy, settings.drop_hard) == (0.2, 0.0)
        assert settings.segment == (0.0, 0.5)
        assert (settings.pool_size, settings.max_online_updates) == (10, 100)
        assert (settings.learning_rate, settings.ridge) == (3e-4, 1e-6)

    def test_equal_settings_are_one_key_however_the_segment_was_written(self):
        assert repr(FRePo(segment=(0, 1))) == repr(FRePo(segment=(0.0, 1.0)))
        assert hash(FRePo(segment=(0, 1))) == hash(FRePo(segment=(0.0, 1.0)))

    def test_resolve_leaves_nothing_open_and_keeps_what_was_chosen(self):
        open_ = FRePo().resolve(dataset="cifar10", images_per_class=10, num_classes=10)
        assert (open_.flips, open_.label_scale) == (True, 1.0)
        chosen = FRePo(flips=False, label_scale=2.0).resolve(
            dataset="cifar100", images_per_class=1, num_classes=100
        )
        assert (chosen.flips, chosen.label_scale) == (False, 2.0)

    def test_first_labels_shrink_with_the_number_of_classes(self):
        settings = FRePo(flips=False).resolve(
            dataset="cifar100", images_per_class=1, num_classes=100
        )
        network = dense_network()._replace(num_classes=100)
        labels = (
            METHODS["frepo"]
            .init(
                settings,
                network,
                jax.random.key(0),
                jnp.zeros((100, *network.image_shape)),
                jnp.eye(100) - 1 / 100,
            )
            .labels
        )
        top = np.sort(np.asarray(labels), axis=1)
        np.testing.assert_allclose(top[:, -1] - top[:, -2], 0.3162, atol=1e-4)
