"""ResNet18 against the published architecture and a NumPy forward pass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import batch_norm, conv, dense, draw_images, draw_network, relu

from isa_toolkit.networks import NetworkSettings, build, count_parameters


def make(image_shape, num_classes=10, **settings):
    return build(
        NetworkSettings(name="resnet18", **settings),
        image_shape=image_shape,
        num_classes=num_classes,
    )


def test_its_parameters_follow_from_the_published_table():
    params, _ = jax.eval_shape(make((32, 32, 3)).init, jax.random.key(0))

    def normed_conv(inputs, kernel, outputs):
        return inputs * kernel * kernel * outputs + 2 * outputs

    by_hand = normed_conv(3, 3, 64)
    inputs = 64
    for outputs in (64, 128, 256, 512):
        by_hand += normed_conv(inputs, 3, outputs) + 3 * normed_conv(
            outputs, 3, outputs
        )
        if inputs != outputs:
            by_hand += normed_conv(inputs, 1, outputs)
        inputs = outputs
    by_hand += 512 * 10 + 10
    assert count_parameters(params) == by_hand == 11_173_962


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (128, 128, 3)])
def test_the_global_mean_gives_512_features_at_any_size(shape):
    params, _ = jax.eval_shape(make(shape).init, jax.random.key(0))
    assert params["Dense_0"]["kernel"].shape == (512, 10)


def test_it_is_a_stem_and_eight_normalised_residual_blocks():
    network = make((16, 16, 1), 4, width=1)
    params, state = draw_network(network)
    images = draw_images((4, 16, 16, 1))
    seen = jax.jit(network.apply, static_argnames="train")(
        params, state, jnp.asarray(images), train=True
    )

    def block(maps, layers, stride):
        inner = conv(maps, layers["Conv_0"], padding=1, stride=stride)
        inner = relu(batch_norm(inner, layers["BatchNorm_0"]))
        inner = conv(inner, layers["Conv_1"], padding=1)
        inner = batch_norm(inner, layers["BatchNorm_1"])
        if "Conv_2" in layers:
            maps = conv(maps, layers["Conv_2"], padding=0, stride=stride)
            maps = batch_norm(maps, layers["BatchNorm_2"])
        return relu(inner + maps)

    maps = relu(
        batch_norm(conv(images, params["Conv_0"], padding=3), params["BatchNorm_0"])
    )
    sides = []
    for index in range(8):
        layers = params[f"ResidualBlock_{index}"]
        is_smaller = index in {2, 4, 6}
        assert ("Conv_2" in layers) == is_smaller
        assert "bias" not in layers["Conv_0"]
        maps = block(maps, layers, 2 if is_smaller else 1)
        sides.append(maps.shape[1])
    assert sides == [20, 20, 10, 10, 5, 5, 3, 3]
    features = maps.mean((1, 2))
    np.testing.assert_allclose(seen.features, features, rtol=1e-3, atol=1e-3)
    logits = dense(features, params["Dense_0"])
    np.testing.assert_allclose(seen.logits, logits, rtol=1e-3, atol=1e-3)


def test_without_a_norm_its_convs_carry_biases():
    params, _ = jax.eval_shape(make((8, 8, 1), norm="none").init, jax.random.key(0))
    assert "bias" in params["Conv_0"]
    assert params["ResidualBlock_2"].keys() == {"Conv_0", "Conv_1", "Conv_2"}
    assert all("bias" in conv for conv in params["ResidualBlock_2"].values())


def test_instance_norm_of_single_pixels_is_refused():
    with pytest.raises(ValueError, match="norm must be 'batch' or 'none'"):
        make((8, 8, 3), norm="instance")
    make((9, 9, 3), norm="instance")
    make((8, 8, 1), norm="instance")
