"""The field's AlexNet against a NumPy forward pass."""

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


def make(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name="alexnet", **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


def test_its_parameters_follow_from_its_kernels_and_channels():
    params, _ = jax.eval_shape(make((32, 32, 3)).init, jax.random.key(0))
    layers = [(3, 5, 128), (128, 5, 192), (192, 3, 256), (256, 3, 192), (192, 3, 192)]
    by_hand = sum(inputs * k * k * outputs + outputs for inputs, k, outputs in layers)
    by_hand += 4 * 4 * 192 * 10 + 10
    assert count_parameters(params) == by_hand == 1_872_202


@pytest.mark.parametrize(
    ("image_shape", "features"),
    [((8, 8, 1), 192), ((28, 28, 1), 4 * 4 * 192), ((64, 64, 3), 8 * 8 * 192)],
)
def test_features_by_resolution(image_shape, features):
    params, _ = jax.eval_shape(make(image_shape).init, jax.random.key(0))
    assert params["Dense_0"]["kernel"].shape == (features, 10)


@pytest.mark.parametrize(("channels", "norm"), [(1, "none"), (3, "batch")])
def test_it_is_five_convs_with_three_max_pools(channels, norm):
    network = make((8, 8, channels), 4, width=2, norm=norm)
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
