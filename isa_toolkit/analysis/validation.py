"""What counts as points, labels and scores, and in which pieces large sets are walked.

Points are rows of numbers, finite, of equal length, in any feature space; labels and
scores belong to them one by one. What is computed from them is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64, Real

from isa_toolkit.checks import as_text, check_integer, fail

__all__ = [
    "BLOCK_BYTES",
    "as_labels",
    "as_pair",
    "as_points",
    "as_scores",
    "check_neighbours",
    "count_classes",
    "row_blocks",
]

# What one block of rows may take beside its inputs. Larger is hardly faster: a product
# of a hundred rows with a large set already keeps the processor busy.
BLOCK_BYTES = 2**28


def as_points(
    name: str, points: object, *, minimum: int = 1
) -> Real[np.ndarray, "n d"]:
    """Return ``points`` as an array of finite real numbers, shape ``[n, d]``.

    Args:
        name: the argument's name, for the sentence.
        points: n points with d features; floating-point or whole numbers of any
            width, which are kept, so that nothing is copied.
        minimum: least number of points, at least 1.

    Returns:
        The array itself where it was one.

    Raises:
        ValueError: not numbers, not two axes, too few points, no feature, or not
            finite.
    """
    try:
        array = np.asarray(points)
    except ValueError:
        raise fail(name, "be numbers in rows of equal length", points) from None
    if array.dtype.kind not in "fiu":
        raise fail(
            name,
            "be real numbers",
            as_text(f"an array of {array.dtype}"),
            "Convert them with values.astype('float64').",
        )
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 2:
        raise fail(
            name,
            "have 2 axes, one point per row",
            shape,
            "Flatten each sample with values.reshape(len(values), -1).",
        )
    if array.size == 0:
        raise fail(name, "have at least one point with one feature", shape)
    if len(array) < minimum:
        raise fail(name, f"have at least {minimum} rows", shape)
    for rows in row_blocks(len(array), array.shape[1]):
        block = array[rows]
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise fail(
                name,
                "be finite",
                as_text(f"{block[row, column]} in row {rows.start + row}"),
                "Look at what made the features; whitening and networks can overflow.",
            )
    return array


def as_pair(real: object, distilled: object) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of points, ``[n, d]`` and ``[m, d]``, of one feature space.

    Raises:
        ValueError: one of them is no set of points, or their features differ in number.
    """
    first, second = as_points("real", real), as_points("distilled", distilled)
    if first.shape[1] != second.shape[1]:
        raise fail(
            "distilled",
            f"have {first.shape[1]} features like real",
            second.shape[1],
            "Take both from the same network and the same preprocessing.",
        )
    return first, second


def as_labels(
    name: str, labels: object, count: int, of: str
) -> Int64[np.ndarray, " n"]:
    """Return class numbers, one for each of ``count`` rows, shape ``[count]``.

    Args:
        name: the argument's name, for the sentence.
        labels: whole numbers of any width, [count].
        count: number of rows they belong to.
        of: name of the argument that holds these rows.

    Returns:
        The class numbers; any whole number may name a class here, unlike in
        `count_classes`.

    Raises:
        ValueError: not whole numbers in one axis, or not one for each row.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise fail(
            name,
            "be whole numbers, one for each point",
            as_text(f"{array.dtype} of shape {array.shape}"),
            "Soft labels [n, c] become class numbers with labels.argmax(axis=1).",
        )
    if len(array) != count:
        rule = f"have one class for each of the {count} rows of {of}"
        raise fail(name, rule, len(array))
    return array.astype(np.int64)


def count_classes(classes: int | None, **labels: np.ndarray) -> int:
    """Return how many classes there are: as said, or up to the largest label.

    Args:
        classes: how many, or None.
        **labels: class numbers from `as_labels`, by the names of their arguments.

    Returns:
        A number above every label.

    Raises:
        TypeError: ``classes`` is not a whole number.
        ValueError: a label is below 0 or not below ``classes``.
    """
    for name, numbers in labels.items():
        if numbers.min() < 0:
            raise fail(name, "count classes from 0", int(numbers.min()))
    largest = max(int(numbers.max()) for numbers in labels.values())
    if classes is None:
        return largest + 1
    number = check_integer("classes", classes)
    if largest >= number:
        raise fail(
            "classes", f"be above the largest label, {largest}", number, "Count from 0."
        )
    return number


def as_scores(
    name: str, scores: object, *, minimum: int = 2
) -> Float64[np.ndarray, " n"]:
    """Return ``scores`` as finite float64, one for each sample, shape ``[n]``.

    Args:
        name: the argument's name, for the sentence.
        scores: n numbers.
        minimum: least number of samples.

    Returns:
        A copy.

    Raises:
        ValueError: not numbers, not one axis, too few, or not finite.
    """
    try:
        array = np.asarray(scores).astype(np.float64)
    except (TypeError, ValueError):
        raise fail(name, "be numbers", scores) from None
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 1:
        raise fail(name, "have 1 axis, one score per sample", shape)
    if len(array) < minimum:
        raise fail(name, f"have at least {minimum} samples", shape)
    if not np.isfinite(array).all():
        raise fail(name, "be finite", float(array[~np.isfinite(array)][0]))
    return array


def check_neighbours(name: str, points: int, k: int, fix: str = "") -> None:
    """Refuse a set that is too small for a k-th neighbour.

    Raises:
        ValueError: fewer than ``k + 1`` points, for a point is not its own neighbour.
    """
    if points > k:
        return
    lower = f"Lower k to {points - 1} at most, or give" if points > 1 else "Give"
    raise fail(
        name,
        f"hold at least k + 1 = {k + 1} points for k = {k} neighbours",
        points,
        f"{lower} more points{f', or {fix}' if fix else ''}.",
    )


def row_blocks(rows: int, row_bytes: int, budget: int | None = None) -> Iterator[slice]:
    """Yield slices that cover ``rows`` in order, each within a budget of memory.

    Args:
        rows: how many rows there are.
        row_bytes: what the work on one row takes, bytes, at least 1.
        budget: what a block may take, bytes; ``BLOCK_BYTES`` when left out.

    Yields:
        Slices of equal length, but for the last; of one row where a single row is over
        the budget.
    """
    size = max(1, (BLOCK_BYTES if budget is None else budget) // row_bytes)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
