"""Table 7: Table 6 on the ImageNet subsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures import results_table, table6
from isa_toolkit.figures.study import Study

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATASETS", "TITLE", "caption", "compute", "draw"]

TITLE = "Table 7. Network and ridge predictor on ImageNet subsets"
DATASETS = ("imagenette", "imagewoof", "imagenet64")


def compute(study: Study) -> pd.DataFrame:
    """Return the rows of Table 6 where the data set is an ImageNet subset, else none.

    Args:
        study: the data and the runs.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`; empty for other data sets.
    """
    if study.dataset.name not in DATASETS:
        return results_table.as_table([])
    return table6.compute(study)


draw = table6.draw
caption = table6.caption
