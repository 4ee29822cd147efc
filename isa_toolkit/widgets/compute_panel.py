# pyright: reportAttributeAccessIssue=false
"""What panels on a study share: long work behind a button, its tables kept and redrawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, final

import ipywidgets

from isa_toolkit.figures.study import Study
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.panel import Panel

__all__ = ["Bench", "interval_rows", "run_buttons", "signed", "sizes", "studied"]


@final
class Bench:
    """Work on a study in the background, and the tables that it has made.

    Args:
        study: the data and the runs.

    Attributes:
        tables: made so far, by what they were asked with.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.tables: dict[Hashable, Any] = {}
        self._working: Study | None = None

    def begin(
        self,
        panel: Panel,
        key: Hashable,
        compute: Callable[[Study], Any],
        **changes: Any,
    ) -> None:
        """Make a table in the background, then draw the panel anew.

        Args:
            panel: told how far it is.
            key: that the table is kept under.
            compute: study -> table.
            changes: attributes of the study to set, such as ``seeds``.
        """
        if panel.is_busy:
            panel.say("Still at work. Wait, or press Stop.")
            return

        def tell(what: str, done: int, total: int) -> None:
            panel.say(f"{what}: {done} of {total}")

        working = self.study.watched(tell, **changes)
        self._working = working

        def work() -> None:
            self.tables[key] = compute(working)

        def done() -> None:
            panel.say("")
            panel.refresh()
            panel.check()

        panel.start(work, done=done)

    def stop(self, panel: Panel) -> None:
        """Stop the work, runs with a checkpoint; *Run* goes on with it."""
        if self._working is not None and panel.is_busy:
            panel.say("Stopping: runs write a checkpoint.")
            self._working.stop()


def studied(
    title: str,
    study: Study,
    *,
    about: str,
    controls: Mapping[str, ipywidgets.Widget],
    asks: Sequence[str],
    compute: Callable[[Study, Mapping[str, Any]], Any],
    draw: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]],
    groups: Sequence[Sequence[str]] = (),
    shows: Mapping[str, ipywidgets.Widget] | None = None,
    arrange: Callable[[Mapping[str, ipywidgets.Widget]], ipywidgets.Widget]
    | None = None,
) -> Panel:
    """Return a panel whose tables are computed behind *Run*, and redrawn at once.

    Args:
        title: heading.
        study: the data and the runs.
        about: one sentence under the heading.
        controls: by name, without the buttons.
        asks: which of them ask for another table; the others only redraw.
        compute: (study, values) -> table.
        draw: (table, values) -> values of ``shows``.
        groups: names of controls, row by row; all in one row if left out.
        shows: by name; a picture, a table and a caption if left out.
        arrange: as for ``Panel``.

    Returns:
        The panel; ``panel.tables`` are those made so far.
    """
    bench = Bench(study)
    shown = dict(shows or {})
    shown.setdefault("picture", layout.picture())
    shown.setdefault("table", layout.text())
    shown.setdefault("caption", layout.text())

    def key(values: Mapping[str, Any]) -> Hashable:
        return tuple(
            tuple(values[name]) if isinstance(values[name], list) else values[name]
            for name in asks
        )

    def update(values: Mapping[str, Any]) -> Mapping[str, Any]:
        table = bench.tables.get(key(values))
        if table is None:
            note = layout.note("Not computed yet for these settings: press Run.")
            empty: dict[str, Any] = {"caption": note}
            for name, widget in shown.items():
                if layout.is_picture(widget):
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
        bench.begin(panel, key(values), lambda working: compute(working, values))

    panel = Panel(
        title,
        about=about,
        controls={**controls, **run_buttons()},
        groups=[*(groups or [list(controls)]), ["run", "stop"]],
        shows=shown,
        update=update,
        actions={"run": run, "stop": bench.stop},
        arrange=arrange,
        model=bench,
    )
    panel.refresh()
    return panel


def run_buttons() -> dict[str, ipywidgets.Button]:
    """Return *Run* and *Stop* of work on a study."""
    made = {
        "run": layout.button(
            "Run", icon="play", style="primary",
            help="Compute this; runs that are missing are distilled first",
        ),
        "stop": layout.button(
            "Stop", icon="stop", style="danger",
            help="Stop; runs write a checkpoint, and Run goes on with them",
        ),
    }  # fmt: skip
    made["stop"].disabled = True
    return made


def sizes(study: Study, value: int | None = None) -> ipywidgets.Dropdown:
    """Return the choice of images per class.

    Args:
        study: whose sizes.
        value: at first; None for ``study.many``.
    """
    return layout.choice(
        "Images per class", study.sizes, study.many if value is None else value,
        help="Size of the distilled sets",
    )  # fmt: skip


def interval_rows(table: Any, *, form: str = ".1f") -> list[list[str]]:
    """Return the means of a table of ``figures.numbers`` as rows of text.

    Args:
        table: with means and paired differences.
        form: of the numbers.

    Returns:
        Rows: mean with its interval, paired difference with its interval, and how many.
    """
    import pandas as pd

    from isa_toolkit.figures.variants import SETTINGS

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
        look = SETTINGS.get(one.setting)
        name = look.label if look else str(one.setting)
        if not pd.isna(one.x):
            name += f" {100 * one.x:.0f} %"
        row = [name, f"{one.value:{form}}", f"{one.low:{form}} to {one.high:{form}}"]
        if len(same):
            gain = same.iloc[0]
            row += [
                signed(gain.value, form),
                f"{signed(gain.low, form)} to {signed(gain.high, form)}",
            ]
        else:
            row += ["", ""]
        rows.append([*row, str(one.n)])
    return rows


def signed(value: float, form: str) -> str:
    """Return a number with its sign; what rounds to nothing has a plus.

    Args:
        value: the number.
        form: of it, such as ``.1f``.
    """
    text = f"{value:+{form}}"
    return text if float(text) else f"{0.0:+{form}}"
