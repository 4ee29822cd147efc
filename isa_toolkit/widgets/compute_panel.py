# pyright: reportAttributeAccessIssue=false
"""Panels on a study: a table computed in the background, stored and redrawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import ipywidgets

from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures.results_table import summary
from isa_toolkit.figures.study import Study
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

_MISSING = "Not computed yet for these settings: press Run."


class BackgroundTask:
    """Computation on a study in the background, and the tables that it has made.

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
        """Make the table of a key in the background, then redraw the panel.

        ``seeds`` is the number of distilled sets per setting; None for the study's.
        """

        def report(what: str, done: int, total: int) -> None:
            panel.show_message(f"{what}: {done} of {total}")

        working = self.study.with_progress(report, seeds=seeds)
        if not panel.is_busy:
            self._working = working
        panel.start(lambda: self.tables.update({key: compute(working)}))

    def stop(self, panel: Panel) -> None:
        """Stop the computation; runs write a checkpoint, from which *Run* resumes."""
        if self._working is not None and panel.is_busy:
            panel.show_message("Stopping: runs write a checkpoint.")
            self._working.cancel()

    def table(self, key: Hashable) -> Any:
        """Return the table of a key, or None; an empty one is an error."""
        table = self.tables.get(key)
        if table is not None and not len(table):
            raise InvalidValueError(
                "The study must hold the runs of these settings, got none. Make them "
                "with Study(..., run_missing=True)."
            )
        return table


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
    still: Callable[[], bytes | None] | None = None,
    task: BackgroundTask | None = None,
) -> Panel:
    """Return a panel that computes tables on *Run* and redraws them at once.

    ``compute`` makes a table from the study and the controls, ``draw`` outputs from the table
    and the controls. The table depends on the controls ``depends_on``; the others only redraw.
    Without a table for the controls, the outputs of the last one stay, greyed.
    ``outputs`` are a picture, a table and a caption by default; the rest is as for ``Panel``.
    ``panel.tables`` holds the tables made so far, ``task`` the model if it is more than that.
    """
    task = BackgroundTask(study) if task is None else task
    outputs = outputs or {
        "picture": layout.image(), "table": layout.text(), "caption": layout.text(),
    }  # fmt: skip

    def key(values: Mapping[str, Any]) -> Hashable:
        wanted = [values[name] for name in depends_on]
        return tuple(tuple(one) if isinstance(one, list) else one for one in wanted)

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        table = task.table(key(values))
        if not panel.is_busy:
            panel.show_message("" if table is not None else _MISSING)
        if table is not None:
            return draw(table, values)
        return dict.fromkeys(outputs, layout.STALE)

    def run(panel: Panel) -> None:
        values = panel.values
        task.start(panel, key(values), lambda working: compute(working, values))

    panel = Panel(
        title,
        about=about,
        controls={**controls, **run_buttons()},
        groups=[*(groups or [list(controls)]), ["run", "stop"]],
        outputs=outputs,
        update=update,
        actions={"run": run, "stop": task.stop},
        model=task,
        still=still,
    )
    panel.refresh()
    return panel


def run_buttons() -> dict[str, ipywidgets.Button]:
    """Return the buttons *Run* and *Stop*."""
    return {
        "run": layout.run_button(
            "Run", "Compute the table; missing runs are distilled first"
        ),
        "stop": layout.stop_button(
            "Stop", "Stop; runs write a checkpoint, from which Run resumes"
        ),
    }


def size_dropdown(study: Study, value: int) -> ipywidgets.Dropdown:
    """Return the list of images per class."""
    return layout.dropdown(
        "Images per class", value, options=study.sizes,
        help="Number of distilled images of each class",
    )  # fmt: skip


def summary_table(table: Any, **where: Any) -> str:
    """Return ``figures.summary`` of a results table as HTML."""
    shown = summary(table, **where)
    heads = [shown.columns.name or "", *shown.columns]
    return layout.table(heads, shown.itertuples(name=None))
