"""The field's small AlexNet: five conv layers, three max-pools, one dense layer."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.layers import first_padding, max_pool

__all__ = ["AlexNet"]


class AlexNet(nn.Module):
    """The 32-pixel AlexNet of the dataset-distillation literature as a Linen module.

    conv5x5 w -> pool -> conv5x5 1.5w -> pool -> conv3x3 2w -> conv3x3 1.5w ->
    conv3x3 1.5w -> pool -> dense; a norm (if any) and a ReLU after every conv.

    Attributes:
        num_classes: Length of the logits.
        width: Number of channels of the first layer, w; 128 gives 128-192-256-192-192.
        norm: ``"none"`` (published) or ``"batch"``.

    1,872,202 parameters for 32x32x3 images and 10 classes; 3,072 features.

    Source: kernel sizes, channels and the three max-pools from docs/algorithms.md,
    section 2.1. Our
    reading: pools of 2x2 after conv 1, 2 and 5; padding that keeps the size, 2 more in
    the first layer for one channel; a single dense layer; biases everywhere; weights
    LeCun normal and biases 0 as in FRePo's ConvNet. A side of one pixel is no longer
    pooled.
    """

    num_classes: int
    width: int = 128
    norm: str = "none"

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        first, middle, widest = self.width, 3 * self.width // 2, 2 * self.width
        layers = (
            (first, 5, True),
            (middle, 5, True),
            (widest, 3, False),
            (middle, 3, False),
            (middle, 3, True),
        )
        maps = images
        for layer, (width, kernel, is_pooled) in enumerate(layers):
            is_first = layer == 0
            padding = (
                first_padding(images.shape[-1], kernel) if is_first else kernel // 2
            )
            maps = nn.Conv(width, (kernel, kernel), padding=padding)(maps)
            maps = nn.relu(make_norm(self.norm, train, decay=0.9)(maps))
            if is_pooled:
                maps = max_pool(maps)
        features = jnp.reshape(maps, (maps.shape[0], -1))
        return nn.Dense(self.num_classes)(features), features
