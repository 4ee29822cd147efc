"""VGG11 for small images: the eight conv layers of configuration A, one dense layer."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.layers import first_padding, max_pool

__all__ = ["VGG11"]

# (channels as a multiple of the width, whether a pool follows): 64, 128, 256, 256, 512,
# 512, 512, 512 at the published width of 64.
_LAYERS = (
    (1, True),
    (2, True),
    (4, False),
    (4, True),
    (8, False),
    (8, True),
    (8, False),
    (8, True),
)


class VGG11(nn.Module):
    """VGG11 as a Linen module: (3x3 conv -> norm -> ReLU) x 8 with five max-pools.

    Attributes:
        num_classes: Length of the logits.
        width: Number of channels of the first layer; 64 gives 64-128-256-256-512-512-512-512.
        norm: ``"batch"`` (published), ``"instance"`` or ``"none"``, after every conv.

    9,231,114 parameters for 32x32x3 images and 10 classes; 512 features.

    Source: Simonyan and Zisserman 2015, configuration A, with the batch norm and the
    single dense layer of its 32-pixel form; docs/algorithms.md, section 2.1, for the
    channel list.
    **Deviation:** the released distillation code builds every layer with 128 channels;
    this is the published list. Our reading: 2 more pixels of padding in the first layer
    for one channel; batch norm keeps .9 of its old statistics; weights LeCun normal and
    biases 0 as in FRePo's ConvNet; larger images give more features, without a global
    pool. A side of one pixel is no longer pooled.
    """

    num_classes: int
    width: int = 64
    norm: str = "batch"

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = images
        for layer, (multiple, is_pooled) in enumerate(_LAYERS):
            padding = first_padding(images.shape[-1], 3) if layer == 0 else 1
            maps = nn.Conv(self.width * multiple, (3, 3), padding=padding)(maps)
            maps = nn.relu(make_norm(self.norm, train, decay=0.9)(maps))
            if is_pooled:
                maps = max_pool(maps)
        features = jnp.reshape(maps, (maps.shape[0], -1))
        return nn.Dense(self.num_classes)(features), features
