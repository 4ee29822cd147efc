"""Distances to the k-th neighbour, and which pairs of points are closer than that.

Squared distances come from scikit-learn or from a float32 product,
``|x|^2 + |y|^2 - 2 x.y``: fast, but of two equal distances one may come out smaller. So
pairs that are too close to call are subtracted in float64, and the results are those of a
float64 loop over all pairs, ties and copies of points included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Real

# Size of a block of distances, MiB.
BLOCK_MIB = 64

# Neighbours that are found beyond the k-th, so that few rows need all distances.
_EXTRA = 2

# Number of float64 that are taken at a time for exact differences, 4 MiB.
_DIFFERENCES = 2**19


class Cloud(NamedTuple):
    """A set of points, ready for comparisons.

    points: The points as they were given, [n, d].
    centred: The same points in float32, moved and scaled, [n, d].
    squares: Squared lengths of ``centred``, [n].
    scale: The scale, a power of two, so that it rounds nothing.
    """

    points: Real[np.ndarray, "n d"]
    centred: Float32[np.ndarray, "n d"]
    squares: Float32[np.ndarray, " n"]
    scale: float

    def error(self, terms: int) -> Float32[np.ndarray, " n"]:
        """Return a bound of what each point adds to the error of a squared distance.

        ``terms`` is the number of products that are added up in float32, 0 if in float64.
        With the unit roundoff u of float32, a product of d terms adds at most
        ``2 d u |x| |y|``, and rounding coordinates, squares and sums less than
        ``16 u (|x|^2 + |y|^2)``. Twice that part also covers a comparison with a rounded
        radius, and a tenth of all of it the terms in u^2.
        """
        return np.float32(1.1 * (terms + 32) * 2.0**-24) * self.squares + 1e-30


def clouds(*sets: Real[np.ndarray, "_ d"]) -> list[Cloud]:
    """Return sets of points around the mean of the first, scaled into [-1, 1]."""
    # Centred, so that a common offset costs no digits; scaled, so that no square
    # overflows.
    centre = sets[0].mean(axis=0, dtype=np.float64)
    centred = [np.subtract(points, centre, dtype=np.float64) for points in sets]
    largest = max(max(float(one.max()), -float(one.min())) for one in centred)
    exponent = min(max(math.frexp(largest)[1], -1000), 1000) if largest else 0
    scale = math.ldexp(1.0, -exponent)
    result = []
    for points, apart in zip(sets, centred, strict=True):
        small = (apart * scale).astype(np.float32)
        squares = np.einsum("nd,nd->n", small, small, dtype=np.float64)
        result.append(Cloud(points, small, squares.astype(np.float32), scale))
    return result


def squared_radii(cloud: Cloud, k: int) -> Float64[np.ndarray, " n"]:
    """Return the squared distance of each point to its k-th nearest neighbour, k below n.

    A point is not its own neighbour; copies of it are neighbours at distance 0. Distances
    are in the scale of the cloud, exact in float64.
    """
    from sklearn.neighbors import NearestNeighbors

    total = len(cloud.points)
    count = min(k + _EXTRA, total - 1)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(cloud.centred)
    rough, near = search.kneighbors()
    rows = np.repeat(np.arange(total), count)
    exact = _exact(cloud, cloud, rows, near.ravel()).reshape(total, count)
    radii = np.partition(exact, k - 1, axis=1)[:, k - 1]
    if count < total - 1:
        # Where the last candidate is hardly farther, a point that is not among the
        # candidates may be nearer than the k-th of them.
        margin = cloud.error(0) + cloud.error(0).max()
        everyone = np.arange(total)
        for row in np.flatnonzero(rough[:, -1] ** 2 <= radii + 2 * margin):
            others = np.delete(everyone, row)
            squared = _exact(cloud, cloud, np.full(total - 1, row), others)
            radii[row] = np.partition(squared, k - 1)[k - 1]
    return radii


def distance_blocks(
    first: Float64[np.ndarray, "n d"], second: Float64[np.ndarray, "m d"]
) -> Iterator[tuple[slice, Float64[np.ndarray, "_ m"]]]:
    """Yield rows and their squared distances to all of ``second``, ``BLOCK_MIB`` at a time.

    Distances are at least 0 and exact to about 1e-15 of the largest squared norm. Take the
    mean off both sets first: a common offset costs digits.
    """
    from sklearn.metrics import pairwise_distances_chunked

    start = 0
    for block in pairwise_distances_chunked(
        first, second, metric="euclidean", squared=True, working_memory=BLOCK_MIB
    ):
        yield slice(start, start + len(block)), block
        start += len(block)


def rough_blocks(
    rows: Cloud, columns: Cloud
) -> Iterator[tuple[slice, Float32[np.ndarray, "_ m"]]]:
    """Yield rows and their squared distances in float32, which may be below 0.

    Both clouds come from the same call of ``clouds``; blocks have ``BLOCK_MIB``.
    """
    size = max(1, int(BLOCK_MIB * 2**18) // len(columns.points))
    for start in range(0, len(rows.points), size):
        part = slice(start, min(start + size, len(rows.points)))
        block = rows.centred[part] @ columns.centred.T
        block *= -2
        block += rows.squares[part, None]
        block += columns.squares
        yield part, block


def closer(
    rows: Cloud,
    columns: Cloud,
    part: slice,
    block: Float32[np.ndarray, "_ m"],
    limits: Float64[np.ndarray, "#_ #m"],
) -> Bool[np.ndarray, "_ m"]:
    """Return whether ``|x_i - y_j|^2 < limit`` as in float64; equal is not closer.

    ``part`` and ``block`` are rows and distances from ``rough_blocks``; limits are squared
    distances.
    """
    gaps = block - limits.astype(np.float32)
    inside = gaps < 0
    terms = rows.points.shape[1]
    margin = rows.error(terms)[part] + columns.error(terms).max()
    unsure = np.abs(gaps, out=gaps) <= margin[:, None]
    unsure &= limits > 0  # nothing is closer than 0
    near, far = np.nonzero(unsure)
    wide = np.broadcast_to(limits, block.shape)
    squared = _exact(rows, columns, near + part.start, far)
    inside[near, far] = squared < wide[near, far]
    return inside & (limits > 0)


def _exact(
    first: Cloud, second: Cloud, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Return squared distances of pairs by subtraction in float64.

    The same two points give the same bits in either order, so ties stay ties.
    """
    squared = np.empty(len(rows))
    size = max(1, _DIFFERENCES // first.points.shape[1])
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        gaps = np.subtract(
            first.points[rows[some]], second.points[columns[some]], dtype=np.float64
        )
        gaps *= first.scale
        squared[some] = np.square(gaps, out=gaps).sum(axis=1)
    return squared
