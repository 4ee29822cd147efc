# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (pandas types its columns and groups too loosely to check.)
"""The quickstart's table and pictures: one run beside random real images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from isa_toolkit import presets
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Run
from isa_toolkit.evaluation import EvaluationSettings, evaluate
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.style import COLOURS, house_style, new_figure
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Settings", "compute", "draw_accuracies", "draw_images", "settings"]


class Settings(NamedTuple):
    """How much the quickstart spends.

    steps: outer steps.
    width: channels of the first layer.
    batch_size: real images per step.
    learning_rate: of images and labels.
    fit: training of the evaluation networks; None for the published one.
    networks: how many of them.
    """

    steps: int
    width: int
    batch_size: int
    learning_rate: float
    fit: FitSettings | None
    networks: int


def settings(scale: str) -> Settings:
    """Return the settings of a scale.

    Args:
        scale: ``"quick"`` (ours: under a minute on two cores), ``"small"`` or
            ``"paper"``.

    Returns:
        The settings.

    Raises:
        ValueError: an unknown scale.
    """
    chosen = presets.scale(scale)
    return Settings(
        steps=chosen.steps,
        width=chosen.width,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        fit=None if chosen.fit is None else FitSettings(**chosen.fit),
        networks=chosen.networks,
    )


def compute(run: Run, dataset: Dataset, chosen: Settings) -> pd.DataFrame:
    """Return accuracies of the distilled set and of the real images it started from.

    Args:
        run: a finished run.
        dataset: its data.
        chosen: how to evaluate.

    Returns:
        Two rows, ``set``, ``images``, and for both predictors the mean test accuracy and
        the half width of its 95 % interval over networks, in percent.
    """
    import pandas as pd

    judge = EvaluationSettings(
        network=NetworkSettings(width=chosen.width, norm="none"),
        networks=chosen.networks,
        fit=chosen.fit,
    )
    rows = []
    for name, distilled in (
        ("distilled", run.distilled),
        ("random real", run.distilled_at(0)),
    ):
        result = evaluate(distilled, dataset, judge)
        row: dict[str, object] = {"set": name, "images": len(distilled.images)}
        for predictor in ("network", "ridge"):
            interval = result.interval(predictor)
            row[predictor] = 100 * interval.mean
            row[f"{predictor} ±"] = 100 * interval.half_width
        rows.append(row)
    return pd.DataFrame(rows)


@house_style
def draw_images(run: Run) -> Figure:
    """Return the first image of each class at every stored step, one row per step.

    Args:
        run: a finished run.

    Returns:
        The figure; pixels are clipped to [0, 1] for display.
    """
    steps = list(run.snapshots)
    first = run.distilled_at(steps[0])
    names = first.class_names
    per_class = len(first.images) // len(names)
    rows = [
        ImageRow(run.distilled_at(step).to_pixels()[::per_class], f"step {step}")
        for step in steps
    ]
    return draw_grid(rows, titles=names, image_in=0.55)


@house_style
def draw_accuracies(table: pd.DataFrame) -> Figure:
    """Return the two predictors' accuracies as bars with their intervals.

    Args:
        table: from ``compute``.

    Returns:
        The figure.
    """
    figure = new_figure(4.2, 1.9)
    axes = figure.subplots(1, 2, sharey=True)
    colours = [COLOURS["FRePo + crucial + ISA"], COLOURS["Random real"]]
    for ax, predictor in zip(axes, ("network", "ridge"), strict=True):
        widths = [0 if math.isnan(x) else x for x in table[f"{predictor} ±"]]
        ax.barh(table["set"], table[predictor], xerr=widths, color=colours)
        ax.set_xlim(0, 100)
        ax.set_xlabel(f"{predictor}, %")
    axes[0].invert_yaxis()
    return figure
