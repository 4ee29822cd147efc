"""Panel of a folder of runs: those that are picked, in a table and in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps import Job
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import RunList

_HEADS = (
    "run", "state", "step", "per class", "drop easy", "drop hard", "segment", "seed",
    "best validation, %",
)  # fmt: skip


def CompareRuns(folder: str | Path = "runs") -> Panel:
    """Return the panel of the runs of a folder: the picked ones in one figure and a table.

    Args:
        folder: Path of the folder that holds the run folders; runs are named by what
            differs between them.

    Returns:
        The panel; ``panel.pick.value`` holds the folders of the picked runs. *Refresh list*
        reads the folder again.
    """
    runs = RunList(folder, lambda job: True)

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        names = runs.picked(panel, values)
        jobs = {runs.names[name]: Job.attach(runs.folder / name) for name in names}
        rows = [_row(text, job) for text, job in jobs.items()]
        shown = {"table": layout.table(_HEADS, rows) if rows else ""}
        table = training_curves.compute({text: job.run for text, job in jobs.items()})
        if not len(table):
            text = "No metrics yet." if jobs else "Pick runs that have metrics."
            return {**shown, "picture": layout.BLANK, "caption": layout.note(text)}
        return {
            **shown,
            "picture": png(training_curves.draw(table)),
            "caption": layout.caption(training_curves.caption(table)),
        }

    panel = Panel(
        "Runs of a folder",
        about="Pick runs to compare their training curves.",
        controls=runs.controls(picked=2),
        groups=[["search", "refresh_list"], ["pick"]],
        outputs={
            "picture": layout.image(),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": runs.on_refresh_list},
    )
    panel.refresh()
    return panel


def _row(text: str, job: Job) -> list[str]:
    """Return one run as a row of the table."""
    run, status = job.run, job.status
    experiment, metrics = run.experiment, run.metrics
    method = experiment["method"]
    best = 100 * metrics.accuracy.max() if "accuracy" in metrics else float("nan")
    ends = [f"{method[x]:g}" if x in method else "" for x in ("drop_easy", "drop_hard")]
    segment = method.get("segment")
    return [
        text,
        status.state,
        f"{status.step:,} of {status.steps:,}",
        str(experiment["images_per_class"]),
        *ends,
        f"{segment[0]:g} to {segment[1]:g}" if segment else "",
        str(experiment["seed"]),
        f"{best:.1f}" if best == best else "",
    ]
