"""A study of two seeds, eight steps and networks of four channels: seconds in all."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation.features import FeatureSettings
from isa_toolkit.figures import study
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

BUDGET = study.Budget(
    scale="quick",
    steps=MappingProxyType({2: 8}),
    width=4,
    batch_size=64,
    learning_rate=3e-3,
    # One size: each is compiled for itself.
    seeds=2,
    networks=2,
    fit=FitSettings(steps=5, learning_rate=1e-3, warmup_steps=1),
    features=FeatureSettings(network=NetworkSettings(width=4, norm="none"), steps=20),
    map_points=20,
)


def tiny_study(patch: pytest.MonkeyPatch, folder: Any, **settings: Any) -> study.Study:
    """Return the study; ``patch`` must live as long as it does."""
    patch.setattr(study, "BUDGETS", {"quick": BUDGET})
    return study.Study(
        dataset=load_dataset("digits", limit=300),
        folder=folder,
        **{"progress": False, **settings},
    )


def changed(some: study.Study, **attributes: Any) -> study.Study:
    """Return a copy of a study with other attributes."""
    made = copy.copy(some)
    vars(made).update(attributes)
    return made
