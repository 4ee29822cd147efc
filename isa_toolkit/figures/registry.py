"""The figures and tables of the appendix and of the demo, one line each.

A figure is a module with ``TITLE``, ``compute(study) -> DataFrame``, ``draw(table) ->
Figure`` and ``caption(table) -> str``. It may also have ``pictures(study)``, which names
several pictures with the keywords of ``compute`` for each, and ``measures(study)``, rows of
``results_table`` where those of ``compute`` are something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from isa_toolkit.figures import (
    cost,
    fig5,
    fig6,
    fig7,
    fig8,
    gallery,
    information,
    recall,
    samples,
    snapshots,
    table6,
)
from isa_toolkit.figures.comparisons import DEMO_TABLE, FIG3C, TABLE4, TABLE8
from isa_toolkit.figures.results_table import COLUMNS, as_table

if TYPE_CHECKING:
    import pandas as pd

    from isa_toolkit.figures.study import Study

__all__ = ["DEMO", "ITEMS", "Item"]


class Item(NamedTuple):
    """One figure or table that is reproduced.

    figure: Module (or object) with ``TITLE``, ``compute``, ``draw`` and ``caption``.
    published: Name of its rows in the paper's numbers; None where the paper prints none.
    title: Title; None for the figure's.
    datasets: Names of the data sets that it is about; empty for all.
    """

    figure: Any
    published: str | None = None
    title: str | None = None
    datasets: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title of the item."""
        return self.title or self.figure.TITLE

    def pictures(self, name: str, study: Study) -> dict[str, dict[str, Any]]:
        """Return the pictures of the item for a study.

        Args:
            name: Name of the item; it is that of a single picture.
            study: Study with the data and the runs.

        Returns:
            Name of the picture -> keywords of ``compute``; none for other data sets.
        """
        if self.datasets and study.dataset.name not in self.datasets:
            return {}
        pictures = getattr(self.figure, "pictures", None)
        return pictures(study) if pictures else {name: {}}

    def numbers(self, study: Study, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of ``results_table`` of the item; empty if it has none.

        Args:
            study: Study with the data and the runs.
            tables: Tables of its pictures.
        """
        measures = getattr(self.figure, "measures", None)
        if measures is not None:
            return measures(study)
        if tables and list(tables[0].columns) == list(COLUMNS):
            return tables[0]
        return as_table([])


# The appendix. Items that share runs are neighbours.
ITEMS: dict[str, Item] = {
    "fig5": Item(fig5),
    "fig8": Item(fig8),
    "fig3c": Item(FIG3C),
    "fig7": Item(fig7),
    "table6": Item(table6, "table6"),
    "table7": Item(
        table6,
        "table7",
        title="Table 7. Network and ridge predictor on ImageNet subsets",
        datasets=("imagenette", "imagewoof", "imagenet64"),
    ),
    "table8": Item(TABLE8, "table8"),
    "table4": Item(TABLE4),
    "fig6": Item(fig6),
    "recall": Item(recall, "diversity"),
    "information": Item(information, "information"),
    "samples": Item(samples),
    "gallery": Item(gallery),
    "cost": Item(cost, "cost"),
}
DEMO: dict[str, Item] = {
    "images": Item(snapshots),
    "curve": Item(fig8),
    "table": Item(DEMO_TABLE),
}
