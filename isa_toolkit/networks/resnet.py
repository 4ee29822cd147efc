"""ResNet18 with the stem for small images, every residual block really normalised."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from isa_toolkit.networks.base import make_norm
from isa_toolkit.networks.conv import Conv
from isa_toolkit.networks.layers import first_padding


class ResidualBlock(nn.Module):
    """Two 3x3 convs and a shortcut: relu(norm(conv(relu(norm(conv x)))) + x).

    Attributes:
        width: Number of output channels.
        stride: Stride of the first conv, 1 or 2.
        norm: ``"batch"``, ``"instance"`` or ``"none"``.

    Where the shape changes, the shortcut is a normalised 1x1 conv. Convs carry a bias
    only without norm, since a norm has its own shift.

    Source: He et al. 2016, section 3.3 option B and section 4.1.
    """

    width: int
    stride: int
    norm: str

    @nn.compact
    def __call__(
        self, maps: Float[Array, "n h w k"], train: bool = False
    ) -> Float[Array, "n h2 w2 k2"]:
        """Return the block's output."""
        has_bias = self.norm == "none"
        strides = (self.stride, self.stride)
        inner = Conv(self.width, strides=strides, padding=1, use_bias=has_bias)(maps)
        inner = nn.relu(make_norm(self.norm, train, decay=0.9)(inner))
        inner = Conv(self.width, padding=1, use_bias=has_bias)(inner)
        inner = make_norm(self.norm, train, decay=0.9)(inner)
        if self.stride != 1 or maps.shape[-1] != self.width:
            maps = Conv(
                self.width,
                kernel_size=(1, 1),
                strides=strides,
                padding=0,
                use_bias=has_bias,
            )(maps)
            maps = make_norm(self.norm, train, decay=0.9)(maps)
        return nn.relu(inner + maps)


class ResNet18(nn.Module):
    """ResNet18 as a Linen module: 3x3 stem, four stages of two blocks, global mean.

    Attributes:
        num_classes: Length of the logits.
        width: Number of channels of the stem and the first stage, doubled by each further
            stage; 64 gives 64-128-256-512.
        norm: ``"batch"`` (published), ``"instance"`` or ``"none"``, after every conv.

    11,173,962 parameters for 32x32x3 images and 10 classes; 512 features at any size.

    Source: He et al. 2016, table 1, with the un-pooled 3x3 stem that replaces 7x7 on
    32-pixel images. **Deviation:** the released distillation code leaves its blocks
    un-normalised and flattens the last maps (docs/algorithms.md, section 2.1);
    this is the published network. Our reading: 2 more pixels of padding in the stem for
    one channel; batch norm keeps .9 of its old statistics; weights LeCun normal as in
    FRePo's ConvNet.
    """

    num_classes: int
    width: int = 64
    norm: str = "batch"

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w ch"], train: bool = False
    ) -> tuple[Float[Array, "n c"], Float[Array, "n d"]]:
        """Return (logits, features)."""
        maps = Conv(
            self.width,
            padding=first_padding(images.shape[-1], 3),
            use_bias=self.norm == "none",
        )(images)
        maps = nn.relu(make_norm(self.norm, train, decay=0.9)(maps))
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                maps = ResidualBlock(self.width * 2**stage, stride, self.norm)(
                    maps, train
                )
        features = jnp.mean(maps, axis=(1, 2))
        return nn.Dense(self.num_classes)(features), features
