# pyright: reportAttributeAccessIssue=false
"""Panels on a study: a table computed in the background, stored and redrawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, final

import ipywidgets

from isa_toolkit.figures.study import Study
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

__all__ = [
    "BackgroundTask",
    "compute_panel",
    "interval_rows",
    "run_buttons",
    "size_dropdown",
]


@final
class BackgroundTask:
    """Computation on a study in the background, and the tables that it has made.

    Args:
        study: Study with the data and the runs.

    Attributes:
        tables: Tables made so far, by the values of the controls that they depend on.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.tables: dict[Hashable, Any] = {}
        self._working: Study | None = None

    def start(
        self,
        panel: Panel,
        key: Hashable,
        compute: Callable[[Study], Any],
        seeds: int | None = None,
    ) -> None:
        """Make a table in the background, then redraw the panel.

        Args:
            panel: Panel that shows the progress.
            key: Key to store the table under.
            compute: Function from the study to the table.
            seeds: Number of distilled sets per setting; None for the study's.
        """
        if panel.is_busy:
            panel.show_message("Still running. Wait, or press Stop.")
            return

        def report(what: str, done: int, total: int) -> None:
            panel.show_message(f"{what}: {done} of {total}")

        working = self.study.with_progress(report, seeds=seeds)
        self._working = working

        def work() -> None:
            self.tables[key] = compute(working)

        def done() -> None:
            panel.show_message("")
            panel.refresh()
            panel.check()

        panel.start(work, done=done)

    def stop(self, panel: Panel) -> None:
        """Stop the computation; runs write a checkpoint, from which *Run* resumes."""
        if self._working is not None and panel.is_busy:
            panel.show_message("Stopping: runs write a checkpoint.")
            self._working.cancel()


def compute_panel(
    title: str,
    study: Study,
    *,
    about: str,
    controls: Mapping[str, ipywidgets.Widget],
    depends_on: Sequence[str],
    compute: Callable[[Study, Mapping[str, Any]], Any],
    draw: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]],
    groups: Sequence[Sequence[str]] = (),
    outputs: Mapping[str, ipywidgets.Widget] | None = None,
    arrange: Callable[[Mapping[str, ipywidgets.Widget]], ipywidgets.Widget]
    | None = None,
) -> Panel:
    """Return a panel that computes tables on *Run* and redraws them at once.

    Args:
        title: Heading of the panel.
        study: Study with the data and the runs.
        about: One sentence under the heading.
        controls: Widgets by name, without the buttons.
        depends_on: Names of the controls that the table depends on; the others only redraw.
        compute: Function from (study, values of the controls) to the table.
        draw: Function from (table, values of the controls) to values of the outputs.
        groups: Names of the controls of each row; all in one row by default.
        outputs: Widgets by name; by default a picture, a table and a caption.
        arrange: Function that arranges the outputs, as for ``Panel``.

    Returns:
        The panel; ``panel.tables`` holds the tables made so far.
    """
    task = BackgroundTask(study)
    shown = dict(outputs or {})
    shown.setdefault("picture", layout.image())
    shown.setdefault("table", layout.text())
    shown.setdefault("caption", layout.text())

    def key(values: Mapping[str, Any]) -> Hashable:
        return tuple(
            tuple(values[name]) if isinstance(values[name], list) else values[name]
            for name in depends_on
        )

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        table = task.tables.get(key(values))
        if table is None:
            note = layout.note("Not computed yet for these settings: press Run.")
            empty: dict[str, Any] = {"caption": note}
            for name, widget in shown.items():
                if layout.is_image(widget):
                    empty[name] = layout.BLANK
                elif isinstance(widget, ipywidgets.HTML):
                    empty.setdefault(name, "")
            return empty
        if not len(table):
            raise ValueError(
                "The study must hold the runs of these settings, got none. Make them "
                "with Study(..., run_missing=True)."
            )
        return draw(table, values)

    def run(panel: Panel) -> None:
        values = panel.values
        task.start(panel, key(values), lambda working: compute(working, values))

    panel = Panel(
        title,
        about=about,
        controls={**controls, **run_buttons()},
        groups=[*(groups or [list(controls)]), ["run", "stop"]],
        outputs=shown,
        update=update,
        actions={"run": run, "stop": task.stop},
        arrange=arrange,
        model=task,
    )
    panel.refresh()
    return panel


def run_buttons() -> dict[str, ipywidgets.Button]:
    """Return the buttons *Run* and *Stop*."""
    made = {
        "run": layout.button(
            "Run", icon="play", style="primary",
            help="Compute the table; missing runs are distilled first",
        ),
        "stop": layout.button(
            "Stop", icon="stop", style="danger",
            help="Stop; runs write a checkpoint, from which Run resumes",
        ),
    }  # fmt: skip
    made["stop"].disabled = True
    return made


def size_dropdown(study: Study, value: int | None = None) -> ipywidgets.Dropdown:
    """Return the list of images per class.

    Args:
        study: Study whose sizes are listed.
        value: Initial value; None for ``study.default_size``.
    """
    return layout.dropdown(
        "Images per class", study.sizes, study.default_size if value is None else value,
        help="Number of distilled images of each class",
    )  # fmt: skip


def interval_rows(table: Any, *, decimals: int = 1) -> list[list[str]]:
    """Return the means of a results table as rows of text.

    Args:
        table: Tidy table with means and paired differences.
        decimals: Number of decimals.

    Returns:
        Rows of name, mean, its interval, paired difference, its interval, number of seeds.
    """
    import pandas as pd

    from isa_toolkit.figures.results_table import format_interval
    from isa_toolkit.figures.variants import label_of

    rows = []
    means = table[table.seed.isna() & table.against.isna()]
    paired = table[table.seed.isna() & table.against.notna()]
    cells = ["setting", "predictor", "x", "quantity", "images_per_class"]
    for _, one in means.iterrows():
        same = paired
        for name in cells:
            mine = one[name]
            wanted = same[name].isna() if pd.isna(mine) else same[name] == mine
            same = same[wanted.fillna(False).astype(bool)]
        name = label_of(one.setting)
        if not pd.isna(one.x):
            name += f" {100 * one.x:.0f} %"
        row = [name, *format_interval(one.value, one.low, one.high, decimals=decimals)]
        gain: tuple[str, str] = ("", "")
        if len(same):
            paired_one = same.iloc[0]
            gain = format_interval(
                paired_one.value,
                paired_one.low,
                paired_one.high,
                decimals=decimals,
                signed=True,
            )
        rows.append([*row, *gain, str(one.n)])
    return rows
