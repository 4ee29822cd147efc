"""Scores of the real images: where the cut lies, and which classes lose images."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from isa_toolkit.analysis import ranking
from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.datasets import Dataset
from isa_toolkit.figures.style import Panels, drawing, log_scale
from isa_toolkit.figures.variants import setting

_BINS, _CLASSES = 60, 20
_COLUMNS = ("part", "left", "right", "count", "samples")
_UNIT = "score: half squared error of the ridge predictor"
_COLOURS = {
    "easy": setting("frepo+drop_easy").colour,
    "kept": setting("frepo").colour,
    "hard": setting("frepo+drop_hard").colour,
}


class _Histogram(NamedTuple):
    """Scores in bins that are equally wide in the logarithm.

    ascending: Scores, from the easiest to the hardest, those next to 0 clipped, [n].
    edges: Ends of the bins, [bins + 1].
    counts: Number of scores in each bin, [bins].
    """

    ascending: np.ndarray
    edges: np.ndarray
    counts: np.ndarray

    def cut(self, below: int) -> float:
        """Return the position between the ``below`` smallest scores and the others."""
        if below in (0, len(self.ascending)):
            return float(self.edges[-1 if below else 0])
        return float(np.sqrt(np.prod(self.ascending[below - 1 : below + 1])))


def _histogram(scores: np.ndarray) -> _Histogram:
    # Clip the smallest scores, since the logarithm of one next to 0 is unbounded.
    floor = max(float(np.quantile(scores, 0.001)), float(np.finfo(np.float32).tiny))
    ascending = np.sort(np.maximum(np.asarray(scores, np.float64), floor))
    low, high = ascending[0], ascending[-1]
    edges = np.geomspace(low, max(high, low * (1 + 1e-6)), _BINS + 1)
    # Rounding must not exclude an extreme score.
    edges[0], edges[-1] = low, max(high, edges[-1])
    return _Histogram(ascending, edges, np.histogram(ascending, edges)[0])


def compute(
    scores: np.ndarray, *, drop_easy: float = 0.0, drop_hard: float = 0.0
) -> pd.DataFrame:
    """Return the histogram of the scores, split into easy, kept and hard samples.

    ``scores`` are such as those of ``information.scores``, [n]; ``drop_easy`` and
    ``drop_hard`` the fractions to drop from either end.

    Returns:
        One row per bin and part ("easy", "kept", "hard"), two for a bin that is cut:
        ``part``, ``left`` and ``right`` (ends of the bin or of its piece, equally wide in
        the logarithm), ``count`` (scores in the whole bin), and ``samples`` (scores in
        the whole part).

    Source: ranks and counts as the losses drop them, over all images instead of a batch.
    """
    kept = int(ranking.kept(scores, drop_easy=drop_easy, drop_hard=drop_hard).sum())
    easy = ranking.dropped_count(len(scores), drop_easy)
    found = _histogram(scores)
    below = [0, easy, easy + kept, len(scores)]
    parts = []
    for name, first, last in zip(_COLOURS, below[:-1], below[1:], strict=True):
        inside = np.clip(found.edges, found.cut(first), found.cut(last))
        is_there = inside[1:] > inside[:-1]
        if first < last and not is_there.any():  # its scores are all equal
            is_there[np.searchsorted(found.edges[1:-1], inside[0])] = True
        parts.append(
            pd.DataFrame(
                {
                    "part": name,
                    "left": inside[:-1][is_there],
                    "right": inside[1:][is_there],
                    "count": found.counts[is_there],
                    "samples": last - first,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@typed
def for_browser(scores: np.ndarray, dataset: Dataset) -> dict[str, Any]:
    """Return all that a browser needs to draw the histogram for any two fractions.

    Returns:
        ``counts`` of the bins and their ``edges``; ``cuts``, the positions of the cut for
        0, 1, ... percent to drop from the "easy" and the "hard" end, both in decadic
        logarithms; ``total``, the number of scores; ``classes``, for each of the first 20
        classes its ``name``, its ``size`` and how many of its samples 0, 1, ... percent
        drop from either end; ``more``, the number of other classes; ``unit``, the name
        of the score.
    """
    found, total = _histogram(scores), len(scores)
    order, labels = ranking.order(scores), dataset.train.labels
    dropped = [ranking.dropped_count(total, percent / 100) for percent in range(91)]
    below = {"easy": np.array(dropped), "hard": total - np.array(dropped)}
    classes = []
    for number, name in enumerate(dataset.class_names[:_CLASSES]):
        sums = np.append(0, np.cumsum(labels[order] == number))
        classes.append(
            {
                "name": str(name),
                "size": max(int(sums[-1]), 1),
                "easy": sums[below["easy"]].tolist(),
                "hard": (sums[-1] - sums[below["hard"]]).tolist(),
            }
        )
    return {
        "counts": found.counts.tolist(),
        "edges": np.log10(found.edges).tolist(),
        "cuts": {
            end: np.log10([found.cut(one) for one in ranks.tolist()]).tolist()
            for end, ranks in below.items()
        },
        "total": total,
        "classes": classes,
        "more": max(0, len(dataset.class_names) - _CLASSES),
        "unit": _UNIT,
    }


@typed
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


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    samples = (
        table.groupby("part").samples.first().reindex(list(_COLOURS), fill_value=0)
    )
    return (
        f"{samples.sum():,} real training images by score, in bins of equal width in the "
        f"logarithm; {samples['easy']:,} are dropped from the easy end and "
        f"{samples['hard']:,} from the hard one. A run drops the same fractions of each "
        "batch, scored by the current networks of its pool."
    )


@drawing({"a": 2.3}, caption=caption, columns=_COLUMNS, size=(5.2, 2.3))
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the histogram, its parts in colours, with lines at the cuts."""
    [ax] = panels
    for name, colour in _COLOURS.items():
        mine = table[table.part == name]
        if not len(mine):
            continue
        samples = int(mine.samples.iloc[0])
        label = f"{name if name == 'kept' else f'{name}, dropped'} ({samples:,})"
        edges = np.append(mine.left.to_numpy(), mine.right.iloc[-1])
        ax.stairs(mine["count"], edges, fill=True, color=colour, label=label)
        if name != "kept":
            cut = edges[-1] if name == "easy" else edges[0]
            ax.axvline(cut, color="black", lw=1)
    log_scale(ax.xaxis)
    ax.set_ylim(0, 1.05 * table["count"].max())
    ax.set_xlabel(_UNIT)
    ax.set_ylabel("real images")
    panels.legend()
