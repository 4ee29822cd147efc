"""The ConvNets against their equations, and PyTorch's initial draw."""

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
    instance_norm,
    pool,
    relu,
)

from isa_toolkit.networks import NetworkSettings, build, count_parameters
from isa_toolkit.networks.convnet import check_depth, default_depth, smooth_relu


def make(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(**settings), image_shape=image_shape, num_classes=num_classes
    )


def shapes(network, n=2):
    """Parameters and output of a training pass as shapes, without compiling."""
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((n, *network.image_shape), jnp.float32)
    output = jax.eval_shape(
        lambda *arguments: network.apply(*arguments, train=True), params, state, images
    )
    return params, output


def test_parameters_at_the_published_size():
    params, output = shapes(make((32, 32, 3)))
    assert output.features.shape == (2, 8192)
    assert output.logits.shape == (2, 10)
    sizes = {name: count_parameters(part) for name, part in params.items()}
    assert sizes == {
        "Conv_0": 3_584,
        "Conv_1": 295_168,
        "Conv_2": 1_180_160,
        "Dense_0": 81_930,
        "BatchNorm_0": 2 * 128,
        "BatchNorm_1": 2 * 256,
    }


@pytest.mark.parametrize(
    ("image_shape", "features"),
    [
        ((8, 8, 1), 1 * 1 * 512),
        ((8, 8, 3), 1 * 1 * 512),
        # Padded by 3, 28 pixels become 32: 4x4 maps and not 3x3.
        ((28, 28, 1), 4 * 4 * 512),
        ((28, 28, 3), 3 * 3 * 512),
        ((64, 64, 3), 4 * 4 * 1024),
        ((128, 128, 3), 4 * 4 * 2048),
        ((16, 40, 3), 2 * 5 * 512),
    ],
)
def test_features_by_resolution(image_shape, features):
    _, output = shapes(make(image_shape))
    assert output.features.shape == (2, features)


@pytest.mark.parametrize(
    ("side", "depth"),
    [(8, 3), (28, 3), (32, 3), (33, 4), (64, 4), (96, 5), (128, 5), (256, 6)],
)
def test_depth_by_resolution(side, depth):
    assert default_depth((side, side, 3)) == depth
    assert default_depth((side, 2 * side, 1)) == depth


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_conv_relu_pool_with_the_norm_before_the_later_convs(channels):
    network = make((8, 8, channels), 4, width=2)
    params, state = draw_network(network)
    images = draw_images((3, 8, 8, channels))
    seen = jax.jit(network.apply, static_argnames="train")(
        params, state, jnp.asarray(images), train=True
    )
    maps = images
    for layer, padding in enumerate([3 if channels == 1 else 1, 1, 1]):
        if layer > 0:
            before = state[f"BatchNorm_{layer - 1}"]
            after = seen.state[f"BatchNorm_{layer - 1}"]
            for name, value in (
                ("mean", maps.mean((0, 1, 2))),
                ("var", maps.var((0, 1, 2))),
            ):
                expected = 0.1 * np.asarray(before[name]) + 0.9 * value
                np.testing.assert_allclose(after[name], expected, rtol=1e-4)
            maps = batch_norm(maps, params[f"BatchNorm_{layer - 1}"])
        maps = conv(maps, params[f"Conv_{layer}"], padding=padding)
        maps = pool(relu(maps), np.mean)
    features = maps.reshape(3, -1)
    np.testing.assert_allclose(seen.features, features, rtol=1e-3, atol=1e-4)
    logits = dense(features, params["Dense_0"])
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-3, atol=1e-4)
    assert (np.asarray(seen.features) >= 0).all()


@pytest.fixture(scope="module")
def fresh():
    """Three networks of width 32, drawn together: (network, params, state)."""
    network = make((8, 8, 3), width=32)
    keys = jax.random.split(jax.random.key(0), 3)
    return network, *jax.jit(jax.vmap(network.init))(keys)


def test_networks_drawn_together_are_distinct_and_run_together(fresh):
    network, params, state = fresh
    for name in ("Conv_0", "Conv_1", "Conv_2", "Dense_0"):
        kernels = np.asarray(params[name]["kernel"])
        assert len(np.unique(kernels.reshape(3, -1), axis=0)) == 3
    images = jnp.asarray(draw_images((2, 8, 8, 3)))
    together = jax.jit(jax.vmap(network.apply, in_axes=(0, 0, None)))
    alone = jax.jit(network.apply)
    last = jax.tree.map(lambda leaf: leaf[2], (params, state))
    logits = together(params, state, images).logits
    assert logits.shape == (3, 2, 10)
    np.testing.assert_allclose(logits[2], alone(*last, images).logits, atol=1e-5)


