# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Methods with and without crucial samples and ISA, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant, setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["caption_pairs", "compute_pairs", "draw_pairs"]

Pair = tuple[str, str]
RANDOM = "random"


def compute_pairs(
    study: Study, pairs: Sequence[Pair], images_per_class: int
) -> pd.DataFrame:
    """Return the accuracy of methods with and without, and their paired differences.

    Args:
        study: the data and the runs.
        pairs: keys of ``SETTINGS``: (without, with).
        images_per_class: of the distilled sets.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`: each method's accuracy, the
        difference of each pair's second to its first (``against``), and the difference
        of all to the real images that each seed starts from, "random", where plain FRePo
        is among them.
    """
    import pandas as pd

    keys = [key for pair in pairs for key in pair]
    by_seed = study.accuracies([Variant(key) for key in keys], images_per_class)
    first = study.first_accuracies(Variant(keys[0]), images_per_class)
    parts = [by_seed, first, results_table.means(by_seed), results_table.means(first)]
    for without, with_both in pairs:
        both = by_seed[by_seed.setting.isin((without, with_both))]
        parts.append(results_table.differences(both, without))
    together = pd.concat([by_seed, first], ignore_index=True)
    parts.append(results_table.differences(together, RANDOM))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else results_table.as_table([])


@house_style
def draw_pairs(table: pd.DataFrame, pairs: Sequence[Pair]) -> Figure:
    """Return the figure: accuracies by seed, and the paired difference of each pair.

    Args:
        table: from ``compute_pairs``.
        pairs: keys of ``SETTINGS``: (without, with).

    Returns:
        The figure; percent.
    """
    rows = table[table.predictor == "network"]
    keys = [key for pair in pairs for key in pair if (rows.setting == key).any()]
    keys = [key for key in (RANDOM, *keys) if (rows.setting == key).any()]
    base = {with_both: without for without, with_both in pairs}
    figure = new_figure(6.6, 0.5 + 0.3 * (len(keys) + 1))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, key in enumerate(keys):
        look = setting(key)
        mine = rows[rows.setting == key]
        seeds = mine[mine.seed.notna()]
        left.plot(
            seeds.value, [place] * len(seeds), "o", color=look.colour, ms=3, alpha=0.5
        )
        for ax, part in (
            (left, mine[mine.seed.isna() & mine.against.isna()]),
            (right, mine[mine.seed.isna() & (mine.against == base.get(key, ""))]),
        ):
            ax.errorbar(
                part.value,
                [place] * len(part),
                xerr=[part.value - part.low, part.high - part.value],
                color=look.colour, marker="D", ms=4.5, lw=1.6, capsize=2.5,
            )  # fmt: skip
    right.axvline(0, color="#555555", lw=1)
    left.set_yticks(range(len(keys)), [setting(key).label for key in keys])
    left.set_ylim(len(keys) - 0.5, -0.5)
    left.set_xlabel("test accuracy, %")
    right.set_xlabel("paired difference, points")
    right.locator_params(axis="x", nbins=6)
    return figure


def caption_pairs(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute_pairs``.
    """
    one = table[table.seed.isna()].iloc[0]
    size = results_table.per_class(one.images_per_class)
    return (
        f"{one.dataset}, {size}, {one.n} seeds; every set is "
        "judged by the same networks and training. Left: each seed and the mean with its "
        "95 % interval over distilled sets; random real: the images that a seed starts "
        "from. Right: with minus without, seed by seed, with its 95 % interval. How "
        "crucial samples and ISA enter is our reading where the paper gives no formula."
    )
