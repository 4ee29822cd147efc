"""Small layers that several architectures use."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from isa_toolkit.networks.conv import Conv

__all__ = [
    "first_padding",
    "max_pool",
    "torch_conv",
    "torch_dense",
]


def first_padding(channels: int, kernel: int) -> int:
    """Return the padding of a network's first conv layer.

    Args:
        channels: Number of channels of the image.
        kernel: Side of the conv kernel, odd.

    Returns:
        ``kernel // 2``, which keeps the size; 2 more for one-channel images, so that
        28-pixel digits become 32 pixels.

    Source: docs/algorithms.md, sections 2.1 and 2.3, for 3x3 kernels; the same rule
    for 5x5 is our reading.
    """
    return kernel // 2 + (2 if channels == 1 else 0)


def max_pool(maps: Float[Array, "n h w k"]) -> Float[Array, "n h2 w2 k"]:
    """Return the 2x2 maximum with stride 2, along the axes longer than one pixel.

    Args:
        maps: Feature maps, [n, h, w, k].

    Returns:
        Maps with each side halved, rounded down; a side of 1 stays 1, so that networks
        with five pools also take 8-pixel digits.
    """
    window = (min(2, maps.shape[1]), min(2, maps.shape[2]))
    return nn.max_pool(maps, window, strides=window)


def torch_conv(
    maps: Float[Array, "n h w k"], width: int, padding: int = 1
) -> Float[Array, "n h2 w2 k2"]:
    """Return a 3x3 conv with bias, drawn as PyTorch draws it by default.

    Args:
        maps: Feature maps, [n, h, w, k].
        width: Number of output channels.
        padding: Number of zeros on each side.

    Returns:
        Maps of ``width`` channels. For use inside a compact Linen module.

    Source: docs/algorithms.md, section 2.3; weights and biases uniform in +-1/sqrt(9 k).
    """
    return Conv(
        width,
        padding=padding,
        kernel_init=_uniform_by_fan_in,
        bias_init=_uniform(9 * maps.shape[-1]),
    )(maps)


def torch_dense(features: Float[Array, "n d"], width: int) -> Float[Array, "n c"]:
    """Return a dense layer with bias, drawn as PyTorch draws it by default.

    Args:
        features: Features, [n, d].
        width: Number of outputs.

    Returns:
        ``width`` numbers per row. For use inside a compact Linen module.

    Source: docs/algorithms.md, section 2.3; weights and biases uniform in +-1/sqrt(d).
    """
    return nn.Dense(
        width,
        kernel_init=_uniform_by_fan_in,
        bias_init=_uniform(features.shape[-1]),
    )(features)


def _uniform(fan_in: int) -> Any:
    """Return the initialiser that draws uniformly in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)

    def draw(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def _uniform_by_fan_in(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Array:
    """Return a kernel [..., inputs, outputs], uniform in +-1/sqrt(fan_in)."""
    return _uniform(math.prod(shape[:-1]))(key, shape, dtype)
