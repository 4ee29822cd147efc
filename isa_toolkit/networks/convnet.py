"""The ConvNet of FRePo, ISA and RCIG: width doubles per layer, norm before the conv.

Layer i: [norm, if i > 0] -> 3x3 conv with bias -> ReLU -> 2x2 average pool. The input and
the final features are never normalised. RCIG distils with a smooth ReLU, RFAD with one
width throughout and no extra padding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.checks import fail
from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.conv import Conv

__all__ = ["ConvNet", "default_depth", "smooth_relu"]

# How sharply the smooth ReLU of RCIG bends; algorithms 2.1.
_SHARPNESS = 60.0


def smooth_relu(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return ``softplus(60 z) / 60``: ReLU within .012, with a second derivative.

    Args:
        values: z.

    Returns:
        The same shape.

    Source: algorithms 2.1 (RCIG).
    """
    return jax.nn.softplus(_SHARPNESS * values) / _SHARPNESS


def default_depth(image_shape: tuple[int, int, int]) -> int:
    """Return the published number of layers for a resolution.

    Args:
        image_shape: (height, width, channels).

    Returns:
        3 up to 32 pixels, 4 up to 64, 5 up to 128, one more per further doubling.

    Source: algorithms 2.1 for 28, 32, 64 and 128 pixels; the rule between and beyond
    them is ours.
    """
    side = min(image_shape[:2])
    depth = 3
    while side > 32 * 2 ** (depth - 3):
        depth += 1
    return depth


class ConvNet(nn.Module):
    """FRePo's ConvNet as a Linen module.

    Attributes:
        num_classes: length of the logits.
        width: channels of the first layer; layer i has ``width * 2**i``.
        depth: number of conv layers; each halves the resolution.
        norm: ``"batch"``, ``"instance"`` or ``"none"``, before conv 1 .. depth - 1.
        growth: factor from the width of one layer to that of the next.
        pads_grey: pad one-channel input by 3.
        smooth: the smooth ReLU of RCIG in place of ReLU.

    Source: algorithms 2.1 and 2.2. One-channel input is padded by 3 instead of 1 in the first
    conv (28 pixels become 32). Weights are LeCun normal, truncated; biases 0.
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    norm: str = "batch"
    growth: int = 2
    pads_grey: bool = True
    smooth: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = images
        bend = smooth_relu if self.smooth else nn.relu
        is_grey = self.pads_grey and images.shape[-1] == 1
        for layer in range(self.depth):
            if layer > 0:
                maps = make_norm(self.norm, train)(maps)
            pad = 3 if layer == 0 and is_grey else 1
            maps = Conv(self.width * self.growth**layer, padding=pad)(maps)
            maps = nn.avg_pool(bend(maps), (2, 2), strides=(2, 2))
        features = jnp.reshape(maps, (maps.shape[0], -1))
        return nn.Dense(self.num_classes)(features), features


def check_depth(
    image_shape: tuple[int, int, int], depth: int, *, pads_grey: bool = True
) -> None:
    """Refuse a depth that would pool the image away.

    Raises:
        ValueError: a side would fall below one pixel.
    """
    side = min(image_shape[:2]) + (4 if pads_grey and image_shape[2] == 1 else 0)
    if side // 2**depth < 1:
        deepest = side.bit_length() - 1
        raise fail(
            "depth",
            f"be at most {deepest} for {image_shape[0]}x{image_shape[1]} images "
            "(each layer halves the resolution)",
            depth,
        )
