"""The convolution by patches is the library's, and its parameters are Flax's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from numpy_layers import draw_images
from toy import double_precision, quick_jit

from isa_toolkit.networks.conv import Conv


# Below and above the size up to which the forward pass, too, is a product of patches.
@pytest.mark.slow
@pytest.mark.parametrize("side", [6, 16])
@pytest.mark.parametrize(
    "settings",
    [
        {"features": 4},
        {"features": 3, "kernel_size": (5, 5), "padding": 2, "strides": 2},
        {"features": 2, "use_bias": False, "padding": 3},
    ],
)
def test_values_and_gradients_are_those_of_flax(side, settings):
    settings = {"kernel_size": (3, 3), "padding": 1, **settings}
    ours, theirs = Conv(**settings), nn.Conv(**settings)
    maps = jnp.asarray(draw_images((2, side, side, 3)), jnp.float32)
    params = ours.init(jax.random.key(0), maps)
    for mine, other in zip(
        jax.tree.leaves(params),
        jax.tree.leaves(theirs.init(jax.random.key(0), maps)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, other)

    def loss(layer):
        return quick_jit(
            jax.value_and_grad(
                lambda p, x: jnp.sum(jnp.sin(layer.apply(p, x))), argnums=(0, 1)
            )
        )(params, maps)

    for mine, other in zip(
        jax.tree.leaves(loss(ours)), jax.tree.leaves(loss(theirs)), strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("side", [6, 16])
def test_parameters_are_float32_in_double_precision_too(side):
    maps = jnp.asarray(draw_images((2, side, side, 1)), jnp.float32)
    layer = Conv(features=4, padding=1)
    single = layer.init(jax.random.key(0), maps)
    with double_precision():
        double = layer.init(jax.random.key(0), maps)
        for one, other in zip(
            jax.tree.leaves(single), jax.tree.leaves(double), strict=True
        ):
            assert one.dtype == other.dtype == "float32"
            np.testing.assert_array_equal(one, other)
        wide = layer.apply(double, maps.astype("float64"))
        assert wide.dtype == "float64"
    np.testing.assert_allclose(wide, layer.apply(single, maps), rtol=1e-4, atol=1e-5)
