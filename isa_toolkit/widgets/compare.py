# pyright: reportAttributeAccessIssue=false
"""Panel of a folder of runs: a table of all, and the training curves of the picked ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps import Job
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import begun_runs, list_again, run_options

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

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        jobs = begun_runs(path)
        shown = {"table": layout.table(_HEADS, map(_row, jobs))}
        runs = {
            job.path.name: job.run for job in jobs if job.path.name in values["pick"]
        }
        table = training_curves.compute(runs)
        if not len(table):
            text = "No metrics yet." if runs else "Pick runs that have metrics."
            return {**shown, "picture": layout.BLANK, "caption": layout.note(text)}
        return {
            **shown,
            "picture": png(training_curves.draw(table)),
            "caption": layout.caption(training_curves.caption(table)),
        }

    def refresh_list(panel: Panel) -> None:
        list_again(panel, panel.pick, run_options(begun_runs(path)))

    found = run_options(begun_runs(path))
    panel = Panel(
        "Runs of a folder",
        about="Pick runs to compare their training curves.",
        controls={
            "pick": layout.several(
                "Runs", [name for _, name in found[:2]], options=found, rows=6,
                width=layout.WIDE,
            ),
            "refresh_list": layout.refresh_button(),
        },
        outputs={
            "picture": layout.image(),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": refresh_list},
    )  # fmt: skip
    panel.refresh()
    return panel


def _row(job: Job) -> list[str]:
    """Return one run as a row of the table."""
    run, status = job.run, job.status
    experiment, metrics = run.experiment, run.metrics
    method = experiment["method"]
    best = 100 * metrics.accuracy.max() if "accuracy" in metrics else float("nan")
    ends = [f"{method[x]:g}" if x in method else "" for x in ("drop_easy", "drop_hard")]
    segment = method.get("segment")
    return [
        job.path.name,
        status.state,
        f"{status.step:,} of {status.steps:,}",
        str(experiment["images_per_class"]),
        *ends,
        f"{segment[0]:g} to {segment[1]:g}" if segment else "",
        str(experiment["seed"]),
        f"{best:.1f}" if best == best else "",
    ]
