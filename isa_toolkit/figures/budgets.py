"""How much a reproduction spends at each scale: steps, seeds, networks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from isa_toolkit import presets
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


def _budget(scale: str) -> Budget:
    numbers = presets.study_budget(scale)
    features, fit = numbers["features"], numbers["fit"]
    numbers["features"] = FeatureSettings(
        network=NetworkSettings(width=features["width"], norm="none"),
        steps=features["steps"],
    )
    numbers["fit"] = None if fit is None else FitSettings(**fit)
    numbers["methods"] = {
        method: Share(one.pop("steps"), one.pop("batch_size"), tuple(one.items()))
        for method, one in numbers.get("methods", {}).items()
    }
    return Budget(**numbers)


BUDGETS: Mapping[str, Budget] = MappingProxyType(
    {name: _budget(name) for name in presets.table("scales")}
)
