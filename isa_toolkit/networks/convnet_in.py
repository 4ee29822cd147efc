"""The ConvNet of DC, DSA, DM and MTT: constant width, instance norm after the conv.

Layer: 3x3 conv with bias -> norm -> ReLU -> 2x2 average pool. The house ConvNet of
:mod:`isa_toolkit.networks.convnet` doubles its width and normalises before the conv.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.layers import first_padding, torch_conv, torch_dense

__all__ = ["ConvNetIN"]


class ConvNetIN(nn.Module):
    """The ConvNet of the matching methods as a Linen module.

    Attributes:
        num_classes: length of the logits.
        width: channels of every layer.
        depth: number of conv layers; each halves the resolution.
        norm: ``"instance"`` (published), ``"batch"`` or ``"none"``, after every conv.

    320,010 parameters for 32x32x3 images and 10 classes; 2,048 features.

    Source: algorithms 2.3. One-channel input is padded by 3 instead of 1 in the first
    conv. Weights and biases as PyTorch draws them, uniform in +-1/sqrt(fan_in). Batch
    norm, where chosen, keeps .9 of its old statistics (PyTorch's default).
    """

    num_classes: int
    width: int = 128
    depth: int = 3
    norm: str = "instance"

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = images
        for layer in range(self.depth):
            padding = first_padding(images.shape[-1], 3) if layer == 0 else 1
            maps = torch_conv(maps, self.width, padding)
            maps = nn.relu(make_norm(self.norm, train, decay=0.9)(maps))
            maps = nn.avg_pool(maps, (2, 2), strides=(2, 2))
        features = jnp.reshape(maps, (maps.shape[0], -1))
        return torch_dense(features, self.num_classes), features
