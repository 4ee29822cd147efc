"""How much a reproduction spends at each scale: steps, seeds, networks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from isa_toolkit.evaluate.features import FeatureSettings
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.fit import FitSettings

__all__ = ["BUDGETS", "Budget"]


class Budget(NamedTuple):
    """How much of everything a scale spends on one data set.

    steps: images per class -> outer steps; its keys are the sizes that are studied.
    width: channels of the first layer, of distillation and evaluation networks.
    batch_size: real images per step.
    learning_rate: of the distilled images and labels.
    seeds: distilled sets per setting.
    networks: evaluation networks per distilled set.
    fit: their training; None for the published one.
    features: of the network whose features are measured in.
    map_points: real images per class in a map, at most.
    """

    steps: Mapping[int, int]
    width: int
    batch_size: int
    learning_rate: float
    seeds: int
    networks: int
    fit: FitSettings | None
    features: FeatureSettings
    map_points: int


def _features(width: int, steps: int) -> FeatureSettings:
    return FeatureSettings(
        network=NetworkSettings(width=width, norm="none"), steps=steps
    )


_SHORT = FitSettings(steps=400, learning_rate=1e-3, warmup_steps=50)
# Ours, but for "paper". Ten times the published learning rate where 500,000 steps are
# not to be had.
BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {
        "quick": Budget(
            MappingProxyType({1: 1000, 10: 300}), 16, 256, 3e-3, 5, 3, _SHORT,
            _features(32, 1000), 200,
        ),
        "small": Budget(
            MappingProxyType({1: 1000, 10: 300}), 16, 256, 3e-3, 3, 3, _SHORT,
            _features(16, 1000), 500,
        ),
        "paper": Budget(
            MappingProxyType({1: 500_000, 10: 500_000, 50: 500_000}), 128, 1024, 3e-4,
            1, 5, None, _features(128, 20_000), 1000,
        ),
    }
)  # fmt: skip
