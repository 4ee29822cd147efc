"""Who is near whom: distances to the k-th neighbour, and which points lie in a ball.

Screened in float32, decided in float64. Squared distances come from one float32 matrix
product, ``|x|^2 + |y|^2 - 2 x.y``, whose error is bounded; only where the bound leaves
a comparison open are the two points subtracted in float64. So the answers are those of
a float64 loop over pairs, ties and coinciding points included, at the price of the
float32 product. `squared_distances` is that product alone, in the precision it is given.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Real

from isa_toolkit.analysis.validation import (
    as_points,
    check_neighbours,
    row_blocks,
)
from isa_toolkit.checks import check_integer

__all__ = [
    "DISTANCE_BYTES",
    "FEATURE_BYTES",
    "PAIR_BYTES",
    "Frame",
    "Placed",
    "frame_of",
    "neighbour_distances",
    "place",
    "screen",
    "squared_distances",
    "squared_radii",
    "within",
]

# Bytes that one pair takes at the worst moment: four float32 tiles, masks, and, should
# every pair stay open, its place and its float64 distance.
PAIR_BYTES = 32

# The same around `squared_distances`: five float64 tiles, since those of one block are
# held while the next is made, masks, and room for what sorts them.
DISTANCE_BYTES = 64

# Bytes that one feature of one point takes while it is moved to float32.
FEATURE_BYTES = 24

# Differences are taken for a few hundred pairs at a time, which stay in the cache.
DIFFERENCE_BYTES = 2**22

# Coordinates are at most 1 in a frame, so what underflow loses lies far below this.
TINY = np.float32(1e-30)


class Frame(NamedTuple):
    """Where points are seen from: distances keep, rounding shrinks.

    centre: subtracted from each point, [d].
    scale: power of two that brings all coordinates into [-1, 1], so that no square
        overflows and scaling itself rounds nothing.
    """

    centre: Float64[np.ndarray, " d"]
    scale: float


class Placed(NamedTuple):
    """Some points, seen from a frame.

    points: the points as they were given, [n, d].
    scaled: ``(points - centre) * scale`` in float32, [n, d].
    squares: squared lengths of ``scaled``, [n].
    scale: of the frame.
    """

    points: Real[np.ndarray, "n d"]
    scaled: Float32[np.ndarray, "n d"]
    squares: Float32[np.ndarray, " n"]
    scale: float


def neighbour_distances(
    points: Real[np.ndarray, "n d"], k: int = 5
) -> Float64[np.ndarray, " n"]:
    """Return the distance of each point to its k-th nearest neighbour.

    ``NND_k(x_i)``, Euclidean, among the other points; copies of a point are neighbours
    at distance 0.

    Args:
        points: n points with d features, shape ``[n, d]``.
        k: which neighbour, from 1 to n - 1.

    Returns:
        Distances in the unit of the points, shape ``[n]``. Takes n^2 d operations, one
        float32 copy of the points and blocks of ``points.BLOCK_BYTES``.

    Raises:
        TypeError: ``k`` is not a whole number.
        ValueError: ``points`` are no set of points, or no more than ``k``.

    Source: equation 9 of the ISA appendix.
    """
    array = as_points("points", points)
    number = check_integer("k", k)
    check_neighbours("points", len(array), number)
    frame = frame_of(array)
    return np.sqrt(squared_radii(array, frame, number)) / frame.scale


def squared_distances(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    """Return squared Euclidean distances, ``|x|^2 + |y|^2 - 2 x.y``, never below 0.

    Exact to about 1e-15 of the largest squared norm in float64; take the mean off both
    first, or a common offset eats the digits. Where the last digits decide, as between
    copies of a point, use `neighbour_distances` or `within`.

    Args:
        first: points, [n, d].
        second: points, [m, d].

    Returns:
        Squared distances, [n, m].
    """
    squares = [np.square(points).sum(axis=1) for points in (first, second)]
    tile = _expand(first, second, *squares)
    return np.maximum(tile, 0, out=tile)


def frame_of(*sets: Real[np.ndarray, "_ d"]) -> Frame:
    """Return the frame around the mean of the first set that holds all sets.

    Args:
        sets: sets of points, each of shape ``[n, d]`` with its own n.

    Returns:
        The frame.
    """
    first = sets[0]
    total = np.zeros(first.shape[1])
    for rows in row_blocks(len(first), FEATURE_BYTES * first.shape[1]):
        total += (first[rows] / len(first)).sum(axis=0, dtype=np.float64)
    largest = 0.0
    for points in sets:
        for rows in row_blocks(len(points), FEATURE_BYTES * points.shape[1]):
            block = np.subtract(points[rows], total, dtype=np.float64)
            largest = max(largest, float(np.abs(block, out=block).max()))
    # Held where the power and its inverse both exist in float64.
    exponent = min(max(math.frexp(largest)[1], -1000), 1000) if largest else 0
    return Frame(centre=total, scale=math.ldexp(1.0, -exponent))


def place(points: Real[np.ndarray, "n d"], frame: Frame) -> Placed:
    """Return points as seen from ``frame``.

    Args:
        points: n points, shape ``[n, d]``.
        frame: from `frame_of` with these points among its sets.

    Returns:
        The points with their float32 copy, which is made in blocks.
    """
    scaled = np.empty(points.shape, np.float32)
    squares = np.empty(len(points), np.float32)
    for rows in row_blocks(len(points), FEATURE_BYTES * points.shape[1]):
        block = np.subtract(points[rows], frame.centre, dtype=np.float64)
        block *= frame.scale
        scaled[rows] = block
        block[:] = scaled[rows]
        squares[rows] = np.square(block, out=block).sum(axis=1)
    return Placed(points, scaled, squares, frame.scale)


def screen(rows: Placed, columns: Placed) -> Float32[np.ndarray, "n m"]:
    """Return squared distances in float32, off by less than the margin of the pair.

    Args:
        rows: n points.
        columns: m points in the same frame.

    Returns:
        ``|x|^2 + |y|^2 - 2 x.y`` in the frame's unit, shape ``[n, m]``; may be below 0.
    """
    return _expand(rows.scaled, columns.scaled, rows.squares, columns.squares)


def squared_radii(
    points: Real[np.ndarray, "n d"], frame: Frame, k: int
) -> Float64[np.ndarray, " n"]:
    """Return squared distances to the k-th neighbour in the frame's unit, ``[n]``.

    The k-th smallest upper bound of a row bounds its k-th distance from above, so the
    k nearest are among the points whose lower bound is no larger; of these, few beyond
    k, the distances are taken in float64.

    Args:
        points: n points, n above k; shape ``[n, d]``.
        frame: from `frame_of` with these points among its sets.
        k: which neighbour, at least 1.

    Returns:
        Squared radii, shape ``[n]``.
    """
    everyone = place(points, frame)
    radii = np.empty(len(points))
    for rows in row_blocks(len(points), PAIR_BYTES * len(points)):
        block = _take(everyone, rows)
        tile = screen(block, everyone)
        own = np.arange(rows.start, rows.stop)
        tile[own - rows.start, own] = np.inf
        margin = _margin(block, everyone)
        tile += margin
        limits = np.partition(tile, k - 1, axis=1)[:, k - 1]
        margin *= 2
        tile -= margin
        del margin
        open_pairs = np.flatnonzero(tile <= limits[:, None])
        del tile
        squared = _differences(block, everyone, open_pairs)
        starts = np.searchsorted(
            open_pairs, np.arange(len(own) + 1) * len(points), side="left"
        )
        for row, (start, stop) in enumerate(itertools.pairwise(starts)):
            near = np.partition(squared[start:stop], k - 1)
            radii[rows.start + row] = near[k - 1]
    return radii


def within(
    rows: Placed,
    columns: Placed,
    tile: Float32[np.ndarray, "n m"],
    limits: Float64[np.ndarray, "#n #m"],
) -> Bool[np.ndarray, "n m"]:
    """Return which pairs are closer than their limit; touching is not closer.

    Args:
        rows: n points.
        columns: m points in the same frame.
        tile: what `screen` gives for them.
        limits: squared distances in the frame's unit, shape ``[n, 1]`` or ``[1, m]``.

    Returns:
        ``|x_i - y_j|^2 < limit`` as in float64, shape ``[n, m]``.
    """
    bounds = limits.astype(np.float32)
    margin = _margin(rows, columns)
    inside = tile + margin < bounds
    # Nothing is closer than 0, however many points coincide.
    still_open = (tile - margin < bounds) & ~inside & (limits > 0)
    del margin
    pairs = np.flatnonzero(still_open)
    if len(pairs):
        wide = np.broadcast_to(limits, tile.shape)
        near, far = np.divmod(pairs, len(columns.points))
        inside[near, far] = _differences(rows, columns, pairs) < wide[near, far]
    return inside


def _expand(
    first: np.ndarray,
    second: np.ndarray,
    first_squares: np.ndarray,
    second_squares: np.ndarray,
) -> np.ndarray:
    """Return ``|x|^2 + |y|^2 - 2 x.y`` as it rounds, which may be below 0, [n, m]."""
    product = first @ second.T
    product *= 2
    tile = np.add.outer(first_squares, second_squares)
    tile -= product
    return tile


def _take(placed: Placed, rows: slice) -> Placed:
    """Return some of the placed points, as views."""
    return Placed(
        placed.points[rows], placed.scaled[rows], placed.squares[rows], placed.scale
    )


def _slack(placed: Placed) -> np.float32:
    """Return the relative error of `screen`, as a share of ``|x|^2 + |y|^2``.

    With the unit roundoff u of float32: the product of d terms adds at most
    ``2 d u |x| |y|``, rounding the coordinates, the squares and the sums less than
    ``16 u (|x|^2 + |y|^2)``. Twice that part covers the comparisons too, since a limit
    that is hard to tell from a distance is below ``2 (|x|^2 + |y|^2)`` like that; and a
    tenth of all of it covers the terms in u^2.
    """
    return np.float32(1.1 * (placed.points.shape[1] + 32) * 2.0**-24)


def _margin(rows: Placed, columns: Placed) -> Float32[np.ndarray, "n m"]:
    """Return how far `screen` may be off, for each pair."""
    slack = _slack(rows)
    return np.add.outer(slack * rows.squares + TINY, slack * columns.squares)


def _differences(
    rows: Placed, columns: Placed, pairs: np.ndarray
) -> Float64[np.ndarray, " pairs"]:
    """Return squared distances of pairs, numbered row by row, in float64.

    The same two points give the same bits in either order, so ties stay ties.
    """
    features = rows.points.shape[1]
    squared = np.empty(len(pairs))
    size = max(1, DIFFERENCE_BYTES // (FEATURE_BYTES * features))
    buffer = np.empty((min(size, len(pairs)), features))
    for start in range(0, len(pairs), size):
        near, far = np.divmod(pairs[start : start + size], len(columns.points))
        part = buffer[: len(near)]
        np.subtract(rows.points[near], columns.points[far], out=part, dtype=np.float64)
        part *= rows.scale
        squared[start : start + size] = np.square(part, out=part).sum(axis=1)
    return squared
