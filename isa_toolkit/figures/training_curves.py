"""Training curves of runs: loss and accuracy against step, also while they run."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.distillation import Run
from isa_toolkit.distillation.run_names import differing_settings, settings_text
from isa_toolkit.figures import snapshots
from isa_toolkit.figures.images import image_sheet, plot_grid
from isa_toolkit.figures.style import Panels, Size, drawing, log_scale, width_in

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
_COLUMNS = ("run", "quantity", "step", "value", "objective")
_LOSS, _ACCURACY = "loss, mean over the batch", "accuracy, %"
# Points of a line that a browser is sent.
_MOST = 1000
# The palette of Okabe and Ito. The colours have no meaning outside this figure.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@typed
def compute(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return what runs, by name, have recorded so far.

    One row per number: ``run`` (name), ``quantity`` (key of ``QUANTITIES``), ``step``,
    ``value`` (the loss, or an accuracy in percent) and ``objective``, which is the same for
    runs whose losses can be compared. ``target_accuracy`` is on the real training batch; the
    other accuracies are on validation images.
    """
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
    return pd.DataFrame(rows, columns=list(_COLUMNS))


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


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    names, losses = len(set(table.run)), max(table.objective.nunique(), 1)
    which = "" if names == 1 else f"{names} runs. "
    first = "(a)" if losses == 1 else f"(a) to ({string.ascii_lowercase[losses - 1]})"
    apart = (
        ", apart where they are means over other samples, or of other terms, and cannot be "
        "compared"
    )
    return (
        f"{which}{first} Loss of the outer step, means over logging intervals"
        f"{apart if losses > 1 else ''}. ({string.ascii_lowercase[losses]}) Solid dots, new "
        "networks trained on the distilled set, on validation images; dashed, the ridge "
        "predictor on the features of those networks; thin, the ridge predictor on the real "
        "training batch."
    )


def _rows(table: pd.DataFrame) -> dict[str, float]:
    """Return a row of panels: one for each kind of loss, and one for accuracies."""
    return {string.ascii_lowercase[: max(table.objective.nunique(), 1) + 1]: 2.5}


class _Curve(NamedTuple):
    """One line: its panel, its name in the legend or None, its colour and its points."""

    panel: int
    label: str | None
    colour: str
    quantity: str
    points: Any


def _objectives(table: pd.DataFrame) -> dict[str, bool]:
    """Return the panels of losses, and whether all of its losses have a logarithm."""
    losses = table[table.quantity == "loss"].groupby("objective").value.min()
    return {
        one: one in losses and bool(losses[one] > 0)
        for one in dict.fromkeys(table.objective)
    } or {"": False}


def _curves(table: pd.DataFrame) -> Iterator[_Curve]:
    names, objectives = list(dict.fromkeys(table.run)), list(_objectives(table))
    found = dict(list(table.groupby(["run", "quantity"], sort=False)))
    for run_index, name in enumerate(names):
        for index, (quantity, (_, label)) in enumerate(QUANTITIES.items()):
            if (name, quantity) not in found:
                continue
            line = found[name, quantity].sort_values("step")
            at = index if len(names) == 1 else run_index
            left = objectives.index(line.objective.iloc[0])
            is_named = len(names) == 1 or quantity == "loss"
            yield _Curve(
                panel=left if quantity == "loss" else len(objectives),
                label=(label if len(names) == 1 else name) if is_named else None,
                colour=_COLOURS[at % len(_COLOURS)],
                quantity=quantity,
                points=line,
            )


def _draw(panels: Panels, axes: Sequence[Axes], table: pd.DataFrame) -> None:
    *lefts, right = axes
    for one in _curves(table):
        axes[one.panel].plot(
            one.points.step, one.points.value, color=one.colour, label=one.label,
            **_LINES[one.quantity],
        )  # fmt: skip
    for left, (objective, is_log) in zip(
        lefts, _objectives(table).items(), strict=True
    ):
        if is_log:
            log_scale(left.yaxis)
        # One setting per line, clear of the letter of the panel.
        left.set_title(re.sub(r", (?=\w+=)", ",\n", objective))
    for ax in axes:
        ax.set_xlabel("outer step")
        ax.set_xlim(left=0)
    lefts[0].set_ylabel(_LOSS)
    right.set_ylabel(_ACCURACY)
    panels.legend(*(lefts if table.run.nunique() > 1 else [right]))


@takes_table(_COLUMNS)
def for_browser(table: pd.DataFrame) -> dict[str, Any]:
    """Return what a browser needs to draw the curves; nothing for an empty table.

    Returns:
        ``panels``, each with ``title``, ``label`` of its vertical axis, ``log`` (whether that
        is logarithmic) and ``lines`` (``name``, ``colour``, ``look`` and ``points``, pairs
        (step, value), at most a thousand of a line); ``legend``, pairs (name, colour).
    """
    if not len(table):
        return {}
    panels: list[dict[str, Any]] = [
        {"title": objective, "label": _LOSS, "log": is_log, "lines": []}
        for objective, is_log in _objectives(table).items()
    ]
    panels.append({"title": "", "label": _ACCURACY, "log": False, "lines": []})
    legend, is_single = {}, table.run.nunique() == 1
    for one in _curves(table):
        name = f"{one.points.run.iloc[0]}: {QUANTITIES[one.quantity][1]}"
        points = one.points[["step", "value"]].to_numpy()
        # What is not finite has no place, nor a form in JSON.
        points = points[np.isfinite(points).all(axis=1)]
        if not len(points):
            continue
        chosen = np.linspace(0, len(points) - 1, min(len(points), _MOST)).astype(int)
        panels[one.panel]["lines"].append(
            {
                "name": name, "colour": one.colour, "look": _LINES[one.quantity],
                "points": points[chosen].tolist(),
            }
        )  # fmt: skip
        if one.label and not (is_single and one.quantity == "loss"):
            legend[one.label] = one.colour
    return {"panels": panels, "legend": list(legend.items())}


@drawing(_rows, caption=caption, columns=_COLUMNS)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the loss, and the accuracies in percent.

    Colours distinguish the accuracies of one run, or several runs. Losses that are means
    over other samples, or of other terms, have panels of their own.
    """
    _draw(panels, panels, table)


@typed
def plot_run(run: Run, *, ax: Any = None, size: Size = "page") -> Any:
    """Return the training curves of a run, and its images at every stored step below.

    ``ax`` are two axes to draw into, three with the images; then nothing is returned.
    ``size`` is a width, "column", "text" or "page", or (width, height) in inches.
    """
    table = compute({run.path.name: run})
    if not list(run.snapshots):
        return draw(table, ax=ax, size=size)
    rows = snapshots.rows_of(snapshots.table_of(run))
    sheet = image_sheet(rows)
    # Two thirds of an inch are for the labels of the rows.
    height = (width_in(size) - 0.65) * sheet.shape[0] / sheet.shape[1]

    def plot(panels: Panels, table: pd.DataFrame) -> None:
        _draw(panels, panels[:2], table)
        plot_grid(panels[2], rows)
        if panels.figure is not None:
            panels[2].set_aspect("auto")

    def describe(table: pd.DataFrame) -> str:
        return (
            f"{caption(table)} (c) The first image of each class at every stored step."
        )

    made = drawing({"ab": 2.5, "cc": height}, caption=describe)(plot)
    return made(table, ax=ax, size=size)
