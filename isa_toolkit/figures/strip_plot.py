"""Strip plots: every seed, the mean with its interval, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import SETTINGS, Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@house_style
def draw_strips(
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str | Mapping[str, str],
    *,
    predictor: str | None = "network",
    unit: str = "test accuracy, %",
    difference: str = "points",
    looks: Mapping[str, Setting] = SETTINGS,
) -> Figure:
    """Return two panels: values of each setting, and paired differences to a baseline.

    ``table`` holds rows of ``results_table`` of one quantity, of which those of the
    ``predictor`` are drawn (None: those without one). ``keys`` are settings from top to
    bottom; missing ones are left out. ``against`` is the baseline of all, or of each key.
    """
    rows = table[
        table.predictor.isna() if predictor is None else table.predictor == predictor
    ]
    keys = [key for key in keys if (rows.setting == key).any()]
    figure = new_figure(6.6, 0.5 + 0.36 * (len(keys) + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    for index, key in enumerate(keys):
        colour = looks[key].colour
        mine = rows[rows.setting == key]
        seeds = mine[mine.seed.notna()]
        left.plot(
            seeds.value, [index] * len(seeds), "o", color=colour, ms=3, alpha=0.45
        )
        means = mine[mine.seed.isna()]
        base = against if isinstance(against, str) else against.get(key, "")
        panels = {left: means.against.isna(), right: means.against == base}
        for ax, is_shown in panels.items():
            part = means[is_shown]
            ax.errorbar(
                part.value, [index] * len(part),
                xerr=[part.value - part.low, part.high - part.value],
                color=colour, marker="D", ms=5, lw=1.8, capsize=3,
            )  # fmt: skip
    zero = looks[against].colour if isinstance(against, str) else "#555555"
    right.axvline(0, color=zero, lw=1.2)
    left.set_yticks(range(len(keys)), [looks[key].label for key in keys])
    left.set_ylim(len(keys) - 0.5, -0.5)
    left.set_xlabel(unit)
    right.set_xlabel(f"paired difference, {difference}")
    right.locator_params(axis="x", nbins=5)
    return figure
