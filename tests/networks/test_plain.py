"""AlexNet and VGG11 against their channel lists and a NumPy forward pass."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import (
    batch_norm,
    conv,
    dense,
    draw_images,
    draw_network,
    pool,
    relu,
)

from isa_toolkit.networks import NetworkSettings, build, count_parameters

CHANNELS = [64, 128, 256, 256, 512, 512, 512, 512]


def make(name, image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name=name, **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


alexnet = partial(make, "alexnet")
vgg11 = partial(make, "vgg11")


def test_parameters_of_alexnet_follow_from_its_kernels_and_channels():
    params, _ = jax.eval_shape(alexnet((32, 32, 3)).init, jax.random.key(0))
    layers = [(3, 5, 128), (128, 5, 192), (192, 3, 256), (256, 3, 192), (192, 3, 192)]
    by_hand = sum(inputs * k * k * outputs + outputs for inputs, k, outputs in layers)
    by_hand += 4 * 4 * 192 * 10 + 10
    assert count_parameters(params) == by_hand == 1_872_202


@pytest.mark.parametrize(
    ("image_shape", "features"),
    [((8, 8, 1), 192), ((28, 28, 1), 4 * 4 * 192), ((64, 64, 3), 8 * 8 * 192)],
)
def test_features_of_alexnet_by_resolution(image_shape, features):
    params, _ = jax.eval_shape(alexnet(image_shape).init, jax.random.key(0))
    assert params["Dense_0"]["kernel"].shape == (features, 10)


@pytest.mark.parametrize(("channels", "norm"), [(1, "none"), (3, "batch")])
def test_alexnet_is_five_convs_with_three_max_pools(channels, norm):
    network = alexnet((8, 8, channels), 4, width=2, norm=norm)
    params, state = draw_network(network)
    images = draw_images((3, 8, 8, channels))
    seen = jax.jit(network.apply, static_argnames="train")(
        params, state, jnp.asarray(images), train=True
    )
    maps = images
    paddings = [4 if channels == 1 else 2, 2, 1, 1, 1]
    for layer, padding in enumerate(paddings):
        maps = conv(maps, params[f"Conv_{layer}"], padding=padding)
        if norm == "batch":
            maps = batch_norm(maps, params[f"BatchNorm_{layer}"])
        maps = relu(maps)
        if layer in {0, 1, 4}:
            maps = pool(maps, np.max)
    features = maps.reshape(3, -1)
    np.testing.assert_allclose(seen.features, features, rtol=1e-3, atol=1e-4)
    logits = dense(features, params["Dense_0"])
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-3, atol=1e-4)


def test_parameters_of_vgg11_follow_from_the_published_channel_list():
    params, _ = jax.eval_shape(vgg11((32, 32, 3)).init, jax.random.key(0))
    by_hand = sum(
        inputs * 9 * outputs + outputs + 2 * outputs
        for inputs, outputs in zip([3, *CHANNELS], CHANNELS, strict=False)
    )
    by_hand += 512 * 10 + 10
    assert count_parameters(params) == by_hand == 9_231_114
    outputs = [params[f"Conv_{i}"]["kernel"].shape[-1] for i in range(8)]
    assert outputs == CHANNELS


def test_width_scales_every_layer():
    params, _ = jax.eval_shape(vgg11((32, 32, 3), width=16).init, jax.random.key(0))
    outputs = [params[f"Conv_{i}"]["kernel"].shape[-1] for i in range(8)]
    assert outputs == [channels // 4 for channels in CHANNELS]


def test_vgg11_is_eight_normed_convs_with_five_max_pools():
    network = vgg11((32, 32, 3), 4, width=1)
    params, state = draw_network(network)
    images = draw_images((4, 32, 32, 3))
    seen = jax.jit(network.apply, static_argnames="train")(
        params, state, jnp.asarray(images), train=True
    )
    maps = images
    for layer in range(8):
        maps = conv(maps, params[f"Conv_{layer}"], padding=1)
        maps = relu(batch_norm(maps, params[f"BatchNorm_{layer}"]))
        if layer in {0, 1, 3, 5, 7}:
            maps = pool(maps, np.max)
    assert maps.shape == (4, 1, 1, 8)
    features = maps.reshape(4, -1)
    np.testing.assert_allclose(seen.features, features, rtol=1e-3, atol=1e-3)
    logits = dense(features, params["Dense_0"])
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (27, 27, 1), (31, 31, 3)])
def test_instance_norm_of_single_pixels_is_refused(image_shape):
    with pytest.raises(ValueError, match="norm must be 'batch' or 'none'"):
        vgg11(image_shape, norm="instance")
    vgg11(image_shape, norm="batch")
    vgg11(image_shape, norm="none")


def test_instance_norm_is_built_where_the_last_maps_have_more_pixels():
    for image_shape in ((28, 28, 1), (32, 32, 3), (32, 16, 3)):
        network = vgg11(image_shape, norm="instance", width=1)
        params, _ = jax.eval_shape(network.init, jax.random.key(0))
        assert {f"GroupNorm_{layer}" for layer in range(8)} <= params.keys()
