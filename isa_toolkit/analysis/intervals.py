"""Confidence intervals of means over seeds, networks and distilled sets.

Every interval names in ``kind`` what it varies over; two of different kinds answer
different questions and must not be compared. Values keep their unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Real

from isa_toolkit.checks import as_text, check_number, fail


class Interval(NamedTuple):
    """A mean with its confidence interval.

    mean: The estimate, in the unit of the values.
    low: Lower end; NaN for a single value, which has no spread.
    high: Upper end; NaN for a single value.
    half_width: Half of ``high - low``; NaN for a single value.
    n: Number of independent values.
    level: Confidence level, above 0 and below 1.
    kind: What the values vary over, for a caption.
    """

    mean: float
    low: float
    high: float
    half_width: float
    n: int
    level: float
    kind: str

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval; False where its width is unknown."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: Sequence[float] | Real[np.ndarray, " n"], *, level: float = 0.95
) -> Interval:
    """Return the mean with Student's t interval.

    ``mean ± t_(n-1) s / sqrt(n)`` with the sample standard deviation ``s`` (n - 1 in
    the denominator). It covers at ``level`` for independent normal values.

    Raises:
        ValueError: If ``values`` is empty, not one-dimensional or not finite, or
            ``level`` lies outside (0, 1).

    Example:
        >>> from isa_toolkit.analysis.intervals import mean_interval
        >>> interval = mean_interval([0.80, 0.82, 0.81])
        >>> print(f"{interval.mean:.2f} ± {interval.half_width:.3f}")
        0.81 ± 0.025
    """
    array = _finite("values", values)
    level = check_number("level", level)
    if not 0 < level < 1:
        raise fail("level", "lie between 0 and 1", level, "Write 95 % as level=0.95.")
    n, mean, half = array.size, float(array.mean()), math.nan
    if n > 1:
        from scipy.special import stdtrit

        # Not scipy.stats.ttest_1samp: it warns where all values are equal.
        quantile = float(stdtrit(n - 1, (1 + level) / 2))
        half = quantile * float(array.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, half, n, level, "values")


def paired_interval(
    treatment: Sequence[float] | Real[np.ndarray, " n"],
    control: Sequence[float] | Real[np.ndarray, " n"],
    *,
    level: float = 0.95,
) -> Interval:
    """Return the mean of ``treatment - control``, seed by seed, with Student's t interval.

    What both settings have in common (first images, batches, networks) cancels in
    ``treatment_i - control_i``, so that a small effect is visible that two separate
    intervals would hide.

    Raises:
        ValueError: If the lengths differ, a value is not finite, or ``level`` lies
            outside (0, 1).
    """
    first, second = _finite("treatment", treatment), _finite("control", control)
    if first.size != second.size:
        raise fail(
            "treatment and control",
            "have one value for each seed, in the same order",
            as_text(f"{first.size} and {second.size} values"),
            "Leave out the seeds that only one of them has.",
        )
    interval = mean_interval(first - second, level=level)
    return interval._replace(kind="paired differences")


def _finite(name: str, values: object) -> np.ndarray:
    """Return ``values`` as a float64 array of one axis, or say what is wrong."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise fail(name, "be numbers in rows of equal length", values) from None
    shape = as_text(f"shape {array.shape}")
    if array.ndim != 1:
        raise fail(name, "have 1 axis", shape)
    if array.size == 0:
        raise fail(name, "have at least one value", shape)
    if not np.isfinite(array).all():
        bad = float(array[~np.isfinite(array)][0])
        raise fail(name, "be finite", bad, "Leave out the seeds that did not finish.")
    return array
