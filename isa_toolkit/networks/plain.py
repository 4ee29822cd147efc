"""AlexNet and VGG11 for small images: conv layers, max-pools, one dense layer."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.conv import Conv
from isa_toolkit.networks.layers import first_padding, max_pool

Layers = tuple[tuple[int, int, bool], ...]

# (channels as a multiple of half the width, kernel side, whether a max-pool follows)
ALEXNET: Layers = (
    (2, 5, True),
    (3, 5, True),
    (4, 3, False),
    (3, 3, False),
    (3, 3, True),
)
VGG11: Layers = (
    (2, 3, True),
    (4, 3, True),
    (8, 3, False),
    (8, 3, True),
    (16, 3, False),
    (16, 3, True),
    (16, 3, False),
    (16, 3, True),
)


class PlainNet(nn.Module):
    """(conv -> norm, if any -> ReLU -> 2x2 max-pool, in some layers) -> dense.

    AlexNet: width 128 gives 128-192-256-192-192 channels and no norm; 1,872,202 parameters
    for 32x32x3 images and 10 classes, 3,072 features. VGG11: width 64 gives
    64-128-256-256-512-512-512-512 channels and batch norm; 9,231,114 parameters, 512
    features; larger images give more, without a global pool.

    Attributes:
        num_classes: Length of the logits.
        layers: ``ALEXNET`` or ``VGG11``.
        width: Number of channels of the first layer.
        norm: ``"batch"``, ``"instance"`` or ``"none"``, after every conv.

    Source: AlexNet: kernel sizes, channels and the three max-pools from
    docs/algorithms.md, section 2.1; that pools are 2x2 after conv 1, 2 and 5, and that
    there is a single dense layer, is our reading. VGG11: Simonyan and Zisserman 2015,
    configuration A, with the batch norm and the single dense layer of its 32-pixel form.
    **Deviation:** the released distillation code builds every layer of VGG11 with 128
    channels; this is the published list. Our reading in both: padding that keeps the size,
    2 more in the first layer for one channel; biases everywhere; batch norm keeps .9 of
    its old statistics; weights LeCun normal and biases 0 as in FRePo's ConvNet; a side of
    one pixel is no longer pooled.
    """

    num_classes: int
    layers: Layers
    width: int
    norm: str

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = images
        for layer, (multiple, kernel, is_pooled) in enumerate(self.layers):
            padding = kernel // 2
            if layer == 0:
                padding = first_padding(images.shape[-1], kernel)
            width = multiple * self.width // 2
            maps = Conv(width, kernel_size=(kernel, kernel), padding=padding)(maps)
            maps = nn.relu(make_norm(self.norm, train, decay=0.9)(maps))
            if is_pooled:
                maps = max_pool(maps)
        features = jnp.reshape(maps, (maps.shape[0], -1))
        return nn.Dense(self.num_classes)(features), features
