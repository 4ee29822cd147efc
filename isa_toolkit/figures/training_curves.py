# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false
"""The course of runs: loss and accuracy against step, also while they go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isa_toolkit.distillation import Run
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["QUANTITIES", "TITLE", "caption", "compute", "draw"]

TITLE = "Loss and accuracy against step"
# Of the rows of metrics: what is drawn, where it comes from, its name in the legend.
QUANTITIES = {
    "loss": ("train", "loss"),
    "target_accuracy": ("train", "real batch, ridge predictor"),
    "accuracy": ("validation", "validation images, network"),
    "ridge_accuracy": ("validation", "validation images, ridge predictor"),
}
_LOOKS: dict[str, dict[str, Any]] = {
    "loss": {"lw": 1.2},
    "target_accuracy": {"lw": 0.8, "alpha": 0.6},
    "accuracy": {"marker": "o", "ms": 4, "lw": 1.5},
    "ridge_accuracy": {"marker": "s", "ms": 3, "lw": 1.0, "ls": "--"},
}
# Okabe and Ito's palette; a run is not a method, so its colour is only of this figure.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def compute(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return what the runs have recorded so far.

    Args:
        runs: name -> run, going on or ended.

    Returns:
        One row per number: ``run`` (name), ``quantity`` (key of ``QUANTITIES``), ``step`` and
        ``value`` (the loss, or an accuracy in percent). Accuracies of ``target_accuracy``
        are on the real batch that is learned from; the others on validation images.
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
    """Return the figure: the loss on the left, accuracies on the right.

    Args:
        table: from ``compute``.

    Returns:
        The figure; percent. Where there is one run, colours tell the accuracies apart,
        else the runs.
    """
    figure = new_figure(6.6, 2.5)
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(table.run))
    for place, name in enumerate(names):
        for number, (quantity, (_, label)) in enumerate(QUANTITIES.items()):
            line = table[(table.run == name) & (table.quantity == quantity)]
            if not len(line):
                continue
            line = line.sort_values("step")
            at = number if len(names) == 1 else place
            ax = left if quantity == "loss" else right
            is_named = len(names) == 1 or quantity == "loss"
            ax.plot(
                line.step, line.value, color=_COLOURS[at % len(_COLOURS)],
                label=(label if len(names) == 1 else name) if is_named else None,
                **_LOOKS[quantity],
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
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    names = len(set(table.run))
    which = "" if names == 1 else f"{names} runs. "
    return (
        f"{which}Left: loss of the outer step, means over logging intervals. Right: solid "
        "dots, new networks trained on the distilled set, on validation images; dashed, the "
        "ridge predictor on the features of those networks; thin, the ridge predictor on "
        "the real batch it learns from."
    )
