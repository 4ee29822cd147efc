"""Dataset distillation in JAX, with crucial samples and infinite semantic augmentation.

``import isa_toolkit as isa`` is light: every public name and sub-package is imported
when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa_toolkit import (
        analysis,
        datasets,
        distillation,
        evaluation,
        figures,
        losses,
        methods,
        networks,
        presets,
        sweeps,
        widgets,
    )
    from isa_toolkit.analysis.cross_prediction import cross_prediction
    from isa_toolkit.analysis.diversity import prdc, recall
    from isa_toolkit.analysis.manifold import tsne_map
    from isa_toolkit.datasets import Dataset, load_dataset
    from isa_toolkit.distillation import Experiment, Run, distill, distill_grid
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.errors import IsaError
    from isa_toolkit.evaluation import Evaluation, EvaluationSettings, evaluate
    from isa_toolkit.figures.study import Study
    from isa_toolkit.methods import DM, MTT, RCIG, RFAD, FRePo
    from isa_toolkit.networks import NetworkSettings
    from isa_toolkit.sweeps import Plan, Sweep, plan, sweep

__version__ = "0.1.0"

# Public name -> the module that defines it.
_MODULES = {
    "DM": "methods",
    "MTT": "methods",
    "RCIG": "methods",
    "RFAD": "methods",
    "Dataset": "datasets",
    "DistilledSet": "distilled",
    "Evaluation": "evaluation",
    "EvaluationSettings": "evaluation",
    "Experiment": "distillation",
    "FRePo": "methods",
    "IsaError": "errors",
    "NetworkSettings": "networks",
    "Plan": "sweeps",
    "Run": "distillation",
    "Study": "figures.study",
    "Sweep": "sweeps",
    "cross_prediction": "analysis.cross_prediction",
    "distill": "distillation",
    "distill_grid": "distillation",
    "evaluate": "evaluation",
    "load_dataset": "datasets",
    "plan": "sweeps",
    "prdc": "analysis.diversity",
    "recall": "analysis.diversity",
    "sweep": "sweeps",
    "tsne_map": "analysis.manifold",
}
_PACKAGES = (
    "analysis",
    "datasets",
    "distillation",
    "evaluation",
    "figures",
    "losses",
    "methods",
    "networks",
    "presets",
    "sweeps",
    "widgets",
)

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
    "IsaError",
    "NetworkSettings",
    "Plan",
    "Run",
    "Study",
    "Sweep",
    "analysis",
    "cross_prediction",
    "datasets",
    "distill",
    "distill_grid",
    "distillation",
    "evaluate",
    "evaluation",
    "figures",
    "load_dataset",
    "losses",
    "methods",
    "networks",
    "plan",
    "prdc",
    "presets",
    "recall",
    "sweep",
    "sweeps",
    "tsne_map",
    "widgets",
]


def __getattr__(name: str) -> Any:
    """Import a public name or a sub-package on first use."""
    if name in _PACKAGES:
        return importlib.import_module(f"isa_toolkit.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'isa_toolkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"isa_toolkit.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names and the sub-packages."""
    return sorted([*__all__, "__version__"])
