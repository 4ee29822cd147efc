# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Settings side by side: every seed, the mean with its interval, paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["draw_strips"]


@house_style
def draw_strips(
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str,
    *,
    predictor: str | None = "network",
    unit: str = "test accuracy, %",
    difference: str = "points",
) -> Figure:
    """Return two panels: values of each setting, and paired differences to one of them.

    Args:
        table: rows of :mod:`isa_toolkit.figures.results_table` of one quantity.
        keys: settings, from top to bottom.
        against: the setting of the differences.
        predictor: whose rows; None for rows without one.
        unit: of the values.
        difference: unit of the differences.

    Returns:
        The figure.
    """
    rows = table[
        table.predictor.isna() if predictor is None else table.predictor == predictor
    ]
    there = [key for key in keys if (rows.setting == key).any()]
    figure = new_figure(6.6, 0.5 + 0.36 * (len(there) + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, key in enumerate(there):
        look = setting(key)
        mine = rows[rows.setting == key]
        seeds = mine[mine.seed.notna()]
        left.plot(
            seeds.value, [place] * len(seeds), "o", color=look.colour, ms=3, alpha=0.45
        )
        for ax, part in (
            (left, mine[mine.seed.isna() & mine.against.isna()]),
            (right, mine[mine.seed.isna() & (mine.against == against)]),
        ):
            ax.errorbar(
                part.value,
                [place] * len(part),
                xerr=[part.value - part.low, part.high - part.value],
                color=look.colour, marker="D", ms=5, lw=1.8, capsize=3,
            )  # fmt: skip
    base = setting(against)
    right.axvline(0, color=base.colour, lw=1.2)
    left.set_yticks(range(len(there)), [setting(key).label for key in there])
    left.set_ylim(len(there) - 0.5, -0.5)
    left.set_xlabel(unit)
    right.set_xlabel(f"paired difference, {difference}")
    right.locator_params(axis="x", nbins=6)
    return figure
