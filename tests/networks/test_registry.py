"""Settings: what they refuse, how they are filled in, and what they build."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import draw_images, draw_network

from isa_toolkit.networks import NETWORKS, NetworkSettings, build

# Published width and norm, and features of 32x32x3 images.
PUBLISHED = {
    "convnet": (128, "batch", 8192),
    "convnet_flat": (256, "none", 4096),
    "convnet_smooth": (128, "none", 8192),
    "convnet_in": (128, "instance", 2048),
    "alexnet": (128, "none", 3072),
    "vgg11": (64, "batch", 512),
    "resnet18": (64, "batch", 512),
}


def test_every_registered_network_is_listed_here():
    assert NETWORKS.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_defaults_are_the_published_ones(name):
    settings = NetworkSettings(name=name).resolve((32, 32, 3))
    width, norm, features = PUBLISHED[name]
    assert (settings.width, settings.norm) == (width, norm)
    assert settings.depth == (3 if NETWORKS[name].has_depth else None)
    network = build(settings, image_shape=(32, 32, 3), num_classes=7)
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    output = jax.eval_shape(network.apply, params, state, images)
    assert output.features.shape == (2, features)
    assert output.logits.shape == (2, 7)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 64, 3), (128, 128, 3)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_takes_digits_and_photographs(name, shape):
    network = build(NetworkSettings(name=name), image_shape=shape, num_classes=10)
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    output = jax.eval_shape(network.apply, params, state, images)
    assert output.features.size > 0
    assert params["Dense_0"]["kernel"].shape == (output.features.shape[1], 10)


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in NETWORKS for norm in NETWORKS[name].norms],
)
def test_each_norm_it_lists_can_be_built(name, norm):
    network = build(
        NetworkSettings(name=name, norm=norm, width=2),
        image_shape=(32, 32, 3),
        num_classes=3,
    )
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    normed = {
        part
        for path, _ in jax.tree.leaves_with_path(params)
        for part in (str(key) for key in path)
        if "Norm" in part
    }
    kind = {"batch": "BatchNorm", "instance": "GroupNorm", "none": "no"}[norm]
    assert all(kind in part for part in normed)
    assert bool(normed) == (norm != "none")
    assert bool(state) == (norm == "batch")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_small_networks_see_digits_and_learn_from_them(name):
    network = build(
        NetworkSettings(name=name, width=2), image_shape=(8, 8, 1), num_classes=3
    )
    images = jnp.asarray(draw_images((4, 8, 8, 1)))

    params, state = draw_network(network)

    def loss(params):
        output = network.apply(params, state, images, train=True)
        return jnp.mean((output.logits - 1) ** 2), output

    (_, output), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    logits = np.asarray(output.logits)
    assert np.isfinite(logits).all()
    assert len(np.unique(logits, axis=0)) == 4
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), path
    assert np.asarray(gradients["Conv_0"]["kernel"]).any()


def test_equal_settings_give_the_same_object():
    arguments = {"image_shape": (8, 8, 1), "num_classes": 10}
    network = build(NetworkSettings(width=4), **arguments)
    spelt_out = NetworkSettings(name="convnet", width=4, depth=3, norm="batch")
    assert build(spelt_out, **arguments) is network
    for other in (
        build(NetworkSettings(width=5), **arguments),
        build(NetworkSettings(width=4, norm="none"), **arguments),
        build(NetworkSettings(width=4, depth=2), **arguments),
        build(NetworkSettings(width=4), image_shape=(8, 8, 3), num_classes=10),
        build(NetworkSettings(width=4), image_shape=(8, 8, 1), num_classes=9),
    ):
        assert other is not network


def test_resolving_twice_changes_nothing():
    for name in NETWORKS:
        once = NetworkSettings(name=name).resolve((64, 64, 3))
        assert once.resolve((64, 64, 3)) == once


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"name": "lenet"}, ValueError, "^network must be one of 'alexnet', .*'lenet'"),
        ({"width": 0}, ValueError, "^width must be at least 1, got 0"),
        ({"width": 1.5}, TypeError, "^width must be a whole number, got 1.5"),
        ({"depth": 0}, ValueError, "^depth must be at least 1, got 0"),
        (
            {"name": "vgg11", "depth": 3},
            ValueError,
            "^depth must be left out for 'vgg11', got 3",
        ),
        ({"norm": "layer"}, ValueError, "^norm of 'convnet' must be one of .*'layer'"),
        (
            {"name": "alexnet", "norm": "instance"},
            ValueError,
            "^norm of 'alexnet' must be one of 'batch', 'none', got 'instance'",
        ),
    ],
)
def test_bad_settings_are_one_sentence(settings, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        NetworkSettings(**settings)
    assert "\n" not in str(caught.value)
