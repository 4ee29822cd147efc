# pyright: reportAttributeAccessIssue=false
"""Panel of a folder of runs: a table of all, and the training curves of the picked ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from isa_toolkit.distillation import Run
from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps.job import Job, runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

__all__ = ["CompareRuns"]

_HEADS = (
    "run", "state", "step", "per class", "drop easy", "drop hard", "segment", "seed",
    "best validation, %",
)  # fmt: skip


def CompareRuns(folder: str | Path = "runs") -> Panel:
    """Return the panel of all runs in a folder, with the picked ones in one plot.

    Args:
        folder: Path of the folder that holds the run folders.

    Returns:
        The panel. *Refresh list* reads the folder again.
    """
    path = Path(folder).absolute()
    names = _names(path)
    pick = ipywidgets.SelectMultiple(
        options=names, value=[value for _, value in names[:2]], description="Runs",
        rows=6, tooltip="Pick with Ctrl or Shift", **layout.style(layout.WIDE),
    )  # fmt: skip
    controls: dict[str, ipywidgets.Widget] = {
        "pick": pick,
        "refresh_list": layout.button(
            "Refresh list", icon="refresh", help="Read the folder again"
        ),
    }

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        jobs = [job for job in runs_in(path) if _has_begun(job)]
        shown = {"table": layout.table(_HEADS, [_row(job) for job in jobs])}
        runs = {
            job.path.name: job.run for job in jobs if job.path.name in values["pick"]
        }
        table = training_curves.compute(runs)
        if not len(table):
            text = "No metrics yet." if runs else "Pick runs that have metrics."
            return {
                **shown, "picture": layout.BLANK, "caption": layout.note(text)
            }  # fmt: skip
        return {
            **shown,
            "picture": png(training_curves.draw(table)),
            "caption": layout.caption(training_curves.caption(table)),
        }

    def refresh_list(panel: Panel) -> None:
        with panel.quietly():
            before = panel.pick.value
            panel.pick.value = ()
            layout.set_options(panel.pick, _names(path))
            found = [value for _, value in panel.pick.options]
            panel.pick.value = [name for name in before if name in found]
        panel.refresh()
        panel.check()

    panel = Panel(
        "Runs of a folder",
        about="Pick runs to compare their training curves.",
        controls=controls,
        outputs={
            "picture": layout.image(),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": refresh_list},
    )
    panel.refresh()
    return panel


def _has_begun(job: Job) -> bool:
    return (job.path / "experiment.json").is_file()


def _names(folder: Path) -> list[tuple[str, str]]:
    return [
        (f"{job.path.name} ({job.status.state})", job.path.name)
        for job in runs_in(folder)
        if _has_begun(job)
    ]


def _row(job: Job) -> list[str]:
    """Return one run as a row of the table."""
    run: Run = job.run
    experiment, method, progress = (
        run.experiment,
        run.experiment["method"],
        job.status,
    )
    metrics = run.metrics
    best = ""
    if "accuracy" in metrics and metrics.accuracy.notna().any():
        best = f"{100 * metrics.accuracy.max():.1f}"
    segment = method.get("segment")
    return [
        job.path.name,
        job.status.state,
        f"{progress.step:,} of {progress.steps:,}",
        str(experiment["images_per_class"]),
        f"{method['drop_easy']:g}" if "drop_easy" in method else "",
        f"{method['drop_hard']:g}" if "drop_hard" in method else "",
        f"{segment[0]:g} to {segment[1]:g}" if segment else "",
        str(experiment["seed"]),
        best,
    ]
