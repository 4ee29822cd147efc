"""Panel of distilled images: runs of a folder side by side, at any stored step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from isa_toolkit.annotations import typed
from isa_toolkit.distillation import Run
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures import gallery
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout, pictures
from isa_toolkit.widgets.panel import Panel
from isa_toolkit.widgets.polling import RunList

_RESULT = -1
# Most images of a class in a row, and of a set.
_COLUMNS, _MOST = 10, 200


@typed
def Gallery(folder: str | Path = "runs") -> Panel:
    """Return the panel of the distilled images of runs in a folder, side by side.

    Args:
        folder: Path of the folder that holds the run folders; runs with a result or a
            snapshot are listed, named by what differs between them.

    Returns:
        The panel. ``panel.pick.value`` holds the folders of the shown runs, and
        ``panel.step.value`` a step, -1 for the results; a run without that step shows the
        stored step before it. *Refresh list* reads the folder again.
    """
    runs = RunList(folder, lambda job: job.run.is_done or bool(job.run.snapshots))

    def shown(values: Mapping[str, Any]) -> list[tuple[str, Run, DistilledSet]]:
        """Return the text, the run and the distilled set of each picked run."""
        found = {text: job.run for text, job in runs.picked(panel, values).items()}
        stored = {
            text: [*run.snapshots, *([_RESULT] if run.is_done else [])]
            for text, run in found.items()
        }
        steps = sorted(set().union(*stored.values()) - {_RESULT})
        options = [(f"{step:,}", step) for step in steps]
        if not found or any(_RESULT in one for one in stored.values()):
            options.append(("result", _RESULT))
        offered = [step for _, step in options]
        wanted = values["step"] if values["step"] in offered else offered[-1]
        with panel.quietly():
            layout.set_options(panel.controls["step"], options)
            panel.controls["step"].value = wanted
        sets = []
        for text, run in found.items():
            step = _stored_step(stored[text], wanted)
            distilled = run.distilled if step == _RESULT else run.distilled_at(step)
            sets.append((text, run, distilled))
        return sets

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        found = shown(values)
        if not found:
            note = "Pick runs to see their images."
            if not runs.names:
                note = (
                    f"No run in {runs.folder} has images yet. Start one, then refresh."
                )
            return {"images": "", "caption": layout.note(note), "table": ""}
        cards, tables = [], []
        for text, run, distilled in found:
            step = distilled.manifest.get("selection", {}).get("step", "unknown")
            title = f"{text}: step {step}"
            table = gallery.table_of(distilled, run.experiment["dataset"]["name"])
            cards.append(
                _card(title, table, side=pictures.SIDE if len(found) == 1 else 40)
            )
            if values["labels"]:
                tables.append(layout.note(title) + _labels(table))
        text = (
            "Whitening is undone; pixels are clipped to the range of real images. Rest the "
            "pointer on an image to see its label."
        )
        return {
            "images": pictures.side_by_side(cards),
            "caption": layout.caption(text),
            "table": pictures.side_by_side(tables),
        }

    def still() -> bytes | None:
        """Return the images of the first picked run as a PNG, where no browser is."""
        for _, run, distilled in shown(panel.values)[:1]:
            name = run.experiment["dataset"]["name"]
            figure = gallery.draw(gallery.table_of(distilled, name))
            # At the resolution of the grid each pixel is a whole square.
            return png(figure, dpi=figure.dpi)
        return None

    panel = Panel(
        "Distilled images",
        about="The distilled images of runs, side by side, at any stored step.",
        controls={
            **runs.controls(picked=1),
            "step": layout.control(
                ipywidgets.SelectionSlider, "Step", _RESULT,
                options=[("result", _RESULT)], help="A stored step, or the results",
            ),
            "labels": layout.checkbox(
                "Learned labels", False,
                help="List the two largest entries of each label",
            ),
        },
        groups=[["search", "refresh_list"], ["pick"], ["step", "labels"]],
        outputs={
            "images": layout.text(),
            "caption": layout.text(),
            "table": layout.text(),
        },
        update=update,
        actions={"refresh_list": runs.on_refresh_list},
        still=still,
        has_images=True,
    )  # fmt: skip
    panel.refresh()
    return panel


def _stored_step(stored: list[int], wanted: int) -> int:
    """Return the wanted step, or the stored one before it, or the first one."""
    if wanted in stored:
        return wanted
    before = [step for step in stored if wanted == _RESULT or 0 <= step < wanted]
    return before[-1] if before else stored[0]


def _card(title: str, table: Any, *, side: int) -> str:
    """Return the images of a set under a title, a row per class or one for all."""
    first = table.groupby("label", sort=False).head(_COLUMNS).head(_MOST)
    per_class = int((first.label == first.label.iloc[0]).sum())
    figures = [
        pictures.figure(
            pictures.source(row.pixels),
            f"class {row.label}: {row.first:.2f}, then {row.runner_up}: {row.second:.2f}",
            side=side,
        )
        for row in first.itertuples()
    ]
    columns = _COLUMNS if per_class == 1 else per_class
    return pictures.strip(title, figures, columns=columns)


def _labels(table: Any) -> str:
    heads = ["class (image)", "label value", "second class", "label value"]
    rows = [
        [f"{label} ({index})", f"{first:.3f}", runner_up, f"{second:.3f}"]
        for label, index, first, runner_up, second in table[
            ["label", "index", "first", "runner_up", "second"]
        ].itertuples(index=False)
    ]
    more = len(rows) - _MOST
    rest = layout.caption(f"{more} more images.") if more > 0 else ""
    return layout.table(heads, rows[:_MOST]) + rest
