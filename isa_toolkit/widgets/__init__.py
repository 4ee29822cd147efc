"""Panels for JupyterLab: controls on exactly what ``figures`` computes and draws.

Each public name returns a :class:`~isa_toolkit.widgets.panel.Panel`, which displays itself and
is driven from Python as from the browser; long runs live in child processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isa_toolkit.sweeps.job import Job, JobFailedError
    from isa_toolkit.widgets.compare import CompareRuns
    from isa_toolkit.widgets.crucial import CrucialSamples
    from isa_toolkit.widgets.diversity import Diversity
    from isa_toolkit.widgets.gallery import Gallery
    from isa_toolkit.widgets.information import Information
    from isa_toolkit.widgets.isa import ISA
    from isa_toolkit.widgets.manifold import Manifold
    from isa_toolkit.widgets.panel import Panel
    from isa_toolkit.widgets.predictors import Predictors
    from isa_toolkit.widgets.sweep import SweepPanel
    from isa_toolkit.widgets.watcher import JobWatcher

__all__ = [
    "ISA",
    "CompareRuns",
    "CrucialSamples",
    "Diversity",
    "Gallery",
    "Information",
    "Job",
    "JobFailedError",
    "JobWatcher",
    "Manifold",
    "Panel",
    "Predictors",
    "SweepPanel",
]

_HOME = {
    "CompareRuns": "widgets.compare",
    "CrucialSamples": "widgets.crucial",
    "Diversity": "widgets.diversity",
    "Gallery": "widgets.gallery",
    "ISA": "widgets.isa",
    "Information": "widgets.information",
    "Job": "sweeps.job",
    "JobFailedError": "sweeps.job",
    "JobWatcher": "widgets.watcher",
    "Manifold": "widgets.manifold",
    "Panel": "widgets.panel",
    "Predictors": "widgets.predictors",
    "SweepPanel": "widgets.sweep",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its file on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'isa_toolkit.widgets' has no attribute {name!r}")
    home = f"isa_toolkit.{_HOME[name]}"
    try:
        return getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name not in ("ipywidgets", "anywidget"):
            raise
        raise ModuleNotFoundError(
            f"The panels need {error.name}, which is not installed. Install it with: "
            "pip install 'isa-toolkit[notebooks]'",
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
