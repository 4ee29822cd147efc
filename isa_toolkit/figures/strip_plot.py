"""Strip plots: every seed, the mean with its interval, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures.style import Panels, zero_line
from isa_toolkit.figures.variants import Setting, looks_of

if TYPE_CHECKING:
    import pandas as pd


def strip_rows(count: int) -> dict[str, float]:
    """Return the rows of panels of ``plot_strips`` for a number of settings."""
    return {"ab": 0.55 + 0.36 * (count + 1)}


def plot_strips(
    panels: Panels,
    table: pd.DataFrame,
    keys: Sequence[str],
    against: str | Mapping[str, str],
    *,
    predictor: str | None = "network",
    unit: str = "test accuracy, %",
    difference: str = "points",
    looks: Mapping[str, Setting] | None = None,
) -> None:
    """Draw two panels: values of each setting, and paired differences to a baseline.

    ``table`` holds rows of ``results_table`` of one quantity, of which those of the
    ``predictor`` are drawn (None: those without one). ``keys`` are settings from top to
    bottom; missing ones are left out. ``against`` is the baseline of all, or of each key;
    ``looks`` are labels and colours by key, those of ``looks_of`` for None.
    """
    rows = table[
        table.predictor.isna() if predictor is None else table.predictor == predictor
    ]
    looks = looks_of(keys) if looks is None else looks
    keys = [key for key in keys if (rows.setting == key).any()]
    left, right = panels
    for index, key in enumerate(keys):
        colour = looks[key].colour
        mine = rows[rows.setting == key]
        seeds = mine[mine.seed.notna()]
        left.plot(
            seeds.value, [index] * len(seeds), "o", color=colour, ms=3, alpha=0.45
        )
        means = mine[mine.seed.isna()]
        base = against if isinstance(against, str) else against.get(key, "")
        shown = {left: means.against.isna(), right: means.against == base}
        for ax, is_shown in shown.items():
            part = means[is_shown]
            ax.errorbar(
                part.value, [index] * len(part),
                xerr=[part.value - part.low, part.high - part.value],
                color=colour, marker="D", ms=5, lw=1.8, capsize=3,
            )  # fmt: skip
    if isinstance(against, str):
        base = looks.get(against) or looks_of([against])[against]
        zero_line(right, base.label, colour=base.colour, axis="x")
    else:
        zero_line(right, "without", axis="x")
    names = [looks[key].label for key in keys]
    for ax in panels:
        ax.set_yticks(range(len(keys)), names)
        ax.set_ylim(len(keys) - 0.5, -0.5)
        ax.locator_params(axis="x", nbins=5)
    right.tick_params(labelleft=panels.stacked)
    left.set_xlabel(unit)
    right.set_xlabel(f"paired difference, {difference}")
