"""Figure 8: accuracy during the distillation, with and without ISA."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, split, zero_line
from isa_toolkit.figures.variants import Variant, looks_of

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


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    rows = table[table.against.notna()]
    others, base = (
        ", ".join(look.label for look in looks_of(keys).values())
        for keys in (rows.setting, rows.against)
    )
    return (
        f"{results_table.describe(table)}. (a) Accuracy of new networks, trained "
        "on the distilled set as it was at each step, on test images; thin lines are "
        f"seeds. No step is chosen by it. (b) {others} minus {base}, seed by seed, with "
        "95 % intervals."
    )


@drawing({"ab": 2.6}, caption=caption, columns=results_table.COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the curve of each setting, and its paired difference."""
    left, right = panels
    rows = table[table.predictor == "network"]
    looks = looks_of([*rows.setting, *rows.against.dropna()])
    seeds, means, gains = (part.sort_values("x") for part in split(rows))
    for key in rows.setting.unique():
        look = looks[key]
        for _, line in seeds[seeds.setting == key].groupby("seed"):
            left.plot(line.x, line.value, color=look.colour, lw=0.6, alpha=0.4)
        mean, gain = means[means.setting == key], gains[gains.setting == key]
        left.plot(mean.x, mean.value, "o-", color=look.colour, ms=3.5, label=look.label)
        if len(gain):
            right.plot(gain.x, gain.value, "o-", color=look.colour, ms=3.5)
            right.fill_between(
                gain.x, gain.low, gain.high, color=look.colour, alpha=0.15, lw=0
            )
    for key in gains.against.unique():
        zero_line(right, looks[key])
    for ax in panels:
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    left.set_ylabel("test accuracy, %")
    left.legend(loc="lower right")
    right.set_ylabel("paired difference, points")
