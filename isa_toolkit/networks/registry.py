"""Which networks exist, and how settings become one.

``NetworkSettings`` is what a user writes and a run stores; ``build`` turns it into the
pure functions of :class:`~isa_toolkit.networks.base.Network`, the same object for the
same settings, so that compiled functions that are keyed on it are found again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from flax import linen as nn

from isa_toolkit import checks
from isa_toolkit.networks.alexnet import AlexNet
from isa_toolkit.networks.base import Network, from_module
from isa_toolkit.networks.compilation_cache import keep_compiled
from isa_toolkit.networks.convnet import ConvNet, check_depth, default_depth
from isa_toolkit.networks.convnet_in import ConvNetIN
from isa_toolkit.networks.resnet import ResNet18, check_resnet18
from isa_toolkit.networks.vgg import VGG11, check_vgg11

__all__ = ["NETWORKS", "Architecture", "NetworkSettings", "build"]


class Architecture(NamedTuple):
    """A registered network.

    module: ``(num_classes, width, depth, norm, image_shape) -> nn.Module``.
    width: default width (channels of the first layer).
    norms: the norms it can be built with; the first is its published one.
    has_depth: whether ``depth`` can be chosen.
    pads_grey: whether one-channel images gain 4 pixels in its first layer.
    judged_as: the architecture that judges what was distilled with it; empty: itself.
    """

    module: Callable[..., nn.Module]
    width: int
    norms: tuple[str, ...]
    has_depth: bool
    pads_grey: bool = True
    judged_as: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network to build.

    Attributes:
        name: a key of ``NETWORKS``.
        width: channels of the first layer; None for the architecture's published width.
        depth: conv layers of a ConvNet; None for the published depth of the resolution.
        norm: ``"batch"``, ``"instance"`` or ``"none"``; None for the published one.

    Raises:
        ValueError: an unknown name, a width or depth below 1, a norm it does not have.
    """

    name: str = "convnet"
    width: int | None = None
    depth: int | None = None
    norm: str | None = None

    def __post_init__(self) -> None:
        checks.check_one_of("network", self.name, NETWORKS)
        architecture = NETWORKS[self.name]
        if self.width is not None:
            checks.check_integer("width", self.width)
        if self.depth is not None:
            checks.check_integer("depth", self.depth)
            if not architecture.has_depth:
                raise checks.fail("depth", f"be left out for {self.name!r}", self.depth)
        if self.norm is not None:
            checks.check_one_of(f"norm of {self.name!r}", self.norm, architecture.norms)

    def resolve(self, image_shape: tuple[int, int, int]) -> NetworkSettings:
        """Return the settings with every default filled in for ``image_shape``.

        Raises:
            ValueError: the depth would pool the image away.
        """
        architecture = NETWORKS[self.name]
        depth = self.depth
        if architecture.has_depth:
            depth = default_depth(image_shape) if depth is None else depth
            check_depth(image_shape, depth, pads_grey=architecture.pads_grey)
        return NetworkSettings(
            name=self.name,
            width=self.width or architecture.width,
            depth=depth,
            norm=self.norm or architecture.norms[0],
        )


def build(
    settings: NetworkSettings,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> Network:
    """Return the network of ``settings`` for one image shape and class count.

    Args:
        settings: which network.
        image_shape: (height, width, channels).
        num_classes: length of the logits, at least 2.

    Returns:
        The network; the same object for equal arguments.

    Raises:
        ValueError: the depth would pool the image away.
    """
    keep_compiled()  # everything that is compiled begins with a network
    height, width, channels = image_shape
    shape = (int(height), int(width), int(channels))
    checks.check_integer("num_classes", num_classes, minimum=2)
    return _build(settings.resolve(shape), shape, int(num_classes))


@cache
def _build(
    settings: NetworkSettings, image_shape: tuple[int, int, int], num_classes: int
) -> Network:
    module = NETWORKS[settings.name].module(
        num_classes, settings.width, settings.depth, settings.norm, image_shape
    )
    return from_module(
        settings.name,
        module,
        image_shape=image_shape,
        num_classes=num_classes,
        # The only one that is published with PyTorch's own initialisation.
        lecun=settings.name != "convnet_in",
    )


def _convnet(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del image_shape
    return ConvNet(num_classes=num_classes, width=width, depth=depth, norm=norm)


def _convnet_flat(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del image_shape
    return ConvNet(
        num_classes=num_classes,
        width=width,
        depth=depth,
        norm=norm,
        growth=1,
        pads_grey=False,
    )


def _convnet_smooth(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del image_shape
    # RCIG bends smoothly at depth 3 and takes ReLU at 4 and 5; algorithms 2.1.
    smooth = depth <= 3
    return ConvNet(
        num_classes=num_classes, width=width, depth=depth, norm=norm, smooth=smooth
    )


def _convnet_in(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del image_shape
    return ConvNetIN(num_classes=num_classes, width=width, depth=depth, norm=norm)


def _alexnet(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del depth, image_shape
    return AlexNet(num_classes=num_classes, width=width, norm=norm)


def _vgg11(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del depth
    check_vgg11(norm, image_shape)
    return VGG11(num_classes=num_classes, width=width, norm=norm)


def _resnet18(num_classes, width, depth, norm, image_shape) -> nn.Module:
    del depth
    check_resnet18(norm, image_shape)
    return ResNet18(num_classes=num_classes, width=width, norm=norm)


NETWORKS: dict[str, Architecture] = {
    "convnet": Architecture(_convnet, 128, ("batch", "instance", "none"), True),
    # RFAD's: one width, no norm, no extra padding. RCIG's: the smooth ReLU up to depth
    # 3, no norm.
    "convnet_flat": Architecture(
        _convnet_flat, 256, ("none", "batch", "instance"), True, False, "convnet"
    ),
    "convnet_smooth": Architecture(
        _convnet_smooth, 128, ("none", "batch", "instance"), True, True, "convnet"
    ),
    "convnet_in": Architecture(_convnet_in, 128, ("instance", "batch", "none"), True),
    "alexnet": Architecture(_alexnet, 128, ("none", "batch"), False),
    "vgg11": Architecture(_vgg11, 64, ("batch", "instance", "none"), False),
    "resnet18": Architecture(_resnet18, 64, ("batch", "instance", "none"), False),
}
