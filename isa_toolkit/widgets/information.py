# pyright: reportAttributeAccessIssue=false
"""The panel of the information test: easy samples from hard ones, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.figures import information
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import signed, sizes, studied
from isa_toolkit.widgets.panel import Panel

__all__ = ["Information"]

_NAMES = {
    information.EASY: "easiest from the rest",
    information.RANDOM: "random from the rest",
    information.HARD: "hardest from the rest",
}


def Information(study: Study) -> Panel:
    """Return the panel of the information test, for any split.

    Args:
        study: the data and the runs.

    Returns:
        The panel; *Run* computes what the split and the size ask for.

    Source: the paper, section B, "Information".
    """

    def compute(working: Study, values: Mapping[str, Any]) -> Any:
        share = round(values["share"], 2)
        return information.compute(working, values["images_per_class"], share=share)

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        share = round(values["share"], 2)
        return {
            "picture": png(information.draw(table, share=share)),
            "table": _table(table),
            "caption": layout.caption(information.caption(table, share=share)),
        }

    return studied(
        "Information",
        study,
        about="Do hard samples tell what easy ones do?",
        controls={
            "share": layout.slider(
                "Predicted share", information.SHARE, low=0.05, high=0.5, step=0.05,
                help="Share of the images that is predicted from all the others",
                is_slow=True,
            ),
            "images_per_class": sizes(study),
        },
        asks=("share", "images_per_class"),
        compute=compute,
        draw=draw,
    )  # fmt: skip


def _table(table: Any) -> str:
    rows = []
    for quantity, name in _NAMES.items():
        mine = table[(table.quantity == quantity) & table.seed.isna()]
        mean = mine[mine.against.isna()].iloc[0]
        row = [name, f"{mean.value:.4f}", f"{mean.low:.4f} to {mean.high:.4f}", "", ""]
        gain = mine[mine.against.notna()]
        if len(gain):
            one = gain.iloc[0]
            low, high = signed(one.low, ".4f"), signed(one.high, ".4f")
            row[3:] = [signed(one.value, ".4f"), f"{low} to {high}"]
        rows.append([*row, str(mean.n)])
    heads = ["squared error", "mean", "95 %", "against random", "95 %", "seeds"]
    return layout.table(heads, rows)
