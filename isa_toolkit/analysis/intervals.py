"""Confidence intervals of means over seeds, networks and distilled sets.

Every interval names in ``kind`` what it varies over; two of different kinds answer
different questions and must not be compared. Values keep their unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy.special import stdtrit

from isa_toolkit.checks import as_text, check_number, fail

__all__ = [
    "Interval",
    "NestedIntervals",
    "mean_interval",
    "nested_interval",
    "paired_interval",
]


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


class NestedIntervals(NamedTuple):
    """Two intervals around one mean, for networks trained on several distilled sets.

    over_networks: Interval for other networks on the same distilled sets. The narrow one;
        with one set it is the interval behind the published "± over 5 networks".
    over_sets: Interval for other distilled sets of the same method. The one for claims
        about a method; NaN with one set.
    within_set_sd: Standard deviation of networks around the mean of their set, pooled
        over the sets; NaN with one network.
    set_means: Mean of each set, [sets].
    """

    over_networks: Interval
    over_sets: Interval
    within_set_sd: float
    set_means: Float[np.ndarray, " sets"]


def mean_interval(
    values: Sequence[float] | Real[np.ndarray, " n"], *, level: float = 0.95
) -> Interval:
    """Return the mean with Student's t interval.

    ``mean ± t_(n-1) s / sqrt(n)`` with the sample standard deviation ``s`` (n - 1 in
    the denominator). It covers at ``level`` for independent normal values.

    Args:
        values: One number for each seed, shape ``[n]``, n at least 1.
        level: Confidence level, above 0 and below 1.

    Returns:
        The interval. With n = 1 its ends and its half width are NaN.

    Raises:
        TypeError: If ``level`` is not a number.
        ValueError: If ``values`` is empty, not one-dimensional or not finite, or
            ``level`` lies outside (0, 1).

    Example:
        >>> from isa_toolkit.analysis.intervals import mean_interval
        >>> interval = mean_interval([0.80, 0.82, 0.81])
        >>> print(f"{interval.mean:.2f} ± {interval.half_width:.3f}")
        0.81 ± 0.025
    """
    array = _finite("values", values, axes=1)
    return _student(
        array.mean(),
        _deviation(array),
        array.size,
        freedom=array.size - 1,
        level=_level(level),
        kind="values",
    )


def paired_interval(
    treatment: Sequence[float] | Real[np.ndarray, " n"],
    control: Sequence[float] | Real[np.ndarray, " n"],
    *,
    level: float = 0.95,
) -> Interval:
    """Return the mean of the differences, seed by seed, with Student's t interval.

    What both settings have in common (first images, batches, networks) cancels in
    ``treatment_i - control_i``, so that a small effect is visible that two separate
    intervals would hide.

    Args:
        treatment: One number for each seed, shape ``[n]``.
        control: Number of the same seed at the same index, shape ``[n]``.
        level: Confidence level, above 0 and below 1.

    Returns:
        The interval of ``treatment - control``; NaN ends with one pair.

    Raises:
        TypeError: If ``level`` is not a number.
        ValueError: If the lengths differ, a value is not finite, or ``level`` lies
            outside (0, 1).
    """
    first = _finite("treatment", treatment, axes=1)
    second = _finite("control", control, axes=1)
    if first.size != second.size:
        raise fail(
            "treatment and control",
            "have one value for each seed, in the same order",
            as_text(f"{first.size} and {second.size} values"),
            "Leave out the seeds that only one of them has.",
        )
    return mean_interval(first - second, level=level)._replace(
        kind="paired differences"
    )


def nested_interval(
    values: Sequence[Sequence[float]] | Real[np.ndarray, "sets networks"],
    *,
    level: float = 0.95,
) -> NestedIntervals:
    """Return both intervals of networks that were trained on several distilled sets.

    With S sets, K networks on each, and ``x_ij`` the j-th network on set i, around the
    mean of all values:

    - over networks: ``± t_(S(K-1)) s_w / sqrt(S K)``, with the pooled within-set
      variance ``s_w^2 = sum_ij (x_ij - mean_i)^2 / (S (K - 1))``;
    - over sets: ``± t_(S-1) s_m / sqrt(S)``, with the standard deviation ``s_m`` of
      the S set means, which contains the spread of sets *and* the remaining spread of
      networks.

    Args:
        values: One number for each network, shape ``[sets, networks]``.
        level: Confidence level, above 0 and below 1.

    Returns:
        Both intervals, the pooled standard deviation and the set means. Networks of
        one set are not independent draws of the method, so the first interval says
        nothing about another distilled set.

    Raises:
        TypeError: If ``level`` is not a number.
        ValueError: If ``values`` is empty, not two-dimensional or not finite, or
            ``level`` lies outside (0, 1).

    Source: one-way random-effects analysis of variance, balanced case.
    """
    array = _finite("values", values, axes=2)
    sets, networks = array.shape
    confidence = _level(level)
    means = array.mean(axis=1)
    freedom = sets * (networks - 1)
    residual = float(np.square(array - means[:, None]).sum())
    within = math.sqrt(residual / freedom) if freedom else math.nan
    return NestedIntervals(
        over_networks=_student(
            array.mean(),
            within,
            array.size,
            freedom=freedom,
            level=confidence,
            kind="networks, with these distilled sets",
        ),
        over_sets=_student(
            array.mean(),
            _deviation(means),
            sets,
            freedom=sets - 1,
            level=confidence,
            kind="distilled sets",
        ),
        within_set_sd=within,
        set_means=means,
    )


def _student(
    mean: float, deviation: float, n: int, *, freedom: int, level: float, kind: str
) -> Interval:
    """Return ``mean ± t deviation / sqrt(n)``, NaN without degrees of freedom."""
    centre = float(mean)
    half = math.nan
    if freedom > 0:
        # Not scipy.stats.ttest_1samp: it warns where all values are equal.
        quantile = float(stdtrit(freedom, (1 + level) / 2))
        half = quantile * deviation / math.sqrt(n)
    return Interval(centre, centre - half, centre + half, half, n, level, kind)


def _deviation(values: np.ndarray) -> float:
    """Return the sample standard deviation, NaN for a single value."""
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def _finite(name: str, values: object, *, axes: int | None) -> np.ndarray:
    """Return ``values`` as a float64 array of this many axes, or say what is wrong."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise fail(name, "be numbers in rows of equal length", values) from None
    shape = as_text(f"shape {array.shape}")
    if axes is not None and array.ndim != axes:
        raise fail(name, f"have {axes} {'axis' if axes == 1 else 'axes'}", shape)
    if array.ndim == 0 or array.size == 0:
        raise fail(name, "have at least one value", shape)
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].flat[0]
        raise fail(
            name, "be finite", float(bad), "Leave out the seeds that did not finish."
        )
    return array


def _level(level: float) -> float:
    """Return a confidence level that lies strictly between 0 and 1."""
    number = check_number("level", level)
    if not 0 < number < 1:
        raise fail("level", "lie between 0 and 1", number, "Write 95 % as level=0.95.")
    return number
