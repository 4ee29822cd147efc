"""Registry of networks, and how settings become one.

``NetworkSettings`` is what a user writes and a run stores; ``build`` turns it into the
pure functions of :class:`~isa_toolkit.networks.base.Network`, the same object for the
same settings, so that compiled functions that are keyed on it are found again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
from flax import linen as nn

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.environment import check_fits
from isa_toolkit.networks.base import Network, count_parameters, from_module
from isa_toolkit.networks.compilation_cache import cache_once, use_compilation_cache
from isa_toolkit.networks.convnet import ConvNet, check_depth, default_depth
from isa_toolkit.networks.plain import ALEXNET, VGG11, PlainNet
from isa_toolkit.networks.resnet import ResNet18

NetworkName = Literal[
    "convnet",
    "convnet_flat",
    "convnet_smooth",
    "convnet_in",
    "alexnet",
    "vgg11",
    "resnet18",
]
Norm = Literal["batch", "instance", "none"]


class Architecture(NamedTuple):
    """A registered network.

    module: ``(num_classes, width, norm[, depth]) -> nn.Module``.
    width: Published width: number of channels of the first layer.
    norms: Norms that it can be built with; the first is its published one.
    has_depth: Whether ``depth`` can be chosen.
    pads_grey: Whether one-channel images gain 4 pixels in its first layer.
    evaluation_network: Architecture that evaluates what was distilled with it, where that
        is another one.
    """

    module: Callable[..., nn.Module]
    width: int
    norms: tuple[Norm, ...]
    has_depth: bool = False
    pads_grey: bool = True
    evaluation_network: NetworkName | None = None


# The order of the norms says which is published.
_BATCH: tuple[Norm, ...] = ("batch", "instance", "none")
_NONE: tuple[Norm, ...] = ("none", "batch", "instance")
_INSTANCE: tuple[Norm, ...] = ("instance", "batch", "none")

NETWORKS: dict[str, Architecture] = {
    "convnet": Architecture(ConvNet, 128, _BATCH, has_depth=True),
    # RFAD's.
    "convnet_flat": Architecture(
        partial(ConvNet, growth=1, pads_grey=False),
        256,
        _NONE,
        has_depth=True,
        pads_grey=False,
        evaluation_network="convnet",
    ),
    # RCIG's: smooth at depth 3, ReLU at 4 and 5.
    "convnet_smooth": Architecture(
        partial(ConvNet, smooth_depth=3),
        128,
        _NONE,
        has_depth=True,
        evaluation_network="convnet",
    ),
    # That of DC, DSA, DM and MTT.
    "convnet_in": Architecture(
        partial(ConvNet, growth=1, is_torch=True), 128, _INSTANCE, has_depth=True
    ),
    "alexnet": Architecture(partial(PlainNet, layers=ALEXNET), 128, ("none", "batch")),
    "vgg11": Architecture(partial(PlainNet, layers=VGG11), 64, _BATCH),
    "resnet18": Architecture(ResNet18, 64, _BATCH),
}


@checks.suggest_keywords
@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network to build.

    Attributes:
        name: Name of the architecture: a ConvNet (``"convnet"`` of FRePo and ISA,
            ``"convnet_flat"`` of RFAD, ``"convnet_smooth"`` of RCIG, ``"convnet_in"`` of DM
            and MTT), ``"alexnet"``, ``"vgg11"`` or ``"resnet18"``.
        width: Number of channels of the first layer; None for the published number.
        depth: Number of conv layers of a ConvNet; None for the published number for the
            resolution.
        norm: Normalisation; None for the published one.

    Raises:
        TypeError: A setting is unknown or of another type.
        ValueError: A name is unknown, width or depth is below 1, or the architecture does
            not have the norm.

    Example:
        >>> import jax
        >>> from isa_toolkit.networks import NetworkSettings, build, count_parameters
        >>> network = build(
        ...     NetworkSettings(width=128), image_shape=(32, 32, 3), num_classes=10
        ... )
        >>> params, state = jax.eval_shape(network.init, jax.random.key(0))
        >>> count_parameters(params)
        1561610
    """

    name: NetworkName = "convnet"
    width: int | None = None
    depth: int | None = None
    norm: Norm | None = None

    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        name = checks.match_name("network", self.name, NETWORKS)
        object.__setattr__(self, "name", name)
        architecture = NETWORKS[name]
        if self.width is not None:
            checks.check_integer("width", self.width)
        if self.depth is not None:
            checks.check_integer("depth", self.depth)
            if not architecture.has_depth:
                raise checks.fail("depth", f"be left out for {name!r}", self.depth)
        if self.norm is not None:
            checks.check_one_of(f"norm of {name!r}", self.norm, architecture.norms)

    def resolve(self, image_shape: tuple[int, int, int]) -> NetworkSettings:
        """Return the settings with every default filled in for ``image_shape``.

        Args:
            image_shape: (height, width, channels).

        Raises:
            ValueError: The depth would pool the image away.
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


@typed
def build(
    settings: NetworkSettings,
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> Network:
    """Return the network of ``settings`` for one image shape and number of classes.

    Args:
        settings: Which network to build.
        image_shape: (height, width, channels).
        num_classes: Length of the logits, at least 2.

    Returns:
        The network; the same object for equal arguments.

    Raises:
        ValueError: The depth would pool the image away, or instance norm erase it.
    """
    use_compilation_cache()  # everything that is compiled begins with a network
    height, width, channels = image_shape
    shape = (int(height), int(width), int(channels))
    checks.check_integer("num_classes", num_classes, minimum=2)
    return _build(settings.resolve(shape), shape, int(num_classes))


@cache_once
def _build(
    settings: NetworkSettings, image_shape: tuple[int, int, int], num_classes: int
) -> Network:
    architecture = NETWORKS[settings.name]
    size: dict[str, Any] = {"width": settings.width, "norm": settings.norm}
    if architecture.has_depth:
        size["depth"] = settings.depth
    network = from_module(
        settings.name,
        architecture.module(num_classes=num_classes, **size),
        image_shape=image_shape,
        num_classes=num_classes,
        # The only one that is published with PyTorch's own initialisation.
        lecun=settings.name != "convnet_in",
    )
    # Refuses what cannot be built.
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    what = f"a {settings.name} of width {settings.width} and depth {settings.depth}"
    check_fits(what, 4 * count_parameters(params), "Take a smaller width.")
    return network
