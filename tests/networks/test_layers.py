"""The shared layers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy_layers import draw_images, pool

from isa_toolkit.networks.layers import first_padding, max_pool


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_first_layer_keeps_rgb_images_and_makes_28_digit_pixels_32(kernel):
    for size, channels, result in ((32, 3, 32), (28, 1, 32)):
        assert size + 2 * first_padding(channels, kernel) - (kernel - 1) == result


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (2, 3)])
def test_max_pool_halves_each_side(size):
    maps = draw_images((2, *size, 3))
    np.testing.assert_array_equal(max_pool(jnp.asarray(maps)), pool(maps, np.max))


def test_max_pool_leaves_a_side_of_one_pixel():
    maps = draw_images((2, 1, 4, 3))
    expected = np.maximum(maps[:, :, ::2], maps[:, :, 1::2])
    np.testing.assert_array_equal(max_pool(jnp.asarray(maps)), expected)
    point = jnp.asarray(maps[:, :, :1])
    np.testing.assert_array_equal(max_pool(point), point)
