"""Panel of both predictors: the trained network against ridge regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isa_toolkit.figures import table6
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import compute_panel, interval_rows
from isa_toolkit.widgets.panel import Panel

__all__ = ["Predictors"]

_ALL = "both"


def Predictors(study: Study) -> Panel:
    """Return the panel of Table 6: network against ridge predictor, at every size.

    Args:
        study: Study with the data and the runs.

    Returns:
        The panel; *Run* computes the table, the controls filter its rows.

    Source: the paper, Table 6.
    """

    def compute(working: Study, values: Mapping[str, Any]) -> Any:
        del values
        return table6.compute(working)

    def draw(table: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = []
        for predictor, name in table6.PREDICTORS.items():
            if values["predictor"] not in (_ALL, predictor):
                continue
            mine = table[
                (table.predictor == predictor)
                & (table.images_per_class == values["images_per_class"])
            ]
            rows += [[f"{row[0]}, {name}", *row[1:]] for row in interval_rows(mine)]
        heads = ["test accuracy, %", "mean", "95 %", "over FRePo", "95 %", "seeds"]
        return {
            "picture": png(table6.draw(table)),
            "table": layout.table(heads, rows),
            "caption": layout.caption(table6.caption(table)),
        }

    names = [(_ALL, _ALL), *((name, key) for key, name in table6.PREDICTORS.items())]
    return compute_panel(
        "Network and ridge predictor",
        study,
        about="Test accuracy of a new network, and of ridge regression, on a distilled set.",
        controls={
            "predictor": layout.dropdown(
                "Predictor", names, _ALL, help="Predictor of the listed rows"
            ),
            "images_per_class": layout.dropdown(
                "Images per class",
                study.sizes,
                help="Size of the distilled sets in the listed rows",
            ),
        },
        depends_on=(),
        compute=compute,
        draw=draw,
    )
