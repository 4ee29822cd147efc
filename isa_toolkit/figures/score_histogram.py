"""Scores of the real images: where the cut lies, and which classes lose images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.datasets import Dataset
from isa_toolkit.figures.style import house_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_BINS = 60
_COLOURS = {"easy": "#E69F00", "kept": "#0072B2", "hard": "#009E73"}


def compute(
    scores: np.ndarray, *, drop_easy: float = 0.0, drop_hard: float = 0.0
) -> pd.DataFrame:
    """Return the histogram of the scores of easy, kept and hard samples.

    ``scores`` are those of ``information.scores``, [n]; ``drop_easy`` and ``drop_hard``
    the fractions to drop from either end.

    Returns:
        One row per bin and part ("easy", "kept", "hard"): ``part``, ``left`` and ``right``
        (ends of the bin, equally wide in the logarithm), ``count``, and for the whole part
        the number of ``samples`` and their range ``least`` to ``largest``.

    Source: ranks and counts as the losses drop them, over all images instead of a batch.
    """
    import pandas as pd

    kept = ranking.kept(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    order = ranking.order(scores)
    easy = ranking.dropped_count(len(order), drop_easy)
    part_of = np.where(kept, "kept", "hard")
    part_of[order[:easy]] = "easy"
    # Clip the smallest scores, since the logarithm of one next to 0 is unbounded.
    floor = max(float(np.quantile(scores, 0.001)), float(np.finfo(np.float32).tiny))
    positive = np.maximum(scores, floor)
    low, high = positive.min(), positive.max()
    edges = np.geomspace(low, max(high, low * (1 + 1e-6)), _BINS + 1)
    # Rounding must not exclude an extreme score.
    edges[0], edges[-1] = low, max(high, edges[-1])
    parts = []
    for name in _COLOURS:
        mine = positive[part_of == name]
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
    fraction: float = 0.2,
    end: Literal["easy", "hard"] = "easy",
) -> pd.DataFrame:
    """Return the classes of the ``fraction`` of training images dropped from one end.

    Returns:
        One row per class: ``label``, ``images``, ``dropped`` and ``expected`` (numbers of
        images), ``dropped_percent`` of the class, ``expected_percent`` (the same for all),
        ``residual`` (about standard normal if classes did not matter), and of all classes
        ``chi_square`` and ``p_value``.
    """
    import pandas as pd

    found = ranking.class_composition(
        scores, dataset.train.labels, fraction=fraction, end=end
    )
    return pd.DataFrame(
        {
            "label": [dataset.class_names[number] for number in found.classes],
            "images": found.sizes,
            "dropped": found.dropped,
            "expected": found.expected,
            "dropped_percent": 100 * found.fraction,
            "expected_percent": 100 * found.expected_fraction,
            "residual": found.residuals,
            "chi_square": found.chi_square,
            "p_value": found.p_value,
        }
    )


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the histogram, its parts in colours, with lines at the cuts."""
    from matplotlib.figure import Figure

    # A fixed layout is fast enough to follow a slider.
    figure = Figure(figsize=(5.2, 2.3))
    ax = figure.add_axes((0.105, 0.2, 0.88, 0.68))
    bottom = np.zeros(_BINS)
    for name, colour in _COLOURS.items():
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
    for name, position in (("easy", kept.least), ("hard", kept.largest)):
        if table[table.part == name].samples.iloc[0]:
            ax.axvline(position, color="black", lw=1)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_ylim(0, 1.05 * max(bottom.max(), 1))
    ax.set_xlabel("score: half squared error of the ridge predictor")
    ax.set_ylabel("real images")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 0.98), ncols=3, fontsize=7.5)
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    first = table.groupby("part").first()
    return (
        f"{int(first.samples.sum()):,} real training images by score, in bins of equal "
        f"width in the logarithm; {int(first.samples['easy']):,} are dropped from the easy "
        f"end and {int(first.samples['hard']):,} from the hard one. A run drops the same "
        "fractions of each batch, scored by the current networks of its pool."
    )
