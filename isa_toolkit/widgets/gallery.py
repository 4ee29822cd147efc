# pyright: reportAttributeAccessIssue=false
"""Panel of distilled images: any run of a folder, at any stored step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isa_toolkit.distillation import Run
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import gallery
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import begun_runs, list_again, run_options

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

    def found() -> list[tuple[str, str]]:
        jobs = begun_runs(path)
        return run_options(job for job in jobs if job.run.is_done or job.run.snapshots)

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        name = values["found"]
        if name is None:
            text = f"No run in {path} has images yet. Start one, then refresh the list."
            note = layout.note(text)
            return {"picture": layout.BLANK, "caption": note, "table": ""}
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
        list_again(panel, panel.found, found())

    panel = Panel(
        "Distilled images",
        about="The distilled images of any run, at any stored step.",
        controls={
            "found": layout.dropdown(
                "Run", options=found(), help=f"Runs in {path}", width=layout.WIDE
            ),
            "step": layout.dropdown(
                "Step",
                options=[("result", _RESULT)],
                help="The result, or a stored step",
            ),
            "labels": layout.checkbox(
                "Learned labels",
                False,
                help="List the two largest entries of each label",
            ),
            "refresh_list": layout.refresh_button(),
        },
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


def _offer_steps(panel: Panel, run: Run, wanted: int) -> int:
    """List the stored steps of a run; return the one to show."""
    options = [("result", _RESULT)] if run.is_done else []
    options += [(f"{step:,}", step) for step in run.snapshots]
    if not options:
        raise InvalidValueError(f"The run {run.path.name} has no images yet.")
    with panel.quietly():
        layout.set_options(panel.step, options)
    steps = [value for _, value in options]
    return wanted if wanted in steps else steps[0]


def _caption(run: Run, distilled: DistilledSet) -> str:
    experiment = run.experiment
    method = experiment["method"]
    step = distilled.manifest.get("selection", {}).get("step", "unknown")
    names = [name for name in ("drop_easy", "drop_hard", "segment") if name in method]
    ends = ", ".join(f"{name} {method[name]}" for name in names)
    return (
        f"{experiment['dataset']['name']}, {experiment['images_per_class']} image(s) per "
        f"class, {method['name']} ({ends}), seed {experiment['seed']}, step {step}. "
        "Whitening is undone; pixels are clipped to the range of real images."
    )


def _labels(table: Any) -> str:
    heads = ["class (image)", "label value", "second class", "label value"]
    rows = [
        [f"{label} ({index})", f"{first:.3f}", runner_up, f"{second:.3f}"]
        for label, index, first, runner_up, second in table[
            ["label", "index", "first", "runner_up", "second"]
        ].itertuples(index=False)
    ]
    more = len(rows) - _MOST_LABELS
    rest = layout.caption(f"{more} more images.") if more > 0 else ""
    return layout.table(heads, rows[:_MOST_LABELS]) + rest
