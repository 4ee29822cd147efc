"""Figure 8: accuracy during the distillation, with and without ISA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, zero_line
from isa_toolkit.figures.variants import Variant, looks_of

if TYPE_CHECKING:
    import pandas as pd

VARIANTS = (Variant("frepo"), Variant("isa"))


def compute(
    study: Study, images_per_class: int = 1, *, variants: Sequence[Variant] = VARIANTS
) -> pd.DataFrame:
    """Return the accuracy at every stored step, by seed, with means and differences.

    Differences are to the first of the ``variants``. Rows of ``results_table``; ``x`` is
    the outer step, 0 for the real images that all start from. The time per step is
    in :mod:`~isa_toolkit.figures.cost`.
    """
    by_seed = check_study(study).accuracies(
        variants, images_per_class, every_snapshot=True
    )
    return results_table.with_means(by_seed, against=variants[0].key)


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    rows = table[table.against.notna()]
    others, base = (
        ", ".join(look.label for look in looks_of(dict.fromkeys(keys)).values())
        for keys in (rows.setting, rows.against)
    )
    return (
        f"{results_table.describe(table)}. (a) Accuracy of new networks, trained "
        "on the distilled set as it was at each step, on test images; thin lines are "
        f"seeds. No step is chosen by it. (b) {others} minus {base}, seed by seed, with "
        "95 % intervals."
    )


@drawing({"ab": 2.6}, caption=caption)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the curve of each setting, and its paired difference."""
    left, right = panels
    rows = table[table.predictor == "network"]
    looks = looks_of(dict.fromkeys(rows.setting))
    for key, look in looks.items():
        mine = rows[rows.setting == key]
        for _, part in mine[mine.seed.notna()].groupby("seed"):
            line = part.sort_values("x")
            left.plot(line.x, line.value, color=look.colour, lw=0.6, alpha=0.4)
        mean = mine[mine.seed.isna() & mine.against.isna()].sort_values("x")
        left.plot(mean.x, mean.value, "o-", color=look.colour, ms=3.5, label=look.label)
        paired = mine[mine.against.notna()].sort_values("x")
        if not len(paired):
            continue
        right.plot(paired.x, paired.value, "o-", color=look.colour, ms=3.5)
        right.fill_between(
            paired.x, paired.low, paired.high, color=look.colour, alpha=0.15, lw=0
        )
    for key in rows.against.dropna().unique():
        base = looks.get(key) or looks_of([key])[key]
        zero_line(right, base.label, colour=base.colour)
    for ax in panels:
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    left.set_ylabel("test accuracy, %")
    left.legend(loc="lower right")
    right.set_ylabel("paired difference, points")
