# pyright: reportAttributeAccessIssue=false
"""Panel of distilled images: any run of a folder, at any stored step."""

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
        folder: Path of the folder that holds the run folders; runs with a result or a
            snapshot are listed.

    Returns:
        The panel. *Refresh list* reads the folder again.
    """
    path = Path(folder).absolute()
    controls: dict[str, ipywidgets.Widget] = {
        "found": layout.dropdown(
            "Run", found(path), help=f"Runs in {path}", width=layout.WIDE
        ),
        "step": layout.dropdown(
            "Step", [("result", _RESULT)], help="The result, or a stored step"
        ),
        "labels": layout.checkbox(
            "Learned labels", False, help="List the two largest entries of each label"
        ),
        "refresh_list": layout.button(
            "Refresh list", icon="refresh", help="Read the folder again"
        ),
    }

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        name = values["found"]
        if name is None:
            text = f"No run in {path} has images yet. Start one, then refresh the list."
            return {
                "picture": layout.BLANK,
                "caption": layout.note(text),
                "table": "",
            }
        run = Run.open(path / name)
        step = _offer_steps(panel, run, values["step"])
        distilled = run.distilled if step == _RESULT else run.distilled_at(step)
        table = gallery.table_of(distilled, run.experiment["dataset"]["name"])
        figure = gallery.draw(table)
        return {
            # At the resolution of the grid each pixel is a whole square.
            "picture": png(figure, dpi=figure.dpi),
            "caption": layout.caption(_caption(run, distilled)),
            "table": _labels(table) if values["labels"] else "",
        }

    def refresh_list(panel: Panel) -> None:
        with panel.quietly():
            layout.set_options(panel.found, found(path))
        panel.refresh()
        panel.check()

    panel = Panel(
        "Distilled images",
        about="The distilled images of any run, at any stored step.",
        controls=controls,
        groups=[["found", "refresh_list"], ["step", "labels"]],
        outputs={
            "picture": layout.image("auto"),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": refresh_list},
    )
    panel.refresh()
    return panel


def found(folder: Path) -> list[tuple[str, str]]:
    """Return the runs of a folder that have images, as options of a list.

    Args:
        folder: Path of the folder that holds the run folders.
    """
    return [
        (f"{job.path.name} ({job.status.state})", job.path.name)
        for job in runs_in(folder)
        if (job.path / "experiment.json").is_file()
        and (job.run.is_done or job.run.snapshots)
    ]


def _offer_steps(panel: Panel, run: Run, wanted: int) -> int:
    """List the stored steps of a run; return the one to show."""
    options = [("result", _RESULT)] if run.is_done else []
    options += [(f"{step:,}", step) for step in run.snapshots]
    if not options:
        raise ValueError(f"The run {run.path.name} has no images yet.")
    with panel.quietly():
        layout.set_options(panel.step, options)
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
    heads = ["class (image)", "label value", "second class", "label value"]
    more = len(table) - len(rows)
    rest = layout.caption(f"{more} more images.") if more else ""
    return layout.table(heads, rows) + rest
