"""What counts as a set of points, and in which pieces large sets are walked.

Measures take two sets of points in one feature space: rows of numbers, finite, of equal
length. What is computed from them is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isa_toolkit.checks import as_text, check_integer, fail

__all__ = [
    "BLOCK_BYTES",
    "as_labels",
    "as_pair",
    "as_points",
    "check_neighbours",
    "count_classes",
    "row_blocks",
]

# What one block of rows may take beside its inputs. Larger is hardly faster: a product
# of a hundred rows with a large set already keeps the processor busy.
BLOCK_BYTES = 2**28


def as_points(name: str, points: object) -> np.ndarray:
    """Return ``points`` as an array of finite real numbers, shape ``[n, d]``.

    Args:
        name: the argument's name, for the sentence.
        points: n points with d features; floating-point or whole numbers of any
            width, which are kept, so that nothing is copied.

    Returns:
        The array itself where it was one.

    Raises:
        ValueError: not numbers, not two axes, no point, no feature, or not finite.
    """
    try:
        array = np.asarray(points)
    except ValueError:
        raise fail(name, "be numbers in rows of equal length", points) from None
    if array.dtype.kind not in "fiu":
        raise fail(name, "be real numbers", as_text(f"an array of {array.dtype}"))
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 2:
        raise fail(
            name,
            "have 2 axes, points and features",
            shape,
            "Flatten images with images.reshape(len(images), -1).",
        )
    if array.size == 0:
        raise fail(name, "hold at least one point with one feature", shape)
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


def as_labels(name: str, labels: object, count: int) -> np.ndarray:
    """Return class numbers, one for each of ``count`` points, shape ``[count]``.

    Raises:
        ValueError: not whole numbers from 0 on, or not one for each point.
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
        raise fail(name, f"have {count} entries, one for each point", len(array))
    if array.min() < 0:
        raise fail(name, "count classes from 0", int(array.min()))
    return array.astype(np.int64)


def count_classes(classes: int | None, *labels: np.ndarray) -> int:
    """Return how many classes there are: as said, or up to the largest label.

    Raises:
        TypeError: ``classes`` is not a whole number.
        ValueError: a label is not below ``classes``.
    """
    largest = max(int(one.max()) for one in labels)
    if classes is None:
        return largest + 1
    number = check_integer("classes", classes)
    if largest >= number:
        raise fail(
            "classes", f"be above the largest label, {largest}", number, "Count from 0."
        )
    return number


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
