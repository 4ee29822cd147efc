"""The figures and tables of the appendix and of the demo, one line each.

A figure is a module with ``compute(study) -> DataFrame``, ``caption(table) -> str`` and
``draw(table, ax=None, size="page") -> Figure``. It may also have ``pictures(study)``, which
names several pictures with the keywords of ``compute`` for each, and ``measures(study)``,
rows of ``results_table`` where those of ``compute`` are something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from isa_toolkit.figures import (
    cost,
    dd_ranking,
    fig5,
    fig6,
    fig7,
    fig8,
    first,
    gallery,
    information,
    recall,
    regime,
    samples,
    snapshots,
    table6,
)
from isa_toolkit.figures.comparisons import DEMO_TABLE, FIG3C, LATE, TABLE4, TABLE8
from isa_toolkit.figures.results_table import COLUMNS, as_table

if TYPE_CHECKING:
    from isa_toolkit.figures.study import Study


class Item(NamedTuple):
    """One figure or table that is reproduced.

    figure: Module (or object) with ``compute``, ``draw`` and ``caption``.
    title: Title in the report.
    published: Name of its rows in the paper's numbers; None where the paper prints none.
    datasets: Names of the data sets that it is about; empty for all.
    """

    figure: Any
    title: str = ""
    published: str | None = None
    datasets: tuple[str, ...] = ()

    def pictures(self, name: str, study: Study) -> dict[str, dict[str, Any]]:
        """Return the pictures of the item -> keywords of ``compute`` for each.

        A single picture has the ``name`` of the item; other data sets have none.
        """
        if self.datasets and study.dataset.name not in self.datasets:
            return {}
        pictures = getattr(self.figure, "pictures", None)
        return pictures(study) if pictures else {name: {}}

    def numbers(self, study: Study, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of ``results_table`` of an item, from the tables of its pictures.

        An item without such rows has an empty table.
        """
        measures = getattr(self.figure, "measures", None)
        if measures is not None:
            return measures(study)
        if tables and list(tables[0].columns) == list(COLUMNS):
            return tables[0]
        return as_table([])


# The appendix. Items that share runs are neighbours.
ITEMS: dict[str, Item] = {
    "first": Item(first, "Real and distilled images"),
    "fig5": Item(fig5, "Figure 5. Accuracy when easy or hard samples are dropped"),
    "fig8": Item(fig8, "Figure 8. Accuracy against step, with and without ISA"),
    "fig3c": Item(FIG3C, "Figure 3(c). Augmentation of the crucial samples"),
    "fig7": Item(fig7, "Figure 7. Crucial samples and the segment between two of them"),
    "table6": Item(table6, "Table 6. Network and ridge predictor", "table6"),
    "table7": Item(
        table6,
        "Table 7. Network and ridge predictor on ImageNet subsets",
        "table7",
        ("imagenette", "imagewoof", "imagenet64"),
    ),
    "table8": Item(TABLE8, "Table 8. Matching methods with and without", "table8"),
    "table4": Item(TABLE4, "Table 4. Meta-learning methods with and without"),
    "fig6": Item(fig6, "Figure 6. Distilled among real images"),
    "recall": Item(recall, "Diversity. Recall of real images", "diversity"),
    "information": Item(
        information,
        "Information. Predicting easy samples from hard ones, and the reverse",
        "information",
    ),
    "samples": Item(samples, "Easy and hard samples"),
    "gallery": Item(gallery, "Section G. Distilled images"),
    "regime": Item(regime, "When does dropping samples help?"),
    "late": Item(LATE, "Dropping easy samples from half of the steps"),
    "dd_ranking": Item(dd_ranking, "DD-Ranking. Scores of the distilled images"),
    "cost": Item(cost, "Cost. Time per step, with and without ISA", "cost"),
}
DEMO = {
    "first": Item(first),
    "images": Item(snapshots),
    "curve": Item(fig8),
    "table": Item(DEMO_TABLE),
}
