# pyright: reportAttributeAccessIssue=false
"""The panel of distilled images: any run of a folder, at any stored step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from isa_toolkit.distillation import Run
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures import gallery
from isa_toolkit.figures.style import png
from isa_toolkit.sweeps.job import runs_in
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

__all__ = ["Gallery"]

_RESULT = -1
_MOST_LABELS = 200


def Gallery(folder: str | Path = "runs") -> Panel:
    """Return the panel of the distilled images of any run in a folder.

    Args:
        folder: of run folders; those with a result or a snapshot are listed.

    Returns:
        The panel. *Refresh list* looks into the folder again.
    """
    there = Path(folder).absolute()
    controls: dict[str, ipywidgets.Widget] = {
        "found": layout.choice(
            "Run", found(there), help=f"Runs in {there}", is_wide=True
        ),
        "step": layout.choice(
            "Step", [("result", _RESULT)], help="The result, or a stored step"
        ),
        "labels": layout.switch(
            "Learned labels", False, help="List the two largest entries of each label"
        ),
        "look": layout.button(
            "Refresh list", icon="refresh", help="Look into the folder again"
        ),
    }

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        name = values["found"]
        if name is None:
            told = f"There is no run with images in {there}. Run one, then refresh the list."
            return {
                "picture": layout.BLANK,
                "caption": layout.note(told),
                "table": "",
            }
        run = Run.open(there / name)
        step = _offer_steps(panel, run, values["step"])
        distilled = run.distilled if step == _RESULT else run.distilled_at(step)
        table = gallery.of(distilled, run.experiment["dataset"]["name"])
        figure = gallery.draw(table)
        return {
            # At the dots that the grid was made for, each pixel is a whole square.
            "picture": png(figure, dpi=figure.dpi),
            "caption": layout.caption(_caption(run, distilled)),
            "table": _labels(table) if values["labels"] else "",
        }

    def look(panel: Panel) -> None:
        with panel.quietly():
            layout.offer(panel.found, found(there))
        panel.refresh()
        panel.check()

    panel = Panel(
        "Distilled images",
        about="The learned images of any run, at any step that was stored.",
        controls=controls,
        groups=[["found", "look"], ["step", "labels"]],
        shows={
            "picture": layout.picture("auto"),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"look": look},
    )
    panel.refresh()
    return panel


def found(folder: Path) -> list[tuple[str, str]]:
    """Return the runs of a folder that have images, with their state, for a list.

    Args:
        folder: of run folders.
    """
    return [
        (f"{job.path.name} ({job.status.state})", job.path.name)
        for job in runs_in(folder)
        if (job.path / "experiment.json").is_file()
        and (job.run.is_done or job.run.snapshots)
    ]


def _offer_steps(panel: Panel, run: Run, wanted: int) -> int:
    """Offer the stored steps of a run; return the one to show."""
    options = [("result", _RESULT)] if run.is_done else []
    options += [(f"{step:,}", step) for step in run.snapshots]
    if not options:
        raise ValueError(f"The run {run.path.name} holds no images yet.")
    with panel.quietly():
        layout.offer(panel.step, options)
    steps = [value for _, value in options]
    return wanted if wanted in steps else steps[0]


def _caption(run: Run, distilled: DistilledSet) -> str:
    method = run.experiment["method"]
    chosen = distilled.manifest.get("selection", {})
    ends = ", ".join(
        f"{name} {method[name]}"
        for name in ("drop_easy", "drop_hard", "segment")
        if name in method
    )
    return (
        f"{run.experiment['dataset']['name']}, {run.experiment['images_per_class']} image(s) "
        f"per class, {method['name']} ({ends}), seed {run.experiment['seed']}, step "
        f"{chosen.get('step', 'unknown')}. Whitening is undone; pixels are clipped to the "
        "range of real images."
    )


def _labels(table: Any) -> str:
    rows = [
        [
            f"{row.label} ({row['index']})",
            f"{row['first']:.3f}",
            row.runner_up,
            f"{row.second:.3f}",
        ]
        for _, row in table[:_MOST_LABELS].iterrows()
    ]
    heads = ["class (image)", "its entry", "runner-up", "its entry"]
    more = len(table) - len(rows)
    told = layout.caption(f"{more} more images.") if more else ""
    return layout.table(heads, rows) + told
