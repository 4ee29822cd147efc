"""Tables 6 and 7: the trained network against the ridge predictor, at every size."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, plot_seeds, split, spread
from isa_toolkit.figures.variants import Variant, looks_of

VARIANTS = (Variant("frepo"), Variant("isa"))
PREDICTORS = {"network": "network", "ridge": "ridge predictor"}


def compute(study: Study, *, variants: Sequence[Variant] = VARIANTS) -> pd.DataFrame:
    """Return the accuracy of both predictors at every size, with means and differences.

    Rows of ``results_table``. "random" is the real images that each seed starts from;
    differences are to the first of the ``variants``.
    """
    parts = []
    for size in check_study(study).sizes:
        by_seed = study.accuracies(variants, size)
        random = study.initial_accuracies(variants[0], size)
        both = results_table.concatenate([random, by_seed])
        parts.append(results_table.with_means(both, against=variants[0].key))
    return results_table.concatenate(parts)


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {one.n} seeds. Mean test accuracy with its 95 % interval over "
        "distilled sets. Network: new networks trained on the distilled set. Ridge "
        "predictor: ridge regression on the features of those networks. Random real: the "
        "images that each seed starts from."
    )


@drawing({"ab": 2.6}, caption=caption, columns=results_table.COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw bars by size, one panel for each predictor."""
    by_seed, rows, _ = split(table)
    sizes = sorted(rows.images_per_class.dropna().unique())
    looks = looks_of(rows.setting)
    width = 0.8 / max(len(looks), 1)
    for ax, (predictor, name) in zip(panels, PREDICTORS.items(), strict=True):
        for index, (key, look) in enumerate(looks.items()):
            part = rows[(rows.setting == key) & (rows.predictor == predictor)]
            part = part.set_index("images_per_class").reindex(sizes)
            shift = (index - (len(looks) - 1) / 2) * width
            ax.bar(
                [at + shift for at in range(len(sizes))],
                part.value,
                0.9 * width,
                yerr=spread(part),
                color=look.colour,
                error_kw={"lw": 1, "capsize": 2},
                label=look.label,
            )
            seeds = by_seed[(by_seed.setting == key) & (by_seed.predictor == predictor)]
            x = [sizes.index(size) + shift for size in seeds.images_per_class]
            plot_seeds(ax, x, seeds, colour="black")
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.set_xlabel("images per class")
        ax.set_title(name)
        ax.set_ylim(0, 100)
    for ax in panels if panels.stacked else panels[:1]:
        ax.set_ylabel("test accuracy, %")
    panels.legend()
