"""Training curves of runs: loss and accuracy against step, also while they run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.distillation import Run
from isa_toolkit.distillation.run_names import differing_settings, settings_text
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
_OBJECTIVE = (
    "augmentation", "drop_easy", "drop_hard", "label_scale", "reduction", "segment",
    "select_from", "select_from_accuracy",
)  # fmt: skip
# The palette of Okabe and Ito. The colours have no meaning outside this figure.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def compute(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return what runs, by name, have recorded so far.

    One row per number: ``run`` (name), ``quantity`` (key of ``QUANTITIES``), ``step``,
    ``value`` (the loss, or an accuracy in percent) and ``objective``, which is the same for
    runs whose losses can be compared. ``target_accuracy`` is on the real training batch; the
    other accuracies are on validation images.
    """
    import pandas as pd

    rows = []
    objectives = differing_settings(
        [_objective(run.experiment) for run in runs.values()]
    )
    for (name, run), values in zip(runs.items(), objectives, strict=True):
        objective = settings_text(values)
        for row in run.metrics.to_dict("records"):
            for quantity, (kind, _) in QUANTITIES.items():
                if row["kind"] == kind and quantity in row:
                    scale = 1 if quantity == "loss" else 100
                    value = scale * row[quantity]
                    rows.append((name, quantity, row["step"], value, objective))
    columns = ["run", "quantity", "step", "value", "objective"]
    return pd.DataFrame(rows, columns=columns)


def _objective(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide over which samples, and of what, a loss is a mean."""
    method = experiment.get("method", {})
    wanted = {"name": method.get("name", "")}
    wanted |= {name: method[name] for name in _OBJECTIVE if name in method}
    return {
        "dataset": {"name": experiment.get("dataset", {}).get("name", "")},
        "method": wanted,
        "network": {"name": ""},
    }


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: the loss on the left, accuracies in percent on the right.

    Colours distinguish the accuracies of one run, or several runs. Losses that are means
    over other samples, or of other terms, have axes of their own.
    """
    figure = new_figure(4.4 + 2.2 * max(table.objective.nunique(), 1), 2.5)
    _draw_curves(figure, table)
    return figure


def _draw_curves(figure: Figure | SubFigure, table: pd.DataFrame) -> None:
    names = list(dict.fromkeys(table.run))
    objectives = list(dict.fromkeys(table.objective)) or [""]
    *lefts, right = figure.subplots(1, len(objectives) + 1)
    for run_index, name in enumerate(names):
        for index, (quantity, (_, label)) in enumerate(QUANTITIES.items()):
            line = table[(table.run == name) & (table.quantity == quantity)]
            if not len(line):
                continue
            line = line.sort_values("step")
            at = index if len(names) == 1 else run_index
            left = lefts[objectives.index(line.objective.iloc[0])]
            ax = left if quantity == "loss" else right
            is_named = len(names) == 1 or quantity == "loss"
            ax.plot(
                line.step, line.value, color=_COLOURS[at % len(_COLOURS)],
                label=(label if len(names) == 1 else name) if is_named else None,
                **_LINES[quantity],
            )  # fmt: skip
    losses = table[table.quantity == "loss"]
    for left, objective in zip(lefts, objectives, strict=True):
        mine = losses[losses.objective == objective]
        if len(mine) and (mine.value > 0).all():
            left.set_yscale("log")
        left.set_title(objective)
    for ax in (*lefts, right):
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    lefts[0].set_ylabel("loss, mean over the batch")
    right.set_ylabel("accuracy, %")
    if len(names) > 1:
        found = [ax.get_legend_handles_labels() for ax in lefts]
        handles, labels = (
            list(itertools.chain(*part)) for part in zip(*found, strict=True)
        )
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
    elif right.lines:
        handles = right.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=3, fontsize=7)


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    names = len(set(table.run))
    which = "" if names == 1 else f"{names} runs. "
    if table.objective.nunique() > 1:
        which += (
            "Losses have axes of their own where they are means over other samples, or of "
            "other terms: they cannot be compared. "
        )
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
