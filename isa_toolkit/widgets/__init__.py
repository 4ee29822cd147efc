"""Panels for JupyterLab: controls on exactly what ``figures`` computes and draws.

Each public name returns a :class:`~isa_toolkit.widgets.panel.Panel`, which displays itself and
is driven from Python as from the browser; long runs live in child processes.
"""

try:
    from isa_toolkit.sweeps.job import Job, JobFailedError
    from isa_toolkit.widgets.compare import CompareRuns
    from isa_toolkit.widgets.crucial import CrucialSamples
    from isa_toolkit.widgets.gallery import Gallery
    from isa_toolkit.widgets.isa import ISA
    from isa_toolkit.widgets.manifold import Manifold
    from isa_toolkit.widgets.panel import Panel
    from isa_toolkit.widgets.results_panels import (
        Diversity,
        Information,
        Predictors,
        Regime,
    )
    from isa_toolkit.widgets.sweep import SweepPanel
    from isa_toolkit.widgets.watcher import JobWatcher
except ModuleNotFoundError as error:
    if error.name not in ("ipywidgets", "anywidget"):
        raise
    raise ModuleNotFoundError(
        f"The panels need {error.name}, which is not installed. Install it with: "
        "pip install 'isa-toolkit[notebooks]'",
        name=error.name,
    ) from error

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
    "Regime",
    "SweepPanel",
]
