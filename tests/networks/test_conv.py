"""The convolution of the CPU and its derivatives are the library's."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.test_util import check_grads
from numpy_layers import draw_images
from toy import double_precision, quick_jit

from isa_toolkit.networks import conv
from isa_toolkit.networks.conv import Conv

# (side of the maps, input and output channels, settings of the layer). Channels from 16 on
# take minimal filtering, where the maps are not too small for whole tiles.
CASES = {
    "padding 1": (8, 16, 17, {}),
    "odd maps": (7, 16, 16, {}),
    "maps of 3 pixels": (3, 16, 16, {}),
    "four tiles of 3 pixels": (6, 16, 17, {}),
    "first layer, padding 3": (8, 1, 4, {"padding": 3}),
    "padding 3": (6, 16, 16, {"padding": 3}),
    "no padding, no bias": (8, 16, 16, {"padding": 0, "use_bias": False}),
    "stride 2": (8, 3, 4, {"strides": 2}),
    "stride 2, odd maps": (7, 16, 16, {"strides": 2}),
    "1x1": (6, 3, 4, {"kernel_size": (1, 1), "padding": 0}),
    "1x1, stride 2": (6, 3, 4, {"kernel_size": (1, 1), "padding": 0, "strides": 2}),
    "5x5, stride 2": (9, 3, 4, {"kernel_size": (5, 5), "padding": 2, "strides": 2}),
}  # fmt: skip


def make_case(name: str, count: int = 2):
    """Return (our convolution, the library's, maps, kernel) in double precision."""
    side, channels, features, settings = CASES[name]
    settings = {"kernel_size": (3, 3), "padding": 1, "strides": 1, **settings}
    pads, step = settings["padding"], settings["strides"]
    rest = ((step, step), ((pads, pads), (pads, pads)))
    library = partial(
        lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    maps = draw_images((count, side, side, channels), 0)
    kernel = draw_images((*settings["kernel_size"], channels, features), 1)
    return (
        lambda x, k: conv._conv(x, k, *rest),
        lambda x, k: library(x, k, *rest),
        jnp.asarray(maps, "float64"),
        jnp.asarray(kernel, "float64"),
    )


def assert_close(mine, other):
    for one, its in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, its, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_any_mode_are_those_of_the_library(name):
    with double_precision():
        ours, library, maps, kernel = make_case(name)
        tangents = (jnp.cos(maps), jnp.cos(kernel))

        def derivatives(convolve):
            def loss(x, k):
                return jnp.sum(jnp.sin(convolve(x, k)))

            gradient = jax.grad(loss, argnums=(0, 1))

            def slope(x, k):
                parts = gradient(x, k)
                return sum(jnp.vdot(jnp.sin(p), p) for p in parts)

            return {
                "forward": jax.jvp(convolve, (maps, kernel), tangents),
                "reverse": gradient(maps, kernel),
                "forward over reverse": jax.jvp(gradient, (maps, kernel), tangents),
                "reverse over reverse": jax.grad(slope, argnums=(0, 1))(maps, kernel),
            }

        mine = quick_jit(lambda: derivatives(ours))()
        assert_close(mine, quick_jit(lambda: derivatives(library))())


@pytest.mark.parametrize("name", ["padding 1", "padding 3", "stride 2"])
def test_derivatives_are_central_differences(name):
    with double_precision():
        ours, _, maps, kernel = make_case(name, count=1)
        check_grads(
            jax.jit(ours),  # or else it gets NumPy arrays
            (maps, kernel),
            order=2,
            modes=["fwd", "rev"],
            rtol=1e-5,
        )


@pytest.mark.parametrize("count", [1, 5, 40])
def test_blocks_of_images_add_up(count):
    # 16 tiles of an image: 16 images at a time.
    with double_precision():
        ours, library, maps, kernel = make_case("padding 1", count)

        def derivatives(convolve):
            return jax.value_and_grad(
                lambda x, k: jnp.sum(jnp.sin(convolve(x, k))), argnums=(0, 1)
            )(maps, kernel)

        assert_close(quick_jit(lambda: derivatives(ours))(), derivatives(library))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 1)])
def test_it_can_be_vmapped(axes):
    with double_precision():
        ours, library, maps, kernel = make_case("stride 2")

        def widened(array, axis):
            if axis is None:
                return array
            return jnp.stack([array, jnp.cos(array), jnp.sin(array)], axis)

        given = [
            widened(one, axis) for one, axis in zip((maps, kernel), axes, strict=True)
        ]

        def of_all(convolve):
            def loss(x, k):
                return jnp.sum(jnp.sin(convolve(x, k)))

            gradient = jax.grad(loss, argnums=(0, 1))
            return (
                jax.vmap(convolve, axes)(*given),
                jax.vmap(gradient, axes)(*given),
                jax.grad(lambda *all: jnp.sum(jax.vmap(loss, axes)(*all)))(*given),
            )

        assert_close(quick_jit(lambda: of_all(ours))(), of_all(library))


@pytest.mark.parametrize("name", ["padding 1", "four tiles of 3 pixels"])
def test_single_precision_is_single_precision(name):
    with double_precision():
        ours, library, maps, kernel = make_case(name, 3)
        exact = np.asarray(library(maps, kernel))
    maps, kernel = maps.astype("float32"), kernel.astype("float32")
    errors = [
        np.abs(np.asarray(one(maps, kernel)) - exact).max() for one in (ours, library)
    ]
    assert errors[0] < 10 * errors[1]


def test_parameters_are_those_of_flax():
    settings = {"features": 4, "kernel_size": (3, 3), "padding": 1}
    maps = jnp.asarray(draw_images((2, 6, 6, 3)), jnp.float32)
    params = [
        layer(**settings).init(jax.random.key(0), maps) for layer in (Conv, nn.Conv)
    ]
    jax.tree.map(np.testing.assert_array_equal, *params)


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
        wide: Any = layer.apply(double, maps.astype("float64"))
        assert wide.dtype == "float64"
    narrow: Any = layer.apply(single, maps)
    np.testing.assert_allclose(wide, narrow, rtol=1e-4, atol=1e-5)
