# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Table 8: Matching methods with and without crucial samples and ISA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures.comparisons import caption_pairs, compute_pairs, draw_pairs
from isa_toolkit.figures.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["PAIRS", "TITLE", "caption", "compute", "draw"]

TITLE = "Table 8. Matching methods with and without"
PAIRS = (("dm", "dm+ours"), ("mtt", "mtt+ours"))


def compute(study: Study, images_per_class: int = 1) -> pd.DataFrame:
    """Return the accuracy of DM and MTT, with and without.

    Args:
        study: the data and the runs.
        images_per_class: of the distilled sets.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`; see ``compute_pairs``.

    Source: the paper, Table 8. How the two ideas enter is our
    reading (algorithms 10), the paper gives no formulas.
    """
    return compute_pairs(study, PAIRS, images_per_class)


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: accuracies, and what the two ideas change.

    Args:
        table: from ``compute``.

    Returns:
        The figure; percent.
    """
    return draw_pairs(table, PAIRS)


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    return caption_pairs(table)
