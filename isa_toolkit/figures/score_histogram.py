# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false
"""Crucial samples: where the cut lies among the scores, and which classes it takes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.datasets import Dataset
from isa_toolkit.figures.style import house_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "caption", "composition", "compute", "draw"]

TITLE = "Scores of the real images, and what is dropped"
_BINS = 60
_EASY, _KEPT, _HARD = "#E69F00", "#0072B2", "#009E73"
_LOOKS = {"easy": _EASY, "kept": _KEPT, "hard": _HARD}


def compute(
    scores: np.ndarray, *, drop_easy: float = 0.0, drop_hard: float = 0.0
) -> pd.DataFrame:
    """Return the histogram of the scores, part by part.

    Args:
        scores: of the real images, large is hard, [n], as from ``information.scores``.
        drop_easy: share dropped from the easy end.
        drop_hard: share dropped from the hard end.

    Returns:
        One row per bin and part ("easy", "kept", "hard"): ``part``, ``left``, ``right`` (ends
        of the bin, equal in the logarithm), ``count``, and of the whole part ``samples``
        and its range ``least`` to ``largest``.

    Raises:
        ValueError: scores are not finite, a share out of range.

    Source: ranks and counts as `losses.crucial` drops them, over all images instead of
    a batch.
    """
    import pandas as pd

    kept = ranking.kept(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    order = ranking.order(scores)
    easy = ranking.dropped_count(len(order), drop_easy)
    masks = {name: np.zeros(len(order), bool) for name in _LOOKS}
    masks["kept"] = kept
    masks["easy"][order[:easy]] = True
    masks["hard"] = ~kept & ~masks["easy"]
    # One sample in a thousand may be next to 0, where a logarithm has no end.
    floor = max(float(np.quantile(scores, 0.001)), float(np.finfo(np.float32).tiny))
    positive = np.maximum(scores, floor)
    low, high = positive.min(), positive.max()
    edges = np.geomspace(low, max(high, low * (1 + 1e-6)), _BINS + 1)
    # Rounding must leave no extreme outside.
    edges[0], edges[-1] = low, max(high, edges[-1])
    parts = []
    for name, mask in masks.items():
        mine = positive[mask]
        parts.append(
            pd.DataFrame(
                {
                    "part": name,
                    "left": edges[:-1],
                    "right": edges[1:],
                    "count": np.histogram(mine, edges)[0],
                    "samples": len(mine),
                    "least": mine.min() if len(mine) else np.nan,
                    "largest": mine.max() if len(mine) else np.nan,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def composition(
    scores: np.ndarray,
    dataset: Dataset,
    *,
    share: float = 0.2,
    end: str = "easy",
) -> pd.DataFrame:
    """Return which classes the dropped samples are of.

    Args:
        scores: of the training images, large is hard, [n].
        dataset: whose training images.
        share: fraction that is dropped, above 0 and below 1.
        end: "easy" or "hard".

    Returns:
        One row per class: ``label``, ``images``, ``dropped``, ``dropped_percent`` of the class,
        ``expected_percent`` (the same for all), ``residual`` (about standard normal if the
        class did not matter), and of all classes ``chi_square`` and ``p_value``.

    Raises:
        ValueError: arrays do not fit, a share out of range.
    """
    import pandas as pd

    found = ranking.class_composition(
        scores, dataset.train.labels, fraction=share, end=end
    )
    return pd.DataFrame(
        {
            "label": [dataset.class_names[number] for number in found.classes],
            "images": found.sizes,
            "dropped": found.dropped,
            "dropped_percent": 100 * found.fraction,
            "expected_percent": 100 * found.expected_fraction,
            "residual": found.residuals,
            "chi_square": found.chi_square,
            "p_value": found.p_value,
        }
    )


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the histogram, its parts in colours, with lines at the cuts.

    Args:
        table: from ``compute``.

    Returns:
        The figure. It is laid out by hand, for it follows a slider.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 2.3))
    ax = figure.add_axes((0.105, 0.2, 0.88, 0.68))
    bottom = np.zeros(_BINS)
    for name, colour in _LOOKS.items():
        mine = table[table.part == name]
        samples = int(mine.samples.iloc[0])
        if not samples:
            continue
        edges = np.append(mine.left.to_numpy(), mine.right.iloc[-1])
        label = f"{name if name == 'kept' else f'{name}, dropped'} ({samples:,})"
        top = bottom + mine["count"].to_numpy()
        ax.stairs(top, edges, baseline=bottom, fill=True, color=colour, label=label)
        bottom = top
    kept = table[table.part == "kept"].iloc[0]
    for name, place in (("easy", kept.least), ("hard", kept.largest)):
        if table[table.part == name].samples.iloc[0]:
            ax.axvline(place, color="black", lw=1)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_ylim(0, 1.05 * max(bottom.max(), 1))
    ax.set_xlabel("score: half squared error of the ridge predictor")
    ax.set_ylabel("real images")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=3, fontsize=7.5)
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the histogram shows.

    Args:
        table: from ``compute``.
    """
    first = table.groupby("part").first()
    return (
        f"{int(first.samples.sum()):,} real training images by score, in bins of equal "
        f"width in the logarithm; {int(first.samples['easy']):,} are dropped from the easy "
        f"end and {int(first.samples['hard']):,} from the hard one. A run drops the same "
        "shares of each batch, by the networks of its pool as they then are."
    )
