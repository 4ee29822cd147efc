# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (pandas types its columns and groups too loosely to check.)
"""The demo's pictures: accuracy against step, and the images themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.style import COLOURS, house_style, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from isa_toolkit.figures.demo import Study

__all__ = ["draw_curve", "draw_images"]

_, _, FREPO, ISA, FULL = COLOURS


@house_style
def draw_curve(table: pd.DataFrame) -> Figure:
    """Return accuracy against step: mean over seeds, every seed as a thin line.

    Args:
        table: ``Study.accuracies``.

    Returns:
        The figure.
    """
    counts = [int(count) for count in sorted(table.images_per_class.unique())]
    figure = new_figure(3.4 * len(counts), 2.8)
    axes = figure.subplots(1, len(counts), squeeze=False)[0]
    for place, count in enumerate(counts):
        ax = axes[place]
        part = table[(table.images_per_class == count) & (table.predictor == "network")]
        for setting in (FREPO, ISA):
            mine = part[part.setting == setting]
            by_seed = mine.pivot_table(index="step", columns="seed", values="accuracy")
            colour = COLOURS[setting]
            ax.plot(by_seed.index, 100 * by_seed, color=colour, lw=0.6, alpha=0.5)
            mean = 100 * by_seed.mean(axis=1)
            ax.plot(mean.index, mean, "o-", color=colour, lw=1.8, ms=3, label=setting)
        whole = 100 * part[part.setting == FULL].accuracy.mean()
        ax.axhline(whole, color=COLOURS[FULL], lw=0.8, ls="--", label=FULL)
        ax.set_xlabel("outer step")
        ax.set_title(f"{count} image{'s' * (count > 1)} per class")
        ax.set_ylim(top=100)
    axes[0].set_ylabel("test accuracy of new networks, %")
    axes[0].legend(loc="lower right", fontsize=7)
    return figure


@house_style
def draw_images(study: Study) -> Figure:
    """Return the distilled images over time, one row per setting and step (seed 0).

    Args:
        study: what was measured.

    Returns:
        The figure: one image per class, clipped to the pixel range.
    """
    count = min(key[0] for key in study.runs)
    rows = []
    for setting in (FREPO, ISA):
        run = study.runs[count, setting, 0]
        for step in run.snapshots:
            pixels = run.distilled_at(step).to_pixels()[::count]
            label = f"{setting}\nstep {step}" if step == 0 else f"step {step}"
            rows.append(ImageRow(pixels, label, COLOURS[setting]))
    return draw_grid(rows, titles=study.dataset.class_names)
