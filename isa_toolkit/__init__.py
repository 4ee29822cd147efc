"""Dataset distillation in JAX, with crucial samples and semantic augmentation.

The names that a notebook needs; each is imported when it is first used, so that
``import isa_toolkit`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa_toolkit.datasets import Dataset, load_dataset
    from isa_toolkit.distill import Experiment, Run, distill, distill_grid
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.evaluate import Evaluation, EvaluationSettings, evaluate
    from isa_toolkit.methods import DM, MTT, RCIG, RFAD, FRePo
    from isa_toolkit.networks import NetworkSettings
    from isa_toolkit.sweep import Plan, Sweep, launch, plan, sweep

__version__ = "0.1.0"

__all__ = [
    "DM",
    "MTT",
    "RCIG",
    "RFAD",
    "Dataset",
    "DistilledSet",
    "Evaluation",
    "EvaluationSettings",
    "Experiment",
    "FRePo",
    "NetworkSettings",
    "Plan",
    "Run",
    "Sweep",
    "distill",
    "distill_grid",
    "evaluate",
    "launch",
    "load_dataset",
    "plan",
    "sweep",
]

_HOME = {
    "DM": "methods",
    "MTT": "methods",
    "RCIG": "methods",
    "RFAD": "methods",
    "Dataset": "datasets",
    "DistilledSet": "distilled",
    "Evaluation": "evaluate",
    "EvaluationSettings": "evaluate",
    "Experiment": "distill",
    "FRePo": "methods",
    "NetworkSettings": "networks",
    "Plan": "sweep",
    "Run": "distill",
    "Sweep": "sweep",
    "distill": "distill",
    "distill_grid": "distill",
    "evaluate": "evaluate",
    "launch": "sweep",
    "load_dataset": "datasets",
    "plan": "sweep",
    "sweep": "sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'isa_toolkit' has no attribute {name!r}")
    return getattr(importlib.import_module(f"isa_toolkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
