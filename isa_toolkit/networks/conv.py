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

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

__all__ = ["Conv", "convolve"]

# Pixels of a map up to which patches are faster than the library, forward, too. Measured
# between 8x8 (faster) and 28x28 (1.6 times slower).
_SMALL = 144

Padding = tuple[tuple[int, int], tuple[int, int]]


def convolve(
    maps: Float[Array, "n h w i"],
    kernel: Float[Array, "p q i o"],
    *,
    strides: tuple[int, int],
    padding: Padding,
) -> Float[Array, "n h2 w2 o"]:
    """Return the cross-correlation of feature maps with a kernel.

    Equal to ``lax.conv_general_dilated`` and differentiable to any order in both modes.

    Args:
        maps: [n, h, w, i].
        kernel: [p, q, i, o].
        strides: of the output.
        padding: zeros (before, after) per axis.

    Returns:
        Feature maps, [n, h', w', o].
    """
    if jax.default_backend() != "cpu":
        return _lax_conv(maps, kernel, strides, padding)
    if maps.shape[1] * maps.shape[2] <= _SMALL:
        flat = kernel.reshape(-1, kernel.shape[-1])
        return _patches(maps, kernel.shape[:2], strides, padding) @ flat
    return _patched(maps, kernel, strides, padding)


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


class Conv(nn.Module):
    """A convolution layer with the parameters of ``flax.linen.Conv``.

    Parameters are float32 whatever the default is, and are cast to the maps' type where
    that is wider, as Flax does.

    Attributes:
        features: output channels.
        kernel_size: window.
        padding: zeros on each side.
        strides: of the output, along both axes.
        use_bias: add a learned bias per channel.
        kernel_init: of the kernel; Flax's default (LeCun normal, truncated) if None.
        bias_init: of the bias; zeros if None.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    padding: int = 1
    strides: int = 1
    use_bias: bool = True
    kernel_init: Any = None
    bias_init: Any = None

    @nn.compact
    def __call__(self, maps: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """Return the layer's output."""
        kernel = self.param(
            "kernel",
            self.kernel_init or nn.initializers.lecun_normal(),
            (*self.kernel_size, maps.shape[-1], self.features),
            jnp.float32,
        )
        maps, kernel = promote_dtype(maps, kernel)
        pad = (self.padding, self.padding)
        out = convolve(
            maps, kernel, strides=(self.strides, self.strides), padding=(pad, pad)
        )
        if self.use_bias:
            bias = self.param(
                "bias",
                self.bias_init or nn.initializers.zeros,
                (self.features,),
                jnp.float32,
            )
            out = out + bias
        return out
