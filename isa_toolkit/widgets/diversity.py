"""Panel of diversity: recall of the real images by distilled sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.figures import recall
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import (
    compute_panel,
    interval_rows,
    size_dropdown,
)
from isa_toolkit.widgets.panel import Panel

__all__ = ["Diversity"]

_HEADS = ["recall", "mean", "95 %", "difference", "95 %", "seeds"]


def Diversity(study: Study) -> Panel:
    """Return the panel of recall, for any k, in features or network inputs.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table for k and the size, the space only redraws.
        Recall needs more than k distilled points.

    Source: the paper, equations 8 and 9.
    """
    smallest = study.default_size * study.dataset.num_classes

    def compute(working: Study, values: Mapping[str, Any]) -> Any:
        return recall.compute(working, values["images_per_class"], k=values["k"])

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        how = {"k": values["k"], "space": values["space"]}
        quantity = f"recall_k{how['k']}{recall.SPACES[how['space']]}"
        rows = interval_rows(table[table.quantity == quantity], decimals=3)
        return {
            "picture": png(recall.draw(table, **how)),
            "table": layout.table(_HEADS, rows),
            "caption": layout.caption(recall.caption(table, **how)),
        }

    return compute_panel(
        "Diversity",
        study,
        about="Fraction of the real images inside the manifold of the distilled ones.",
        controls={
            "k": layout.int_slider(
                "Neighbour k", min(recall.K, smallest - 1), min=1, max=min(20, smallest - 1),
                help="Each ball reaches to the k-th nearest distilled neighbour",
            ),
            "space": layout.dropdown(
                "Space", list(recall.SPACES), "features",
                help="Features of a network trained on real images, or network inputs",
            ),
            "images_per_class": size_dropdown(study, study.default_size),
        },
        depends_on=("k", "images_per_class"),
        compute=compute,
        draw=draw,
    )  # fmt: skip
