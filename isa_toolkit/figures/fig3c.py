# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Figure 3(c): what to do around the crucial samples: nothing, MixUp, one step, ISA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_strips
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "VARIANTS", "caption", "compute", "draw"]

TITLE = "Figure 3(c). Augmentation of the crucial samples"
BASE = "frepo+drop_easy"
# All drop the easiest 20 %; they differ in what they do with the rest alone.
VARIANTS = tuple(Variant(key) for key in (BASE, "mixup", "single_step", "isa"))


def compute(study: Study, images_per_class: int = 1) -> pd.DataFrame:
    """Return the accuracy of each augmentation, by seed, with means and differences.

    Args:
        study: the data and the runs.
        images_per_class: of the distilled sets.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`; differences are to crucial samples
        without augmentation.

    Source: the paper, section D; what its single step and MixUp are in detail is
    UNKNOWN, our reading is algorithms 6.3.
    """
    by_seed = study.accuracies(VARIANTS, images_per_class)
    return results_table.with_means(by_seed, against=BASE)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: accuracy by seed on the left, paired differences on the right.

    Args:
        table: from ``compute``.

    Returns:
        The figure; percent.
    """
    return draw_strips(table, [variant.key for variant in VARIANTS], BASE)


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    one = table[table.seed.isna()].iloc[0]
    return (
        f"{one.dataset}, {results_table.per_class(one.images_per_class)}, {one.n} seeds; every "
        "setting drops the easiest 20 %. Left: each seed (dots) and the mean with its "
        "95 % interval over distilled sets. Right: paired difference to crucial samples "
        "without augmentation, with its 95 % interval. MixUp mixes images; a single step "
        "draws one virtual sample per pair and step; ISA integrates over the segment."
    )
