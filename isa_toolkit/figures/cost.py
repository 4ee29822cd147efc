"""Cost: time per step with and without crucial samples and ISA, in one process."""

from __future__ import annotations

import functools

import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.benchmark import TimedLoop, take_turns
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing, plot_strips, strip_rows
from isa_toolkit.figures.variants import Variant

# Plain FRePo looks for no partner.
VARIANTS = (Variant("frepo", (("partner", "none"),)), Variant("isa"))
_STEPS = 40
_REPEATS = 7
_HOURS = 500_000 / 3600


def compute(study: Study) -> pd.DataFrame:
    """Return the time per step of FRePo and of ISA at every size; it needs no run.

    The two compiled loops alternate in this process, each on its own state, so that other
    load on the machine affects both.

    Returns:
        Rows of ``results_table``, by repeat (``seed``) and as means:
        ``milliseconds_per_step``, ``hours_500k_steps``, and ``isa_over_frepo_ratio`` of
        neighbouring repeats; and the paired differences to "frepo". Intervals are over
        repeats in one process.
    """
    parts = []
    for size in check_study(study).sizes:
        loops = {one.key: TimedLoop(study.experiment(one, size, 0)) for one in VARIANTS}
        functions = {
            key: functools.partial(one.run, _STEPS) for key, one in loops.items()
        }
        for function in functions.values():
            function()  # compiles
        turns = take_turns(functions, _REPEATS)
        seconds = turns.pivot(index="round", columns="name", values="wall") / _STEPS
        cells = [
            (
                {"setting": key, "seed": repeat},
                {
                    "milliseconds_per_step": 1000 * seconds[key][repeat],
                    "hours_500k_steps": _HOURS * seconds[key][repeat],
                },
            )
            for repeat in seconds.index
            for key in functions
        ]
        ratios = seconds["isa"] / seconds["frepo"]
        cells += [
            ({"setting": "isa", "seed": repeat}, {"isa_over_frepo_ratio": ratio})
            for repeat, ratio in ratios.items()
        ]
        table = results_table.measured(
            cells, dataset=study.dataset.name, images_per_class=size
        )
        parts += [
            table,
            results_table.means(table, over="repeats"),
            results_table.differences(table, "frepo", over="paired repeats"),
        ]
    return results_table.concatenate(parts)


@takes_table(results_table.COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    ratios = table[(table.quantity == "isa_over_frepo_ratio") & table.seed.isna()]
    listed = "; ".join(
        f"{row.images_per_class} per class {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
        for row in ratios.itertuples()
    )
    return (
        f"{table.dataset.iloc[0]}. Time per whole step (outer and online) of compiled "
        f"loops that alternate in one process; {_REPEATS} repeats of {_STEPS} steps. Time "
        f"of ISA over that of plain FRePo, 95 % interval over repeats: {listed}."
    )


@drawing(strip_rows(2), caption=caption, columns=results_table.COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the milliseconds per step at the largest size, and the paired difference."""
    size = table.images_per_class.max()
    plot_strips(
        panels,
        table[
            (table.images_per_class == size)
            & (table.quantity == "milliseconds_per_step")
        ],
        ["frepo", "isa"],
        "frepo",
        unit="time per step, ms",
        difference="ms",
    )
