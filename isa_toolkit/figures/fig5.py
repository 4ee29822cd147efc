"""Figure 5: accuracy against the fraction of easy or of hard samples that is dropped."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import (
    Panels,
    drawing,
    plot_means,
    plot_seeds,
    split,
    zero_line,
)
from isa_toolkit.figures.variants import Variant, setting

RATIOS = (0.1, 0.2, 0.3)


def variants(
    easy: Sequence[float] = RATIOS, hard: Sequence[float] = RATIOS
) -> dict[Variant, float]:
    """Return the settings of the figure -> their dropped fraction; plain FRePo drops none.

    Source: the paper, section B; docs/algorithms.md, section 6.2.
    """
    positions = {Variant("frepo"): 0.0}
    for key, name, fractions in (
        ("frepo+drop_easy", "drop_easy", easy),
        ("frepo+drop_hard", "drop_hard", hard),
    ):
        for fraction in fractions:
            positions[Variant(key, ((name, fraction),))] = fraction
    return positions


def compute(
    study: Study,
    images_per_class: int = 1,
    *,
    easy: Sequence[float] = RATIOS,
    hard: Sequence[float] = RATIOS,
) -> pd.DataFrame:
    """Return accuracy against the dropped fraction, with means and differences.

    ``easy`` and ``hard`` are the fractions to drop from either end, one setting for each.
    Rows of ``results_table``; ``x`` is the dropped fraction, which is missing for "frepo",
    the baseline of all settings.
    """
    positions = variants(easy, hard)
    by_seed = check_study(study).accuracies(
        list(positions), images_per_class, x=positions
    )
    by_seed.loc[by_seed.setting == "frepo", "x"] = float("nan")
    return results_table.with_means(by_seed, against="frepo")


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    return (
        f"{results_table.describe(table)}. (a) Mean test accuracy of new networks "
        "with its 95 % interval over distilled sets. (b) The difference to plain FRePo, "
        "seed by seed (same initial images, batches and networks), with its 95 % interval. "
        "An interval that includes 0 shows no difference."
    )


@drawing({"ab": 2.7}, caption=caption, columns=results_table.COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw means with intervals, and paired differences, against the dropped fraction."""
    left, right = panels
    seeds, values, gains = split(table[table.predictor == "network"])
    plain = setting("frepo")
    for base in values[values.setting == "frepo"].itertuples():
        left.axhline(base.value, color=plain.colour, lw=1.5, label=plain.label)
        left.axhspan(base.low, base.high, color=plain.colour, alpha=0.12, lw=0)
    zero_line(right, plain)
    fractions = sorted(table.x.dropna().unique()) or list(RATIOS)
    for key, shift in (("frepo+drop_easy", -0.4), ("frepo+drop_hard", 0.4)):
        look = setting(key)
        for ax, part in ((left, values), (right, gains)):
            line = part[part.setting == key].sort_values("x")
            plot_means(ax, 100 * line.x + shift, line, look)
        mine = seeds[seeds.setting == key]
        plot_seeds(left, 100 * mine.x + shift, mine, colour=look.colour)
    for ax in panels:
        ax.set_xlabel("dropped fraction of each batch, %")
        ax.set_xticks([100 * fraction for fraction in fractions])
        ax.set_xlim(100 * fractions[0] - 5, 100 * fractions[-1] + 5)
    left.set_ylabel("test accuracy, %")
    right.set_ylabel("paired difference, points")
    panels.legend()
