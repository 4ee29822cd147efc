"""Strip plots: every seed, the mean with its interval, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_intervals", "draw_strips"]


@house_style
def draw_strips(
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str | Mapping[str, str],
    *,
    predictor: str | None = "network",
    unit: str = "test accuracy, %",
    difference: str = "points",
) -> Figure:
    """Return two panels: values of each setting, and paired differences to a baseline.

    Args:
        table: Rows of ``results_table`` of one quantity.
        keys: Keys of settings, from top to bottom; missing ones are left out.
        against: Key of the baseline of all differences; or, for each key, its own.
        predictor: Name of the predictor whose rows are drawn; None for rows without one.
        unit: Name of the values, with their unit.
        difference: Unit of the differences.
    """
    rows = table[
        table.predictor.isna() if predictor is None else table.predictor == predictor
    ]
    keys = [key for key in keys if (rows.setting == key).any()]
    figure = new_figure(6.6, 0.5 + 0.36 * (len(keys) + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    for index, key in enumerate(keys):
        colour = setting(key).colour
        mine = rows[rows.setting == key]
        seeds = mine[mine.seed.notna()]
        left.plot(
            seeds.value, [index] * len(seeds), "o", color=colour, ms=3, alpha=0.45
        )
        means = mine[mine.seed.isna()]
        base = against if isinstance(against, str) else against.get(key, "")
        draw_intervals(left, means[means.against.isna()], index, colour)
        draw_intervals(right, means[means.against == base], index, colour)
    zero = setting(against).colour if isinstance(against, str) else "#555555"
    right.axvline(0, color=zero, lw=1.2)
    left.set_yticks(range(len(keys)), [setting(key).label for key in keys])
    left.set_ylim(len(keys) - 0.5, -0.5)
    left.set_xlabel(unit)
    right.set_xlabel(f"paired difference, {difference}")
    right.locator_params(axis="x", nbins=6)
    return figure


def draw_intervals(ax: Axes, rows: pd.DataFrame, y: float, colour: str) -> None:
    """Draw means as diamonds with horizontal intervals.

    Args:
        ax: Axes to draw in.
        rows: Rows of ``results_table``.
        y: Vertical position.
        colour: Hexadecimal colour.
    """
    ax.errorbar(
        rows.value,
        [y] * len(rows),
        xerr=[rows.value - rows.low, rows.high - rows.value],
        color=colour, marker="D", ms=5, lw=1.8, capsize=3,
    )  # fmt: skip
