"""What is regenerated: every figure, table and number of the appendix, item by item."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from isa_toolkit.figures import (
    cost,
    fig3c,
    fig5,
    fig6,
    fig7,
    fig8,
    gallery,
    information,
    recall,
    samples,
    table4,
    table6,
    table7,
    table8,
)
from isa_toolkit.figures.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["ITEMS", "Item", "Part"]


class Part(NamedTuple):
    """One picture with its table.

    name: of the files, without suffix.
    compute: study -> table; empty where there is nothing to show.
    draw: table -> figure.
    caption: table -> what the figure shows.
    """

    name: str
    compute: Callable[[Study], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    caption: Callable[[pd.DataFrame], str]


class Item(NamedTuple):
    """One figure or table of the appendix.

    title: heading.
    parts: study -> its pictures.
    numbers: study -> rows of :mod:`isa_toolkit.figures.results_table`; None: the table of the
        first part is that.
    target: its name in the paper's numbers; None where the paper prints none.
    """

    title: str
    parts: Callable[[Study], list[Part]]
    numbers: Callable[[Study], pd.DataFrame] | None = None
    target: str | None = None


def _one(name: str, module: Any) -> Callable[[Study], list[Part]]:
    part = Part(name, module.compute, module.draw, module.caption)
    return lambda _: [part]


def _maps(_: Study) -> list[Part]:
    return [
        Part(f"fig6-{mode}", partial(fig6.compute, mode=mode), fig6.draw, fig6.caption)
        for mode in fig6.MODES
    ]


def _galleries(study: Study) -> list[Part]:
    return [
        Part(
            f"gallery-ipc{size}",
            partial(gallery.compute, images_per_class=size),
            gallery.draw,
            gallery.caption,
        )
        for size in study.sizes
    ]


def _no_numbers(_: Study) -> pd.DataFrame:
    from isa_toolkit.figures.results_table import as_table

    return as_table([])


# Those that share runs stand together.
ITEMS: dict[str, Item] = {
    "fig5": Item(fig5.TITLE, _one("fig5", fig5)),
    "fig8": Item(fig8.TITLE, _one("fig8", fig8)),
    "fig3c": Item(fig3c.TITLE, _one("fig3c", fig3c)),
    "fig7": Item(fig7.TITLE, _one("fig7", fig7), _no_numbers),
    "table6": Item(table6.TITLE, _one("table6", table6), target="table6"),
    "table7": Item(table7.TITLE, _one("table7", table7), target="table7"),
    "table8": Item(table8.TITLE, _one("table8", table8), target="table8"),
    "table4": Item(table4.TITLE, _one("table4", table4)),
    "fig6": Item(fig6.TITLE, _maps, fig6.measures),
    "recall": Item(recall.TITLE, _one("recall", recall), target="diversity"),
    "information": Item(
        information.TITLE, _one("information", information), target="information"
    ),
    "samples": Item(samples.TITLE, _one("samples", samples), _no_numbers),
    "gallery": Item(gallery.TITLE, _galleries, _no_numbers),
    "cost": Item(cost.TITLE, _one("cost", cost), target="cost"),
}
