# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""Figure 5: accuracy against the share of easy or of hard samples that is dropped."""

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

__all__ = ["RATIOS", "TITLE", "caption", "compute", "draw", "variants"]

TITLE = "Figure 5. Accuracy when easy or hard samples are dropped"
RATIOS = (0.1, 0.2, 0.3)
_BASE = Variant("frepo")


def variants(
    easy: Sequence[float] = RATIOS, hard: Sequence[float] = RATIOS
) -> dict[Variant, float]:
    """Return the settings of the figure with their place on its axis.

    Args:
        easy: shares dropped from the easy end, each in a setting of its own.
        hard: shares dropped from the hard end.

    Returns:
        Variant -> dropped share: none, and 10, 20, 30 % from either end.

    Source: the paper, section B; algorithms 6.2.
    """
    places = {_BASE: 0.0}
    for key, name, shares in (
        ("frepo+drop_easy", "drop_easy", easy),
        ("frepo+drop_hard", "drop_hard", hard),
    ):
        for share in shares:
            places[Variant(key, ((name, share),))] = share
    return places


def compute(
    study: Study,
    images_per_class: int = 1,
    *,
    easy: Sequence[float] = RATIOS,
    hard: Sequence[float] = RATIOS,
) -> pd.DataFrame:
    """Return accuracy against the dropped share, by seed, with means and differences.

    Args:
        study: the data and the runs.
        images_per_class: of the distilled sets.
        easy: shares dropped from the easy end.
        hard: shares dropped from the hard end.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`; ``x`` is the dropped share, 0 for
        "frepo", to which the differences are.
    """
    places = variants(easy, hard)
    by_seed = study.accuracies(list(places), images_per_class, places=places)
    return results_table.with_means(_aligned(by_seed), against="frepo")


def _aligned(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Return the table with plain FRePo at no place: it is every setting's baseline."""
    table = by_seed.copy()
    table.loc[table.setting == "frepo", "x"] = float("nan")
    return table


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: means with intervals on the left, paired differences beside.

    Args:
        table: from ``compute``.

    Returns:
        The figure; percent.
    """
    figure = new_figure(6.6, 2.7)
    left, right = figure.subplots(1, 2)
    rows = table[(table.predictor == "network") & table.seed.isna()]
    values = rows[rows.against.isna()]
    plain = values[values.setting == "frepo"]
    look = setting("frepo")
    if len(plain):
        base = plain.iloc[0]
        left.axhline(base.value, color=look.colour, lw=1.5, label=look.label)
        left.axhspan(base.low, base.high, color=look.colour, alpha=0.12, lw=0)
    right.axhline(0, color=look.colour, lw=1.5)
    shares = sorted(rows.x.dropna().unique()) or list(RATIOS)
    for key, shift in (("frepo+drop_easy", -0.4), ("frepo+drop_hard", 0.4)):
        look = setting(key)
        for ax, part in (
            (left, values[values.setting == key]),
            (right, rows[(rows.setting == key) & rows.against.notna()]),
        ):
            line = part.sort_values("x")
            ax.errorbar(
                100 * line.x + shift,
                line.value,
                yerr=[line.value - line.low, line.high - line.value],
                color=look.colour,
                marker="o",
                ms=4,
                lw=1.5,
                capsize=2.5,
                label=look.label,
            )
    for ax in (left, right):
        ax.set_xlabel("dropped share of each batch, %")
        ax.set_xticks([100 * share for share in shares])
        ax.set_xlim(100 * shares[0] - 5, 100 * shares[-1] + 5)
    left.set_ylabel("test accuracy, %")
    right.set_ylabel("paired difference, points")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {results_table.per_class(one.images_per_class)}, {one.n} seeds. Left: "
        "mean test accuracy of new networks with its 95 % interval over distilled sets. "
        "Right: the difference to plain FRePo, seed by seed (same first images, batches "
        "and networks), with its 95 % interval. An interval that includes 0 shows no "
        "difference."
    )