def test_the_norm_of_a_fresh_network_is_the_identity_in_evaluation(fresh):
    network, *drawn = fresh
    without = make((8, 8, 3), width=32, norm="none")
    params, state = jax.tree.map(lambda leaf: leaf[0], tuple(drawn))
    images = jnp.asarray(draw_images((5, 8, 8, 3)))
    bare = {name: part for name, part in params.items() if "Norm" not in name}
    expected = jax.jit(without.apply)(bare, {}, images).logits
    actual = jax.jit(network.apply)(params, state, images).logits
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_weights_are_truncated_lecun_normal_and_biases_zero(fresh):
    _, params, _ = fresh
    for name in ("Conv_0", "Conv_1", "Conv_2", "Dense_0"):
        kernel = np.asarray(params[name]["kernel"])
        fan_in = np.prod(kernel.shape[1:-1])
        few = 4 / np.sqrt(kernel.size)
        assert kernel.std() * np.sqrt(fan_in) == pytest.approx(1, abs=few)
        # Cut at two sigma of the parent normal, whose std is 1 / .8796 times larger.
        assert np.abs(kernel).max() <= 2.28 / np.sqrt(fan_in)
        assert np.abs(kernel).max() > 2.1 / np.sqrt(fan_in)
        assert not np.asarray(params[name]["bias"]).any()


@pytest.mark.parametrize(
    ("image_shape", "deepest"),
    [((8, 8, 3), 3), ((8, 8, 1), 3), ((28, 28, 1), 5), ((28, 28, 3), 4)],
)
def test_a_depth_that_pools_the_image_away_is_refused(image_shape, deepest):
    check_depth(image_shape, deepest)
    _, output = shapes(make(image_shape, width=1, depth=deepest))
    assert output.features.size > 0
    sentence = f"^depth must be at most {deepest} for .* images .*, got {deepest + 1}"
    with pytest.raises(ValueError, match=sentence):
        make(image_shape, width=1, depth=deepest + 1)


def test_the_smooth_relu_is_relu_with_a_second_derivative():
    values = jnp.linspace(-2, 2, 101)
    gap = smooth_relu(values) - jax.nn.relu(values)
    assert float(gap.min()) >= 0
    assert float(gap.max()) == pytest.approx(np.log(2) / 60, rel=1e-5)
    curvature = jax.grad(jax.grad(smooth_relu))
    assert float(curvature(0.0)) == pytest.approx(60 / 4)


def test_the_smooth_network_is_the_convnet_almost():
    shape = (8, 8, 1)
    networks = [
        make(shape, name=name, width=4, depth=2, norm="none")
        for name in ("convnet", "convnet_smooth")
    ]
    params, state = draw_network(networks[0])
    images = jnp.asarray(draw_images((3, *shape)))
    outputs = [jax.jit(one.apply)(params, state, images) for one in networks]
    features = [np.asarray(output.features) for output in outputs]
    assert not np.array_equal(*features)
    np.testing.assert_allclose(*features, atol=0.1)


def test_the_flat_network_keeps_its_width_and_its_input():
    params, output = shapes(make((28, 28, 1), name="convnet_flat"))
    # 28 -> 14 -> 7 -> 3 without the extra padding.
    assert output.features.shape == (2, 3 * 3 * 256)
    assert params["Conv_2"]["kernel"].shape == (3, 3, 256, 256)
    with pytest.raises(ValueError, match="depth must be at most 3 for 8x8"):
        make((8, 8, 1), name="convnet_flat", depth=4)


def matching_convnet(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name="convnet_in", **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


def test_that_of_the_matching_methods_has_320010_parameters():
    params, state = jax.eval_shape(
        matching_convnet((32, 32, 3)).init, jax.random.key(0)
    )
    by_hand = 3 * 9 * 128 + 128  # first conv
    by_hand += 2 * (128 * 9 * 128 + 128)  # two more
    by_hand += 3 * 2 * 128  # three norms, scale and shift
    by_hand += 4 * 4 * 128 * 10 + 10  # dense
    assert count_parameters(params) == by_hand == 320_010
    assert not state


@pytest.mark.parametrize("channels", [1, 3])
def test_that_of_the_matching_methods_is_conv_norm_relu_pool(channels):
    network = matching_convnet((8, 8, channels), 4, width=2)
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
    network = matching_convnet((16, 16, 3), 100, width=64, depth=2)
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
    network = matching_convnet((8, 8, 3), 4, width=2, norm="batch")
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
