"""The panel of diversity: recall of the real images by distilled sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.figures import recall
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import interval_rows, sizes, studied
from isa_toolkit.widgets.panel import Panel

__all__ = ["Diversity"]

_HEADS = ["recall", "mean", "95 %", "difference", "95 %", "seeds"]


def Diversity(study: Study) -> Panel:
    """Return the panel of recall, for any k and in either space.

    Args:
        study: the data and the runs.

    Returns:
        The panel; *Run* computes what k and the size ask for, the space only redraws.
        Recall needs more than k distilled points.

    Source: the paper, equations 8 and 9.
    """
    least = study.many * study.dataset.num_classes

    def compute(working: Study, values: Mapping[str, Any]) -> Any:
        return recall.compute(working, values["images_per_class"], k=values["k"])

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        how = {"k": values["k"], "space": values["space"]}
        quantity = f"recall_k{how['k']}{recall.SPACES[how['space']]}"
        rows = interval_rows(table[table.quantity == quantity], form=".3f")
        return {
            "picture": png(recall.draw(table, **how)),
            "table": layout.table(_HEADS, rows),
            "caption": layout.caption(recall.caption(table, **how)),
        }

    return studied(
        "Diversity",
        study,
        about="How much of the real images lies among the distilled ones.",
        controls={
            "k": layout.whole(
                "Neighbour k", min(recall.K, least - 1), low=1, high=min(20, least - 1),
                help="A ball reaches to the k-th distilled neighbour",
            ),
            "space": layout.choice(
                "Space", list(recall.SPACES), "features",
                help="Features of a network trained on real images, or network inputs",
            ),
            "images_per_class": sizes(study),
        },
        asks=("k", "images_per_class"),
        compute=compute,
        draw=draw,
    )  # fmt: skip
