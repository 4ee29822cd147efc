"""Small layers that several architectures use."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key


def first_padding(channels: int, kernel: int) -> int:
    """Return the padding of a network's first conv layer, whose kernel side is odd.

    ``kernel // 2`` keeps the size; 2 more for one channel make 28-pixel digits 32 pixels.

    Source: docs/algorithms.md, sections 2.1 and 2.3, for 3x3 kernels; the same rule
    for 5x5 is our reading.
    """
    return kernel // 2 + (2 if channels == 1 else 0)


def max_pool(maps: Float[Array, "n h w k"]) -> Float[Array, "n h2 w2 k"]:
    """Return the 2x2 maximum with stride 2, along the axes longer than one pixel.

    A side of 1 stays 1, so that networks with five pools also take 8-pixel digits.
    """
    window = (min(2, maps.shape[1]), min(2, maps.shape[2]))
    return nn.max_pool(maps, window, strides=window)


def torch_init(fan_in: int) -> dict[str, Any]:
    """Return initialisers that draw weights and biases as PyTorch does by default.

    Uniform in +-1/sqrt(fan_in), where fan_in is 9 k for a 3x3 conv of k channels.

    Source: docs/algorithms.md, section 2.3.
    """
    bound = 1 / math.sqrt(fan_in)

    def draw(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32
    ) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return {"kernel_init": draw, "bias_init": draw}
