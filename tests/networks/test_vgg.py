"""VGG11 against its published channel list and a NumPy forward pass."""

from __future__ import annotations

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


def make(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name="vgg11", **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


def test_its_parameters_follow_from_the_published_channel_list():
    params, _ = jax.eval_shape(make((32, 32, 3)).init, jax.random.key(0))
    by_hand = sum(
        inputs * 9 * outputs + outputs + 2 * outputs
        for inputs, outputs in zip([3, *CHANNELS], CHANNELS, strict=False)
    )
    by_hand += 512 * 10 + 10
    assert count_parameters(params) == by_hand == 9_231_114
    outputs = [params[f"Conv_{i}"]["kernel"].shape[-1] for i in range(8)]
    assert outputs == CHANNELS


def test_width_scales_every_layer():
    params, _ = jax.eval_shape(make((32, 32, 3), width=16).init, jax.random.key(0))
    outputs = [params[f"Conv_{i}"]["kernel"].shape[-1] for i in range(8)]
    assert outputs == [channels // 4 for channels in CHANNELS]


def test_it_is_eight_normed_convs_with_five_max_pools():
    network = make((32, 32, 3), 4, width=1)
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
        make(image_shape, norm="instance")
    make(image_shape, norm="batch")
    make(image_shape, norm="none")


def test_instance_norm_is_built_where_the_last_maps_have_more_pixels():
    for image_shape in ((28, 28, 1), (32, 32, 3), (32, 16, 3)):
        network = make(image_shape, norm="instance", width=1)
        params, _ = jax.eval_shape(network.init, jax.random.key(0))
        assert {f"GroupNorm_{layer}" for layer in range(8)} <= params.keys()
