"""How much a reproduction spends at each scale: steps, seeds, networks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from isa_toolkit.evaluation.features import FeatureSettings
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

__all__ = ["BUDGETS", "Budget", "Share"]


class Share(NamedTuple):
    """What one method takes of a budget.

    steps: outer steps.
    batch_size: real images per step, of each class where the method draws by class.
    changes: pairs (name, value) of the method's settings.
    """

    steps: int
    batch_size: int
    changes: tuple[tuple[str, Any], ...] = ()


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
    methods: name of a method -> its share. FRePo takes what stands above, another one
        that is not here its own scale of the same name in :mod:`isa_toolkit.presets`.
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
    methods: Mapping[str, Share] = MappingProxyType({})


def _features(width: int, steps: int) -> FeatureSettings:
    return FeatureSettings(
        network=NetworkSettings(width=width, norm="none"), steps=steps
    )


_SHORT = FitSettings(steps=400, learning_rate=1e-3, warmup_steps=50)
# So short that a CPU does them on 60,000 images of 28 pixels; the rates are those that
# were measured on the digits, where runs are as short; but for MTT's own step size, which
# ran away on MNIST at 1e-3. Its experts see every image.
_SMALL_METHODS = MappingProxyType(
    {
        "rfad": Share(300, 256, (("learning_rate", 1e-2),)),
        "rcig": Share(60, 128, (("learning_rate", 1e-2),)),
        "dm": Share(300, 64, (("learning_rate", 1.0),)),
        "mtt": Share(
            100,
            256,
            (
                ("student_steps", 10),
                ("target_epochs", 1),
                ("max_start_epoch", 3),
                ("learning_rate", 10.0),
                ("rate_learning_rate", 1e-5),
                ("student_learning_rate", 0.05),
                ("expert_count", 2),
                ("expert_epochs", 3),
                ("expert_learning_rate", 0.05),
                ("expert_batch_size", 256),
            ),
        ),
    }
)
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
            _features(16, 1000), 500, _SMALL_METHODS,
        ),
        "paper": Budget(
            MappingProxyType({1: 500_000, 10: 500_000, 50: 500_000}), 128, 1024, 3e-4,
            1, 5, None, _features(128, 20_000), 1000,
        ),
    }
)  # fmt: skip
