"""Panel of cross-prediction: easy samples from hard ones, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.figures import information
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import (
    compute_panel,
    interval_rows,
    size_dropdown,
)
from isa_toolkit.widgets.panel import Panel

__all__ = ["Information"]

_NAMES = {
    information.EASY: "easiest from the rest",
    information.RANDOM: "random from the rest",
    information.HARD: "hardest from the rest",
}


def Information(study: Study) -> Panel:
    """Return the panel of cross-prediction, for any split.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table for the split and the size.

    Source: the paper, section B, "Information".
    """

    def compute(working: Study, values: Mapping[str, Any]) -> Any:
        fraction = round(values["fraction"], 2)
        return information.compute(
            working, values["images_per_class"], fraction=fraction
        )

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        fraction = round(values["fraction"], 2)
        return {
            "picture": png(information.draw(table, fraction=fraction)),
            "table": _table(table),
            "caption": layout.caption(information.caption(table, fraction=fraction)),
        }

    return compute_panel(
        "Information",
        study,
        about="How well do hard samples predict easy ones, and the reverse?",
        controls={
            "fraction": layout.slider(
                "Predicted fraction", information.FRACTION, min=0.05, max=0.5, step=0.05,
                help="Fraction of the images that is predicted from all the others",
                continuous_update=False,
            ),
            "images_per_class": size_dropdown(study, study.default_size),
        },
        depends_on=("fraction", "images_per_class"),
        compute=compute,
        draw=draw,
    )  # fmt: skip


def _table(table: Any) -> str:
    rows = []
    for quantity, name in _NAMES.items():
        [row] = interval_rows(table[table.quantity == quantity], decimals=4)
        rows.append([name, *row[1:]])
    heads = ["squared error", "mean", "95 %", "against random", "95 %", "seeds"]
    return layout.table(heads, rows)
