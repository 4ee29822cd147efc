# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Table 6: the trained network against the ridge predictor, at every size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant, setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "VARIANTS", "caption", "compute", "draw"]

TITLE = "Table 6. Network and ridge predictor"
BASE = Variant("frepo")
VARIANTS = (BASE, Variant("isa"))
PREDICTORS = {"network": "network", "krr": "ridge predictor"}


def compute(study: Study) -> pd.DataFrame:
    """Return both predictors' accuracy at every size, with means and differences.

    Args:
        study: the data and the runs.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`. Beside the methods, "random" is the
        real images that each seed starts from; differences are to "frepo".
    """
    import pandas as pd

    parts = []
    for size in study.sizes:
        by_seed = study.accuracies(VARIANTS, size)
        first = study.first_accuracies(BASE, size)
        parts.append(
            results_table.with_means(_joined([first, by_seed]), against="frepo")
        )
    return pd.concat(parts, ignore_index=True) if parts else results_table.as_table([])


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    tables = [table for table in tables if len(table)]
    return (
        pd.concat(tables, ignore_index=True) if tables else results_table.as_table([])
    )


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the table as a picture: one panel per predictor, sizes side by side.

    Args:
        table: from ``compute``.

    Returns:
        The figure; percent.
    """
    figure = new_figure(6.6, 2.6)
    axes = figure.subplots(1, len(PREDICTORS), sharey=True)
    rows = table[table.seed.isna() & table.against.isna()]
    sizes = sorted(rows.images_per_class.dropna().unique())
    keys = [key for key in ("random", "frepo", "isa") if (rows.setting == key).any()]
    width = 0.8 / max(len(keys), 1)
    for ax, (predictor, name) in zip(axes, PREDICTORS.items(), strict=True):
        for place, key in enumerate(keys):
            look = setting(key)
            part = rows[(rows.setting == key) & (rows.predictor == predictor)]
            part = part.set_index("images_per_class").reindex(sizes)
            shift = (place - (len(keys) - 1) / 2) * width
            ax.bar(
                [at + shift for at in range(len(sizes))],
                part.value,
                0.9 * width,
                yerr=[part.value - part.low, part.high - part.value],
                color=look.colour,
                error_kw={"lw": 1, "capsize": 2},
                label=look.label,
            )
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.set_xlabel("images per class")
        ax.set_title(name)
        ax.set_ylim(0, 100)
    axes[0].set_ylabel("test accuracy, %")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(keys))
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the table shows.

    Args:
        table: from ``compute``.
    """
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {one.n} seeds. Mean test accuracy with its 95 % interval over "
        "distilled sets. Network: new networks trained on the distilled set. Ridge "
        "predictor: ridge regression on the features of those networks. Random real: the "
        "images that each seed starts from."
    )
