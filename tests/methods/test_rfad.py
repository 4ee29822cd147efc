"""RFAD against its equations in NumPy, and what is its own."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from toy import Bound, quick_jit, toy_convnet, toy_problem

from isa_toolkit.losses import ridge
from isa_toolkit.methods import METHODS, RFAD
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks.random_features import draw_random
from isa_toolkit.presets import preset

pytestmark = pytest.mark.slow

CLASSES = 3


def first_step(settings: RFAD):
    """Return the state before and after one step, and its diagnostics."""
    toy = toy_problem()
    settings = settings.resolve(dataset="mine", images_per_class=2, num_classes=3)
    bound = Bound(settings, toy_convnet("none"))

    def run():
        state = bound.init(jax.random.key(0), toy.images, toy.labels)
        return state, *bound.step(
            as_arrays(settings), jax.random.key(1), state, toy.batch
        )

    return METHODS["rfad"], *quick_jit(run)()


@cache
def features_by_hand(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return each network's features of the targets and of the distilled images."""
    toy, network = toy_problem(), toy_convnet("none")

    def run():
        key, _ = jax.random.split(jax.random.key(1))
        drawn = draw_random(key, network, count=count)
        members = [jax.tree.map(lambda leaf, j=j: leaf[j], drawn) for j in range(count)]
        both = jnp.concatenate([toy.batch.images, toy.images])
        return [network.apply(params, {}, both).features for params in members]

    features = [np.asarray(part, np.float64) for part in quick_jit(run)()]
    return [(part[:-6], part[-6:]) for part in features]


def loss_by_hand(settings: RFAD) -> float:
    """Return the plain loss of the first step: kernels and solve in float64 NumPy."""
    toy, kernels = toy_problem(), []
    for target, distilled in features_by_hand(settings.networks):
        count = settings.networks * target.shape[1]
        kernels.append((distilled @ distilled.T / count, target @ distilled.T / count))
    among, across = (2 * sum(parts) + 0.01 for parts in zip(*kernels, strict=True))
    lam = settings.ridge * np.trace(among) / len(among)
    prediction = across @ np.linalg.solve(
        among + lam * np.eye(len(among)), np.asarray(toy.labels, np.float64)
    )
    labels = np.asarray(toy.batch.labels)
    if settings.loss == "mse":
        return float(0.5 * np.mean(np.square(prediction - labels)))
    log_chance = special.log_softmax(prediction, axis=-1)
    return float(-np.mean(log_chance[np.arange(len(labels)), labels.argmax(-1)]))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_without_extras_the_loss_is_that_of_the_kernel_predictor(loss):
    settings = RFAD(loss=loss, drop_easy=0.0, segment=(0.0, 0.0), networks=3)
    *_, info = first_step(settings)
    assert float(info.loss) == pytest.approx(loss_by_hand(settings), rel=1e-5)
    assert int(info.failure) == 0
    assert float(info.kept) == 24


def test_the_first_adabelief_step_moves_each_number_by_its_rate():
    settings = RFAD(networks=2, learn_labels=True, loss="cross_entropy")
    method, before, after, _ = first_step(settings)
    # The first update is the gradient over .9 times its size.
    for name, rate in (
        ("images", 1e-3),
        ("labels", 1e-3),
        ("transform", settings.transform_learning_rate),
        ("log_scale", settings.scale_learning_rate),
    ):
        moved = np.abs(getattr(after, name) - getattr(before, name))
        assert np.median(moved) == pytest.approx(rate / 0.9, rel=1e-2), name
    images, _ = quick_jit(method.distilled)(after)
    flat = np.asarray(after.images).reshape(6, -1) @ np.asarray(after.transform)
    np.testing.assert_allclose(images, flat.reshape(images.shape), rtol=1e-4, atol=1e-5)


def test_what_is_not_learned_stays():
    settings = RFAD(networks=2, transform=False)
    method, before, after, _ = first_step(settings)
    assert float(after.transform[0, 0]) == 1
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(method.distilled(after)[0], after.images)
    _, _, after, info = first_step(RFAD(networks=2, loss="mse"))
    # The squared error knows no scale.
    assert float(after.log_scale) == 0
    assert float(info.scale) == 1


@pytest.mark.parametrize(("count", "bound"), [(10, 1e-4), (100, 3e-4), (300, 1e-3)])
def test_the_readout_in_float32_is_that_of_float64(count, bound):
    """At the published ridge; what is left is the rounding of the kernel."""
    draw = np.random.default_rng(0)
    # Features of images are alike: a large common part and little else.
    drawn = np.abs(1 + 0.5 * draw.normal(size=(count + 50, 1024))) / 32
    both = drawn.astype(np.float32)
    features, targets = np.float64(both[:count]), np.float64(both[count:])
    labels = np.eye(10)[np.arange(count) % 10] - 0.1
    kernel = features @ features.T
    lam = RFAD().ridge * np.trace(kernel) / count
    dual = np.linalg.solve(kernel + lam * np.eye(count), labels)
    exact = targets @ features.T @ dual
    weights = ridge.readout(
        jnp.asarray(both[:count]), jnp.asarray(labels, jnp.float32), RFAD().ridge
    ).weights
    got = ridge.predict(jnp.asarray(both[count:]), weights)
    assert np.linalg.norm(got - exact) < bound * np.linalg.norm(exact)


def test_the_segment_follows_the_loss():
    def resolve(**settings):
        return RFAD(**settings).resolve(
            dataset="digits", images_per_class=1, num_classes=10
        )

    assert resolve(loss="mse").segment == (0.0, 0.5)
    assert resolve(loss="mse", segment=(-1, 2)).segment == (-1.0, 2.0)
    assert resolve(partner="none").segment == (0.0, 0.0)
    resolved = resolve()
    assert resolved.segment == (0.0, 0.0)
    assert resolved.learning_rate == preset("rfad", "digits", 1)["learning_rate"]
    own = RFAD().resolve(dataset="my_cells", images_per_class=1, num_classes=10)
    assert own.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segment": (0.0, 0.5)}, r"segment must lie in \[-1, 0\]"),
        ({"networks": 0}, "networks must be at least 1, got 0"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0"),
        ({"transform_learning_rate": -1.0}, "transform_learning_rate must be"),
        ({"scale_learning_rate": -1.0}, "scale_learning_rate must be"),
    ],
)
def test_bad_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RFAD(**settings)


@pytest.mark.parametrize("name", ["learn_labels", "transform"])
def test_a_word_is_no_truth_value(name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
        RFAD(**{name: "no"})
