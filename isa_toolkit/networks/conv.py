"""Convolution on the CPU as a product with image patches, where that is faster.

XLA's CPU back end computes the gradient of a convolution with respect to its kernel as a
convolution with a window as large as the image. Inside ``while``, ``scan`` and ``cond`` that
one falls back to a slow path: measured on two cores for the three layers of the digits
ConvNet at width 32 and 100 images, 248 CPU-ms against 28 outside a loop. The same
gradient as one matrix product of image patches takes 22 in either place. So on the CPU
the kernel gradient is always a product of patches, and for small maps the convolution
itself is, too (in the same loop, gradient with respect to the images: 14 against 29).
On other devices it is the library's own convolution.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array

# Pixels of a map up to which patches are faster than the library, forward, too. Measured
# between 8x8 (faster) and 28x28 (1.6 times slower).
_SMALL = 144

Padding = tuple[tuple[int, int], ...]


def _convolve(
    maps: Array, kernel: Array, strides: tuple[int, int], padding: Any, **options: Any
) -> Array:
    """Return ``lax.conv_general_dilated``, differentiable to any order.

    The options are those of a plain ``nn.Conv`` of images, [n, h, w, i].
    """
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(maps, kernel, strides, padding, **options)
    padding = tuple(padding)
    if maps.shape[1] * maps.shape[2] <= _SMALL:
        flat = kernel.reshape(-1, kernel.shape[-1])
        return _patches(maps, kernel.shape[:2], strides, padding) @ flat
    return _patched(maps, kernel, strides, padding)


Conv = partial(nn.Conv, kernel_size=(3, 3), conv_general_dilated=_convolve)
"""A 3x3 convolution layer, on the CPU by patches."""


def _lax_conv(
    maps: Array, kernel: Array, strides: tuple[int, int], padding: Padding
) -> Array:
    return lax.conv_general_dilated(
        maps, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


_patched = jax.custom_jvp(_lax_conv, nondiff_argnums=(2, 3))


@_patched.defjvp
def _(
    strides: tuple[int, int],
    padding: Padding,
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    maps, kernel = primals
    maps_tangent, kernel_tangent = tangents
    out = _patched(maps, kernel, strides, padding)
    # Linear in each tangent, so reverse mode transposes it: the second term into
    # patches^T @ cotangent.
    through_maps = _lax_conv(maps_tangent, kernel, strides, padding)
    flat = kernel_tangent.reshape(-1, kernel.shape[-1])
    through_kernel = _patches(maps, kernel.shape[:2], strides, padding) @ flat
    return out, through_maps + through_kernel


def _patches(
    maps: Array, window: tuple[int, ...], strides: tuple[int, int], padding: Padding
) -> Array:
    """Return the patch under each output position, [n, h', w', p * q * i]."""
    maps = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
    height = (maps.shape[1] - window[0]) // strides[0] + 1
    width = (maps.shape[2] - window[1]) // strides[1] + 1
    shifted = [
        maps[
            :,
            row : row + (height - 1) * strides[0] + 1 : strides[0],
            column : column + (width - 1) * strides[1] + 1 : strides[1],
        ]
        for row in range(window[0])
        for column in range(window[1])
    ]
    return jnp.concatenate(shifted, axis=-1)
