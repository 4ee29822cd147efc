"""What the analysis of point sets takes in: checked rows, classes, scores; distances.

Rows are points of any feature space. A check names the argument, the rule and the
value; distances come in blocks of rows, so that 60,000 points need no square matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from isa_toolkit.checks import as_text, fail

__all__ = [
    "blocks",
    "check_classes",
    "check_points",
    "check_scores",
    "squared_distances",
]

# 32 MiB of float64 per block: large enough for the matrix product, small enough to
# hold several at once.
_BLOCK = 2**22


def check_points(
    name: str, values: object, *, minimum: int = 1
) -> Float[np.ndarray, "n d"]:
    """Return ``values`` as finite floats with one point per row.

    Args:
        name: the argument's name, for the sentence.
        values: points, [n, d]. float32 and float64 are kept, without a copy; all else
            becomes float64.
        minimum: least number of points.

    Returns:
        The points, [n, d].

    Raises:
        ValueError: they are no numbers, not in two axes, too few, or not finite.
    """
    try:
        array = np.asarray(values)
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise fail(name, "be numbers in rows of equal length", values) from None
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 2 or array.shape[1] == 0:
        raise fail(
            name,
            "have 2 axes, one point per row",
            shape,
            "Flatten each sample with values.reshape(len(values), -1).",
        )
    if len(array) < minimum:
        rows = "1 row" if minimum == 1 else f"{minimum} rows"
        raise fail(name, f"have at least {rows}", shape)
    for part in blocks(*array.shape):
        finite = np.isfinite(array[part])
        if not finite.all():
            raise fail(name, "be finite", float(array[part][~finite].flat[0]))
    return array


def check_classes(
    name: str, values: object, count: int, of: str
) -> Int[np.ndarray, " n"]:
    """Return ``values`` as one class number for each of ``count`` rows.

    Args:
        name: the argument's name, for the sentence.
        values: class numbers, [n].
        count: number of rows they belong to.
        of: name of the argument that holds these rows.

    Returns:
        Class numbers, [n].

    Raises:
        ValueError: they are no whole numbers, not in one axis, or not ``count``.
    """
    array = np.asarray(values)
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 1 or len(array) != count:
        raise fail(
            name,
            f"have one class for each of the {count} rows of {of}",
            shape,
            "Turn rows of label scores into classes with labels.argmax(axis=1).",
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise fail(name, "be whole numbers", as_text(f"dtype {array.dtype}"))
    return array


def check_scores(
    name: str, values: object, *, minimum: int = 2
) -> Float[np.ndarray, " n"]:
    """Return ``values`` as finite float64, one for each sample.

    Args:
        name: the argument's name, for the sentence.
        values: scores, [n].
        minimum: least number of samples.

    Returns:
        Scores, [n].

    Raises:
        ValueError: they are no numbers, not in one axis, too few, or not finite.
    """
    try:
        array = np.asarray(values).astype(np.float64)
    except (TypeError, ValueError):
        raise fail(name, "be numbers", values) from None
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 1:
        raise fail(name, "have 1 axis, one score per sample", shape)
    if len(array) < minimum:
        raise fail(name, f"have at least {minimum} samples", shape)
    if not np.isfinite(array).all():
        raise fail(name, "be finite", float(array[~np.isfinite(array)][0]))
    return array


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices that cover ``rows`` rows of ``width`` numbers, 32 MiB at a time.

    Args:
        rows: how many rows to cover.
        width: numbers per row of what is made from them.

    Yields:
        Slices in order, at least one row each.
    """
    size = max(1, _BLOCK // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def squared_distances(
    first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    """Return squared Euclidean distances, ``|x|^2 + |y|^2 - 2 x y``, never below 0.

    Exact to about 1e-15 of the largest squared norm in float64; take the mean off both
    first, or a common offset eats the digits.

    Args:
        first: points, [n, d].
        second: points, [m, d].

    Returns:
        Squared distances, [n, m].
    """
    norms = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)
    return np.maximum(norms - 2 * (first @ second.T), 0)
