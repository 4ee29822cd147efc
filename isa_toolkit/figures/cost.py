# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
"""Cost: time per step with and without crucial samples and ISA, measured in one process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.analysis.intervals import mean_interval
from isa_toolkit.benchmark import TimedLoop
from isa_toolkit.figures import results_table
from isa_toolkit.figures.strip_plot import draw_strips
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.variants import Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "caption", "compute", "draw"]

TITLE = "Cost. Time per step, with and without ISA"
# Plain FRePo looks for no partner.
VARIANTS = (Variant("frepo", (("partner", "none"),)), Variant("isa"))
_STEPS = 40
_REPEATS = 7
_HOURS = 500_000 / 3600


def compute(study: Study) -> pd.DataFrame:
    """Return seconds per step of FRePo and of ISA, alternating, at every size.

    Both compiled loops take turns in this process, each on its own state, so that what
    else the machine does strikes both.

    Args:
        study: the data and the scale; no run is needed.

    Returns:
        Rows of :mod:`isa_toolkit.figures.results_table`, by repeat (``seed``) and as means:
        ``milliseconds_per_step``, ``hours_500k_steps``, and ``isa_over_frepo_ratio`` of
        neighbouring repeats; and the paired differences to "frepo". Intervals are over
        repeats in one process.
    """
    import pandas as pd

    parts = []
    for size in study.sizes:
        timed = {
            variant.key: TimedLoop(study.experiment(variant, size, 0))
            for variant in VARIANTS
        }
        for one in timed.values():
            one.run(_STEPS)  # compiles
        seconds = {key: [] for key in timed}
        for _ in range(_REPEATS):
            for key, one in timed.items():
                seconds[key].append(_seconds_per_step(one))
        parts += [_rows(study, size, seconds)]
    return pd.concat(parts, ignore_index=True) if parts else results_table.as_table([])


def _rows(study: Study, size: int, seconds: dict[str, list[float]]) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []

    def state(key: str, quantity: str, values: np.ndarray) -> None:
        told = {
            "dataset": study.dataset.name,
            "images_per_class": size,
            "setting": key,
            "quantity": quantity,
        }
        rows.extend(
            results_table.row(**told, seed=place, value=value)
            for place, value in enumerate(values)
        )
        interval = mean_interval(values)
        rows.append(results_table.row(**told, value=interval, over="repeats"))

    for key, values in seconds.items():
        state(key, "milliseconds_per_step", 1000 * np.array(values))
        state(key, "hours_500k_steps", _HOURS * np.array(values))
    ratio = np.array(seconds["isa"]) / np.array(seconds["frepo"])
    state("isa", "isa_over_frepo_ratio", ratio)
    table = results_table.as_table(rows)
    paired = results_table.differences(table[table.seed.notna()], "frepo")
    return pd.concat([table, paired.assign(over="paired repeats")], ignore_index=True)


def _seconds_per_step(timed: TimedLoop) -> float:
    began = time.perf_counter()
    timed.run(_STEPS)
    return (time.perf_counter() - began) / _STEPS


def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: milliseconds per step at the largest size.

    Args:
        table: from ``compute``.

    Returns:
        The figure.
    """
    size = table.images_per_class.max()
    shown = table[
        (table.images_per_class == size) & (table.quantity == "milliseconds_per_step")
    ]
    return draw_strips(
        shown,
        ["frepo", "isa"],
        "frepo",
        predictor=None,
        unit="time per step, ms",
        difference="ms",
    )


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    one = table.iloc[0]
    ratios = table[(table.quantity == "isa_over_frepo_ratio") & table.seed.isna()]
    told = "; ".join(
        f"{row.images_per_class} per class {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in ratios.itertuples()
    )
    return (
        f"{one.dataset}. Time per whole step (outer and online) of compiled loops that take "
        f"turns in one process; {_REPEATS} repeats of {_STEPS} steps. Time of ISA over that "
        f"of plain FRePo, 95 % interval over repeats: {told}."
    )
