"""Checks of arrays: points, pairs of point sets, labels and scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Real

from isa_toolkit.checks import as_text, fail
from isa_toolkit.errors import InvalidValueError

__all__ = ["as_labels", "as_pair", "as_points", "as_scores", "check_neighbours"]


def as_points(
    name: str, points: object, *, minimum: int = 1
) -> Real[np.ndarray, "n d"]:
    """Return ``points`` as an array of finite numbers, shape ``[n, d]``.

    Args:
        name: Name of the argument.
        points: n points with d features, of any numeric type, which is kept.
        minimum: Least number of points.

    Raises:
        ValueError: If they are not numbers, not finite, too few, or not in two axes.
    """
    array = _checked(name, points, ensure_min_samples=minimum)
    if array.ndim != 2:
        raise fail(
            name,
            "have 2 axes, one point per row",
            as_text(f"shape {array.shape}"),
            "Flatten each sample with values.reshape(len(values), -1).",
        )
    return array


def as_pair(real: object, distilled: object) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of points, ``[n, d]`` and ``[m, d]``, of one feature space.

    Raises:
        ValueError: If one is not a set of points, or the numbers of features differ.
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
        name: Name of the argument.
        labels: Whole numbers, shape ``[count]``; any of them may name a class.
        count: Number of rows that the labels belong to.
        of: Name of the argument with these rows.

    Raises:
        ValueError: If they are not whole numbers in one axis, or not one for each row.
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


def as_scores(
    name: str, scores: object, *, minimum: int = 2
) -> Float64[np.ndarray, " n"]:
    """Return a copy of ``scores`` as finite float64, one per sample, shape ``[n]``.

    Args:
        name: Name of the argument.
        scores: n numbers.
        minimum: Least number of samples.

    Raises:
        ValueError: If they are not numbers, not finite, too few, or not in one axis.
    """
    array = _checked(
        name, scores, dtype=np.float64, copy=True, ensure_min_samples=minimum
    )
    if array.ndim != 1:
        shape = as_text(f"shape {array.shape}")
        raise fail(name, "have 1 axis, one score per sample", shape)
    return array


def check_neighbours(name: str, points: int, k: int, fix: str = "") -> None:
    """Refuse a set that is too small for a k-th neighbour.

    Args:
        name: Name of the argument.
        points: Number of its points.
        k: Which neighbour.
        fix: Another remedy, to follow "or".

    Raises:
        ValueError: If there are fewer than ``k + 1`` points: a point is not its own
            neighbour.
    """
    if points > k:
        return
    lower = f"Lower k to {points - 1} at most, or give" if points > 1 else "Give"
    raise fail(
        name,
        f"have at least k + 1 = {k + 1} points for k = {k} neighbours",
        points,
        f"{lower} more points{f', or {fix}' if fix else ''}.",
    )


def _checked(name: str, values: object, **rules: Any) -> np.ndarray:
    """Return a finite numeric array, or the reason of scikit-learn in one sentence."""
    from sklearn.utils import check_array

    try:
        return check_array(
            values, ensure_2d=False, allow_nd=True, input_name=name, **rules
        )
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidValueError(f"{name} must be numbers: {reason}") from None
