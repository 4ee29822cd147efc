"""Checks of arrays: points, pairs of point sets, labels and scores.

What does not fit raises a ``ValueError`` that names the argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Real

from isa_toolkit.checks import as_text, fail
from isa_toolkit.errors import InvalidValueError


def as_points(
    name: str, points: object, *, minimum: int = 1
) -> Real[np.ndarray, "n d"]:
    """Return at least ``minimum`` points as finite numbers of the type that they have."""
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
    """Return two sets of points, ``[n, d]`` and ``[m, d]``, of one feature space."""
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
    """Return whole numbers, one for each of the ``count`` rows of the argument ``of``."""
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
    """Return a copy of at least ``minimum`` scores, finite, one per sample."""
    array = _checked(
        name, scores, dtype=np.float64, copy=True, ensure_min_samples=minimum
    )
    if array.ndim != 1:
        shape = as_text(f"shape {array.shape}")
        raise fail(name, "have 1 axis, one score per sample", shape)
    return array


def check_neighbours(name: str, points: int, k: int) -> None:
    """Refuse a set of at most k points: a point is not its own neighbour."""
    if points > k:
        return
    lower = f"Lower k to {points - 1} at most, or give" if points > 1 else "Give"
    raise fail(
        name,
        f"have at least k + 1 = {k + 1} points for k = {k} neighbours",
        points,
        f"{lower} more points.",
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
