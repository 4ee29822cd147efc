"""Panel of a folder of runs: those that are picked, in a table and in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isa_toolkit.annotations import typed
from isa_toolkit.distillation.run_names import run_names
from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps import Job
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.charts import Curves
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import RunList

_HEADS = (
    "run", "state", "step", "per class", "drop easy", "drop hard", "segment", "seed",
    "best validation, %",
)  # fmt: skip


@typed
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
    curves = Curves()

    def table_of(jobs: Mapping[str, Job]) -> Any:
        return training_curves.compute({text: job.run for text, job in jobs.items()})

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        jobs = runs.picked(panel, values)
        table = table_of(jobs)
        best = table[table.quantity == "accuracy"].dropna().groupby("run").value.max()
        rows = [_row(text, job, best.get(text)) for text, job in jobs.items()]
        if len(table):
            caption = layout.caption(training_curves.caption(table))
        else:
            caption = layout.note(
                "No metrics yet." if jobs else "Pick runs that have metrics."
            )
        return {
            "curves": {"data": training_curves.for_browser(table)},
            "caption": caption,
            "table": layout.table(_HEADS, rows) if rows else "",
        }

    def still() -> bytes | None:
        jobs = list(runs.picked(panel, panel.values).values())
        names = run_names([job.run.experiment for job in jobs])
        table = table_of(dict(zip(names, jobs, strict=True)))
        return png(training_curves.draw(table)) if len(table) else None

    panel = Panel(
        "Runs of a folder",
        about="Pick runs to compare their training curves.",
        controls=runs.controls(picked=2),
        groups=[["search", "refresh_list"], ["pick"]],
        outputs={
            "curves": curves, "caption": layout.text(), "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": runs.on_refresh_list},
        still=still,
    )  # fmt: skip
    panel.refresh()
    return panel


def _row(text: str, job: Job, best: float | None) -> list[str]:
    """Return one run, with its best accuracy in percent, as a row of the table."""
    experiment, status = job.run.experiment, job.status
    method = experiment["method"]
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
        "" if best is None else f"{best:.1f}",
    ]
