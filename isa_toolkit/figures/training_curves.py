"""Training curves of runs: loss and accuracy against step, also while they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.distillation import Run
from isa_toolkit.figures import snapshots
from isa_toolkit.figures.images import image_sheet
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure, SubFigure

# Quantity of the metrics -> kind of the row it is in, and its name in the legend.
QUANTITIES = {
    "loss": ("train", "loss"),
    "target_accuracy": ("train", "real batch, ridge predictor"),
    "accuracy": ("validation", "validation images, network"),
    "ridge_accuracy": ("validation", "validation images, ridge predictor"),
}
_LINES: dict[str, dict[str, Any]] = {
    "loss": {"lw": 1.2},
    "target_accuracy": {"lw": 0.8, "alpha": 0.6},
    "accuracy": {"marker": "o", "ms": 4, "lw": 1.5},
    "ridge_accuracy": {"marker": "s", "ms": 3, "lw": 1.0, "ls": "--"},
}
# The palette of Okabe and Ito. The colours have no meaning outside this figure.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def compute(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return what runs, by name, have recorded so far.

    One row per number: ``run`` (name), ``quantity`` (key of ``QUANTITIES``), ``step`` and
    ``value`` (the loss, or an accuracy in percent). ``target_accuracy`` is on the real
    training batch; the other accuracies are on validation images.
    """
    import pandas as pd

    rows = []
    for name, run in runs.items():
        for row in run.metrics.to_dict("records"):
            for quantity, (kind, _) in QUANTITIES.items():
                if row["kind"] == kind and quantity in row:
                    scale = 1 if quantity == "loss" else 100
                    rows.append((name, quantity, row["step"], scale * row[quantity]))
    return pd.DataFrame(rows, columns=["run", "quantity", "step", "value"])


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: the loss on the left, accuracies in percent on the right.

    Colours distinguish the accuracies of one run, or several runs.
    """
    figure = new_figure(6.6, 2.5)
    _draw_curves(figure, table)
    return figure


def _draw_curves(figure: Figure | SubFigure, table: pd.DataFrame) -> None:
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(table.run))
    for run_index, name in enumerate(names):
        for index, (quantity, (_, label)) in enumerate(QUANTITIES.items()):
            line = table[(table.run == name) & (table.quantity == quantity)]
            if not len(line):
                continue
            line = line.sort_values("step")
            at = index if len(names) == 1 else run_index
            ax = left if quantity == "loss" else right
            is_named = len(names) == 1 or quantity == "loss"
            ax.plot(
                line.step, line.value, color=_COLOURS[at % len(_COLOURS)],
                label=(label if len(names) == 1 else name) if is_named else None,
                **_LINES[quantity],
            )  # fmt: skip
    if (table.quantity == "loss").any() and (table.value > 0).all():
        left.set_yscale("log")
    for ax in (left, right):
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    left.set_ylabel("loss, mean over the batch")
    right.set_ylabel("accuracy, %")
    if len(names) > 1:
        handles = left.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=min(len(names), 3))
    elif right.lines:
        handles = right.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=3, fontsize=7)


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    names = len(set(table.run))
    which = "" if names == 1 else f"{names} runs. "
    return (
        f"{which}Left: loss of the outer step, means over logging intervals. Right: solid "
        "dots, new networks trained on the distilled set, on validation images; dashed, the "
        "ridge predictor on the features of those networks; thin, the ridge predictor on "
        "the real training batch."
    )


@house_style
def plot_run(run: Run) -> Figure:
    """Return the training curves of a run, and its images at every stored step below."""
    table = compute({run.path.name: run})
    steps = list(run.snapshots)
    if not steps:
        return draw(table)
    rows = snapshots.rows_of(snapshots.table_of(run))
    sheet = image_sheet(rows)
    height = 6.0 * sheet.shape[0] / sheet.shape[1]
    figure = new_figure(6.6, 2.5 + height)
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.5, height])
    _draw_curves(top, table)
    ax = bottom.subplots()
    ax.imshow(sheet, interpolation="none")
    ax.set_xticks([])
    middles = (np.arange(len(rows)) + 0.5) * sheet.shape[0] / len(rows)
    ax.set_yticks(middles, [row.label for row in rows])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure
