"""Tables 6 and 7: the trained network against the ridge predictor, at every size."""

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
PREDICTORS = {"network": "network", "ridge": "ridge predictor"}


def compute(study: Study) -> pd.DataFrame:
    """Return the accuracy of both predictors at every size, with means and differences.

    Rows of ``results_table``. "random" is the real images that each seed starts from;
    differences are to "frepo".
    """
    parts = []
    for size in check_study(study).sizes:
        by_seed = study.accuracies(VARIANTS, size)
        random = study.initial_accuracies(VARIANTS[0], size)
        both = results_table.concatenate([random, by_seed])
        parts.append(results_table.with_means(both, against="frepo"))
    return results_table.concatenate(parts)


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: bars by size, one panel per predictor."""
    figure = new_figure(6.6, 2.6)
    axes = figure.subplots(1, len(PREDICTORS), sharey=True)
    rows = table[table.seed.isna() & table.against.isna()]
    sizes = sorted(rows.images_per_class.dropna().unique())
    keys = [key for key in ("random", "frepo", "isa") if (rows.setting == key).any()]
    width = 0.8 / max(len(keys), 1)
    for ax, (predictor, name) in zip(axes, PREDICTORS.items(), strict=True):
        for index, key in enumerate(keys):
            look = setting(key)
            part = rows[(rows.setting == key) & (rows.predictor == predictor)]
            part = part.set_index("images_per_class").reindex(sizes)
            shift = (index - (len(keys) - 1) / 2) * width
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
    """Return the caption of a table from ``compute``."""
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {one.n} seeds. Mean test accuracy with its 95 % interval over "
        "distilled sets. Network: new networks trained on the distilled set. Ridge "
        "predictor: ridge regression on the features of those networks. Random real: the "
        "images that each seed starts from."
    )
