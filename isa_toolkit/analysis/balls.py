"""Which points of one set lie in balls around points of the other.

The ball of a point reaches to the k-th nearest neighbour in its own set and does not
hold its surface. `isa_toolkit.analysis.diversity` turns what is found into fractions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Real

from isa_toolkit.analysis.knn import (
    FEATURE_BYTES,
    PAIR_BYTES,
    frame_of,
    place,
    screen,
    squared_radii,
    within,
)
from isa_toolkit.analysis.validation import row_blocks

__all__ = ["RealBalls", "in_distilled_balls", "in_real_balls"]


class RealBalls(NamedTuple):
    """What lies in the balls around the real points.

    covered: whether a distilled point lies in the ball of each real one, [n].
    counts: in how many real balls each distilled point lies, [m].
    """

    covered: Bool[np.ndarray, " n"]
    counts: Int64[np.ndarray, " m"]


def in_distilled_balls(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int
) -> Bool[np.ndarray, " n"]:
    """Return which real points lie in a ball around a distilled one.

    Args:
        real: n real points, shape ``[n, d]``.
        distilled: m distilled points, shape ``[m, d]``, m above k.
        k: which neighbour gives the radius, at least 1.

    Returns:
        One answer for each real point, shape ``[n]``.
    """
    frame = frame_of(real, distilled)
    balls = place(distilled, frame)
    limits = squared_radii(distilled, frame, k)
    found = np.empty(len(real), bool)
    for rows in row_blocks(len(real), _row_bytes(distilled)):
        block = place(real[rows], frame)
        tile = screen(block, balls)
        found[rows] = within(block, balls, tile, limits[None, :]).any(axis=1)
    return found


def in_real_balls(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int
) -> RealBalls:
    """Return what lies in the balls around the real points.

    Args:
        real: n real points, shape ``[n, d]``, n above k.
        distilled: m distilled points, shape ``[m, d]``.
        k: which neighbour gives the radius, at least 1.

    Returns:
        Real balls that are met, and how many meet each distilled point.
    """
    frame = frame_of(real, distilled)
    points = place(distilled, frame)
    limits = squared_radii(real, frame, k)
    covered = np.empty(len(real), bool)
    counts = np.zeros(len(distilled), np.int64)
    for rows in row_blocks(len(real), _row_bytes(distilled)):
        block = place(real[rows], frame)
        tile = screen(block, points)
        inside = within(block, points, tile, limits[rows, None])
        covered[rows] = inside.any(axis=1)
        counts += inside.sum(axis=0)
    return RealBalls(covered, counts)


def _row_bytes(distilled: np.ndarray) -> int:
    """Return what the work on one real point takes beside the distilled ones, bytes."""
    count, features = distilled.shape
    return PAIR_BYTES * count + FEATURE_BYTES * features
