# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false
"""Any segment of the pair of Figure 7: closed form against more and more samples of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isa_toolkit.figures import fig7
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "caption", "compute", "draw"]

TITLE = "The segment between two samples, and its mean"


def compute(
    pair: fig7.Pair,
    segment: tuple[float, float],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the pair, its loss along a segment, and running means of sampled losses.

    Args:
        pair: from :func:`isa_toolkit.figures.fig7.find_pair`.
        segment: ends (a, b), in steps away from the partner.
        samples: values of t that are drawn uniformly from it, at least 2.
        seed: of them.

    Returns:
        Rows of :func:`isa_toolkit.figures.fig7.along`, and of the kind "running" (``n``,
        ``loss``: mean over the first n samples; ``error``: its standard error, from the
        same samples).
    """
    import pandas as pd

    table = fig7.along(pair, segment, seed=seed)
    away = pair.residuals[0] - pair.residuals[1]
    positions = np.random.default_rng(seed).uniform(*segment, samples)
    losses = 0.5 * np.square(pair.residuals[0] + positions[:, None] * away).sum(1)
    count = np.arange(1, samples + 1)
    mean = np.cumsum(losses) / count
    square = np.maximum(np.cumsum(losses**2) / count - mean**2, 0)
    at = np.unique(np.geomspace(2, samples, 60).astype(int)) - 1
    running = pd.DataFrame(
        {
            "kind": "running",
            "n": count[at],
            "loss": mean[at],
            "error": np.sqrt(square[at] / (count[at] - 1)),
            "start": segment[0],
            "stop": segment[1],
        }
    )
    return pd.concat([table, running], ignore_index=True)


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the pair in its plane, the loss along the segment, and the running mean.

    Args:
        table: from ``compute``.

    Returns:
        The figure.
    """
    figure = new_figure(9.4, 2.9)
    plane, curve, means = figure.subplots(1, 3)
    fig7._draw_plane(plane, table)
    fig7._draw_curve(curve, table)
    running = table[table.kind == "running"]
    exact = table[table.kind == "mean"].iloc[0].loss
    colour = fig7._PAIR
    means.plot(running.n, running.loss, color=colour, label="mean of n samples")
    means.fill_between(
        running.n, running.loss - running.error, running.loss + running.error,
        color=colour, alpha=0.15, lw=0, label="its standard error",
    )  # fmt: skip
    means.axhline(exact, color="black", lw=1.2, ls="--", label="closed form")
    means.set_xscale("log")
    means.set_xlabel("n uniform values of t in the segment")
    means.set_ylabel("mean half squared error")
    means.legend(loc="upper right", fontsize=7)
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    exact = table[table.kind == "mean"].iloc[0]
    last = table[table.kind == "running"].iloc[-1]
    return (
        f"Segment [{exact.start:g}, {exact.stop:g}]: mean loss {exact.loss:.5f} in closed "
        f"form; {last.loss:.5f} ± {last.error:.5f} (standard error) over {int(last.n):,} "
        "sampled values of t."
    )
