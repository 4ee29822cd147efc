"""Figure 8: accuracy during the distillation, with and without ISA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant, setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VARIANTS = (Variant("frepo"), Variant("isa"))


def compute(study: Study, images_per_class: int = 1) -> pd.DataFrame:
    """Return the accuracy at every stored step, by seed, with means and differences.

    Rows of ``results_table``; ``x`` is the outer step, 0 for the real images that both
    start from. The time per step is in :mod:`~isa_toolkit.figures.cost`.
    """
    by_seed = check_study(study).accuracies(
        VARIANTS, images_per_class, every_snapshot=True
    )
    return results_table.with_means(by_seed, against="frepo")


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: both curves, and their paired difference."""
    figure = new_figure(6.6, 2.6)
    left, right = figure.subplots(1, 2)
    rows = table[table.predictor == "network"]
    for variant in VARIANTS:
        look = setting(variant.key)
        mine = rows[rows.setting == variant.key]
        for _, part in mine[mine.seed.notna()].groupby("seed"):
            line = part.sort_values("x")
            left.plot(line.x, line.value, color=look.colour, lw=0.6, alpha=0.4)
        mean = mine[mine.seed.isna() & mine.against.isna()].sort_values("x")
        left.plot(mean.x, mean.value, "o-", color=look.colour, ms=3.5, label=look.label)
        paired = mine[mine.against.notna()].sort_values("x")
        right.plot(paired.x, paired.value, "o-", color=look.colour, ms=3.5)
        right.fill_between(
            paired.x, paired.low, paired.high, color=look.colour, alpha=0.15, lw=0
        )
    right.axhline(0, color=setting("frepo").colour, lw=1.2)
    for ax in (left, right):
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    left.set_ylabel("test accuracy, %")
    left.legend(loc="lower right")
    right.set_ylabel("paired difference, points")
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    return (
        f"{results_table.describe(table)}. Left: accuracy of new networks, trained "
        "on the distilled set as it was at each step, on test images; thin lines are "
        f"seeds. No step is chosen by it. Right: {setting('isa').label} minus FRePo, seed "
        "by seed, with its 95 % interval."
    )
