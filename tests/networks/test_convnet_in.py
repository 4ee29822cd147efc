"""ConvNet-IN against its equations and PyTorch's initial draw."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import (
    conv,
    dense,
    draw_images,
    draw_network,
    instance_norm,
    pool,
    relu,
)

from isa_toolkit.networks import NetworkSettings, build, count_parameters


def make(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name="convnet_in", **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


def test_it_has_320010_parameters_for_cifar10():
    params, state = jax.eval_shape(make((32, 32, 3)).init, jax.random.key(0))
    by_hand = 3 * 9 * 128 + 128  # first conv
    by_hand += 2 * (128 * 9 * 128 + 128)  # two more
    by_hand += 3 * 2 * 128  # three norms, scale and shift
    by_hand += 4 * 4 * 128 * 10 + 10  # dense
    assert count_parameters(params) == by_hand == 320_010
    assert not state


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_conv_norm_relu_pool_at_constant_width(channels):
    network = make((8, 8, channels), 4, width=2)
    params, state = draw_network(network)
    images = draw_images((3, 8, 8, channels))
    seen = jax.jit(network.apply)(params, state, jnp.asarray(images))
    maps = images
    for layer, padding in enumerate([3 if channels == 1 else 1, 1, 1]):
        maps = conv(maps, params[f"Conv_{layer}"], padding=padding)
        maps = relu(instance_norm(maps, params[f"GroupNorm_{layer}"]))
        maps = pool(maps, np.mean)
    features = maps.reshape(3, -1)
    np.testing.assert_allclose(seen.features, features, rtol=1e-3, atol=1e-4)
    logits = dense(features, params["Dense_0"])
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-3, atol=1e-4)


def test_weights_and_biases_are_uniform_by_fan_in():
    network = make((16, 16, 3), 100, width=64, depth=2)
    params, _ = jax.jit(network.init)(jax.random.key(0))
    for name in ("Conv_0", "Conv_1", "Dense_0"):
        kernel, bias = (np.asarray(params[name][part]) for part in ("kernel", "bias"))
        bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
        for values in (kernel, bias):
            scaled = values.ravel() / bound
            assert np.abs(scaled).max() <= 1 + 1e-6
            assert np.abs(scaled).max() > 0.9
            assert (scaled**2).mean() == pytest.approx(1 / 3, abs=2 / scaled.size**0.5)
    first, second = (np.asarray(params[f"Conv_{i}"]["bias"]) for i in (0, 1))
    assert not np.array_equal(first, second)


def test_batch_norm_keeps_nine_tenths_of_its_old_statistics():
    network = make((8, 8, 3), 4, width=2, norm="batch")
    params, state = draw_network(network)
    images = draw_images((3, 8, 8, 3))
    seen = jax.jit(network.apply, static_argnames="train")(
        params, state, jnp.asarray(images), train=True
    )
    maps = conv(images, params["Conv_0"], padding=1)
    np.testing.assert_allclose(
        seen.state["BatchNorm_0"]["mean"], 0.1 * maps.mean((0, 1, 2)), rtol=1e-4
    )
    np.testing.assert_allclose(
        seen.state["BatchNorm_0"]["var"], 0.9 + 0.1 * maps.var((0, 1, 2)), rtol=1e-4
    )
