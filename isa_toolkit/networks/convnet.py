"""The ConvNets of FRePo, ISA, RFAD and RCIG, and of DC, DSA, DM and MTT.

FRePo's layer i is [norm, if i > 0] -> 3x3 conv with bias -> ReLU -> 2x2 average pool, and
the width doubles per layer. RCIG distils with a smooth ReLU; RFAD with one width throughout
and no extra padding; DC, DSA, DM and MTT with one width and the norm after the conv.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.checks import fail
from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.conv import Conv
from isa_toolkit.networks.layers import torch_init

# Sharpness of RCIG's smooth ReLU; docs/algorithms.md, section 2.1.
_SHARPNESS = 60.0


def smooth_relu(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return ``softplus(60 z) / 60``: ReLU within .012, with a second derivative.

    Source: docs/algorithms.md, section 2.1 (RCIG).
    """
    return jax.nn.softplus(_SHARPNESS * values) / _SHARPNESS


def default_depth(image_shape: tuple[int, int, int]) -> int:
    """Return the published number of layers for an image shape (height, width, channels).

    3 up to 32 pixels, 4 up to 64, 5 up to 128, one more per further doubling.

    Source: docs/algorithms.md, section 2.1, for 28, 32, 64 and 128 pixels; the rule
    between and beyond them is ours.
    """
    side = min(image_shape[:2])
    depth = 3
    while side > 32 * 2 ** (depth - 3):
        depth += 1
    return depth


class ConvNet(nn.Module):
    """A ConvNet as a Linen module; the defaults are FRePo's.

    Attributes:
        num_classes: Length of the logits.
        width: Number of channels of the first layer; layer i has ``width * growth**i``.
        depth: Number of conv layers; each halves the resolution.
        norm: ``"batch"``, ``"instance"`` or ``"none"``, before conv 1 .. depth - 1.
        growth: Factor from the width of one layer to that of the next.
        pads_grey: Whether to pad one-channel input by 3 instead of 1 in the first conv
            (28 pixels become 32).
        smooth_depth: Highest depth at which RCIG's smooth ReLU replaces ReLU.
        is_torch: Whether the norm follows every conv, batch norm keeps .9 of its old
            statistics, and weights and biases are drawn as PyTorch does, uniform in
            +-1/sqrt(fan_in); otherwise weights are LeCun normal, truncated, biases 0.

    As ``convnet_in`` it has 320,010 parameters for 32x32x3 images and 10 classes.

    Source: docs/algorithms.md, sections 2.1, 2.2 (RFAD) and 2.3 (DM, MTT).
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    norm: str = "batch"
    growth: int = 2
    pads_grey: bool = True
    smooth_depth: int = 0
    is_torch: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = images
        activation = smooth_relu if self.depth <= self.smooth_depth else nn.relu
        is_grey = self.pads_grey and images.shape[-1] == 1
        for layer in range(self.depth):
            width = self.width * self.growth**layer
            padding = 3 if layer == 0 and is_grey else 1
            if self.is_torch:
                drawn = torch_init(9 * maps.shape[-1])
                maps = Conv(width, padding=padding, **drawn)(maps)
                maps = make_norm(self.norm, train, decay=0.9)(maps)
            else:
                if layer > 0:
                    maps = make_norm(self.norm, train)(maps)
                maps = Conv(width, padding=padding)(maps)
            maps = nn.avg_pool(activation(maps), (2, 2), strides=(2, 2))
        features = jnp.reshape(maps, (maps.shape[0], -1))
        drawn = torch_init(features.shape[-1]) if self.is_torch else {}
        return nn.Dense(self.num_classes, **drawn)(features), features


def check_depth(
    image_shape: tuple[int, int, int], depth: int, *, pads_grey: bool = True
) -> None:
    """Refuse a depth that would pool the image away."""
    side = min(image_shape[:2]) + (4 if pads_grey and image_shape[2] == 1 else 0)
    if side // 2**depth < 1:
        deepest = side.bit_length() - 1
        raise fail(
            "depth",
            f"be at most {deepest} for {image_shape[0]}x{image_shape[1]} images "
            "(each layer halves the resolution)",
            depth,
        )
