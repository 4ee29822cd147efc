"""DM's own laws; what it shares with every method is in ``test_contract``."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import (
    CLASSES,
    Bound,
    dense_network,
    quick_jit,
    toy_convnet,
    toy_problem,
)

from isa_toolkit.methods import DM, METHODS, Batch
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks import Network, base

pytestmark = pytest.mark.slow

PLAIN = DM(drop_easy=0, segment=(0, 0), partner="none", ops=(), learning_rate=0.5)


def problem():
    toy = toy_problem()
    order = np.argsort(np.argmax(toy.batch.labels, -1), kind="stable")
    return toy, Batch(toy.batch.images[order], toy.batch.labels[order])


def steps(settings: DM, count: int, network: Network | None = None):
    toy, batch = problem()
    bound = Bound(settings, network or dense_network())
    state = bound.init(jax.random.key(0), toy.images, toy.labels)
    step, infos = quick_jit(bound.step), []
    for number in range(count):
        key = jax.random.fold_in(jax.random.key(1), number)
        state, info = step(as_arrays(settings), key, state, batch)
        infos.append(info)
    return toy, batch, state, infos


def test_two_steps_are_momentum_on_the_distance_of_class_means():
    toy, batch, state, infos = steps(PLAIN, 2)
    network = dense_network()

    def loss(images, key):
        params, norms = network.init(jax.random.split(key, 3)[0])

        def means(some):
            # Training mode, as DM's networks never leave it.
            seen = network.apply(params, norms, some, train=True).features
            return seen.reshape(CLASSES, -1, seen.shape[-1]).mean(1)

        return jnp.sum((means(batch.images) - means(images)) ** 2)

    slopes = quick_jit(jax.value_and_grad(loss))
    images, velocity = toy.images, 0.0
    for number, info in enumerate(infos):
        key = jax.random.fold_in(jax.random.key(1), number)
        value, gradient = slopes(images, key)
        assert float(info.loss) == pytest.approx(float(value), rel=1e-4)
        velocity = 0.5 * velocity + gradient
        images = images - 0.5 * velocity
    np.testing.assert_allclose(state.images, images, atol=1e-4)
    np.testing.assert_array_equal(state.labels, toy.labels)


def test_each_step_draws_a_fresh_network_and_augmentation():
    *_, infos = steps(dataclasses.replace(PLAIN, learning_rate=0.0, ops=None), 3)
    losses = {float(info.loss) for info in infos}
    assert len(losses) == 3


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_classes_of_many_images_may_come_in_pieces(monkeypatch, norm):
    """Batch norm would see them: it takes all classes in one pass."""
    settings = dataclasses.replace(PLAIN, ops=None)
    *_, whole, [info] = steps(settings, 1, toy_convnet(norm))
    # Eight targets of 6x6 pixels at width 4 in each of three classes: two at a time.
    monkeypatch.setattr(base, "_LARGEST_MAP", 2 * 8 * 36 * 4)
    *_, pieces, [again] = steps(settings, 1, toy_convnet(norm))
    assert float(again.loss) == pytest.approx(float(info.loss), rel=1e-5)
    np.testing.assert_allclose(pieces.images, whole.images, rtol=1e-5, atol=1e-6)


def test_the_kept_share_is_that_of_every_class():
    *_, infos = steps(dataclasses.replace(PLAIN, drop_easy=0.25, drop_hard=0.125), 1)
    # Eight of each of three classes: two and one go.
    assert float(infos[0].kept) == 3 * 5


def test_the_learning_rate_is_the_published_one():
    def rate(dataset, count):
        settings = DM().resolve(dataset=dataset, images_per_class=count, num_classes=10)
        return settings.learning_rate

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rate("cifar10", 10) == 1
        assert rate("cifar10", 200) == 10
        assert rate("digits", 3) == 1
    with pytest.warns(UserWarning, match="no published settings of DM for 'mnist'"):
        assert rate("mnist", 1) == 1
    kept = DM(learning_rate=3.0).resolve(
        dataset="mnist", images_per_class=1, num_classes=10
    )
    assert kept.learning_rate == 3


def test_real_images_are_drawn_per_class():
    method = METHODS["dm"]
    assert (method.sampling, method.batch_size) == ("per_class", 256)
    assert (method.network, method.protocol) == ("convnet_in", "dsa")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"drop_easy": 1.0}, r"drop_easy must be at least 0 and below 1"),
        ({"drop_easy": 0.6, "drop_hard": 0.4}, r"drop_easy \+ drop_hard must be below"),
        ({"segment": (0,)}, r"segment must be a pair"),
        ({"partner": "far"}, "partner must be one of .*'same_class'"),
        ({"partner": "none"}, r"segment must be \(0, 0\) when partner is 'none'.* Use"),
        ({"ops": ("spin",)}, "each of ops must be one of"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0"),
        ({"momentum": 1.0}, "momentum must be at least 0"),
    ],
)
def test_bad_settings_get_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        DM(**changes)
    assert "\n" not in str(caught.value)


def test_what_is_not_resolved_does_not_run():
    toy, _ = problem()
    with pytest.raises(ValueError, match="learning_rate must be resolved"):
        Bound(DM(), dense_network()).init(jax.random.key(0), toy.images, toy.labels)
