"""How sure a mean is: confidence intervals over seeds, networks and distilled sets.

Every interval says what it varies over in ``kind``; two of different kinds answer
different questions and are not to be compared. Values keep their unit: accuracies go in
as fractions and come out as fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

from isa_toolkit.checks import as_text, check_integer, check_number, fail

__all__ = [
    "Interval",
    "NestedIntervals",
    "bootstrap_interval",
    "mean_interval",
    "nested_interval",
    "paired_interval",
]


class Interval(NamedTuple):
    """A mean (or another statistic) with its confidence interval.

    mean: the estimate, in the unit of the values.
    low: lower end; NaN when one value gives no idea of the spread.
    high: upper end; NaN likewise.
    half_width: half of ``high - low``; NaN likewise.
    n: number of independent values behind it.
    level: confidence level, above 0 and below 1.
    kind: what the values vary over, as words for a caption.
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
        """Whether 0 lies outside the interval; never so when its width is unknown."""
        return self.low > 0 or self.high < 0


class NestedIntervals(NamedTuple):
    """Two intervals around one mean, for networks trained on several distilled sets.

    over_networks: networks drawn anew, these very distilled sets. The narrow one; with
        one set it is the interval behind the published "± over 5 networks".
    over_sets: distilled sets drawn anew too. The one to claim a method by; NaN with
        one set.
    within_set_sd: standard deviation of networks around the mean of their set, pooled
        over the sets; NaN with one network.
    set_means: mean of each set, [sets].
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
        values: one number for each seed, shape ``[n]``, n at least 1.
        level: confidence level, above 0 and below 1.

    Returns:
        The interval. With n = 1 its ends and half width are NaN: one value does not
        tell how far another would lie.

    Raises:
        TypeError: ``level`` is not a number.
        ValueError: ``values`` is empty, not one-dimensional or not finite, or
            ``level`` lies outside (0, 1).
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

    What both settings share (first images, batches, networks) cancels in
    ``treatment_i - control_i``, so a small effect shows that two separate intervals
    would hide.

    Args:
        treatment: one number for each seed, shape ``[n]``.
        control: the number of the same seed at the same place, shape ``[n]``.
        level: confidence level, above 0 and below 1.

    Returns:
        The interval of ``treatment - control``; NaN ends with one pair.

    Raises:
        TypeError: ``level`` is not a number.
        ValueError: the lengths differ, a value is not finite, or ``level`` lies
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
      the S set means, which holds the spread of sets *and* what is left of the spread
      of networks.

    Args:
        values: one number for each network, shape ``[sets, networks]``.
        level: confidence level, above 0 and below 1.

    Returns:
        Both intervals, the pooled standard deviation and the set means. Networks of
        one set are not independent draws of the method, so the first interval is no
        statement about another distilled set.

    Raises:
        TypeError: ``level`` is not a number.
        ValueError: ``values`` is empty, not two-dimensional or not finite, or
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


def bootstrap_interval(
    values: Sequence[float] | Real[np.ndarray, "n *rest"],
    statistic: Callable[[np.ndarray], float],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a statistic with its percentile bootstrap interval.

    For statistics without a formula, such as a recall or a median over many samples.
    With fewer than about 20 values it is too narrow; use `mean_interval` for means of
    a few seeds.

    Args:
        values: independent samples along the first axis, shape ``[n, ...]``.
        statistic: takes an array like ``values`` and returns one number.
        resamples: how many times n samples are drawn with replacement.
        seed: seed of the draws; the same seed gives the same interval.
        level: confidence level, above 0 and below 1.

    Returns:
        The statistic of ``values`` itself with the quantiles of the resampled ones.
        The interval need not be symmetric. With n = 1 its ends are NaN.

    Raises:
        TypeError: a setting is of the wrong kind.
        ValueError: ``values`` is empty or not finite, a setting is out of range, or
            the statistic of a resample is not finite.

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    array = _finite("values", values, axes=None)
    count = check_integer("resamples", resamples, minimum=100)
    generator = np.random.default_rng(check_integer("seed", seed, minimum=0))
    tail = (1 - _level(level)) / 2
    estimate = _number(statistic(array))
    if len(array) == 1:
        low = high = math.nan
    else:
        draws = np.empty(count)
        for index in range(count):
            rows = generator.integers(len(array), size=len(array))
            draws[index] = _number(statistic(array[rows]))
        low, high = (float(end) for end in np.quantile(draws, [tail, 1 - tail]))
    return Interval(
        mean=estimate,
        low=low,
        high=high,
        half_width=(high - low) / 2,
        n=len(array),
        level=level,
        kind="bootstrap resamples",
    )


def _student(
    mean: float, deviation: float, n: int, *, freedom: int, level: float, kind: str
) -> Interval:
    """Return ``mean ± t deviation / sqrt(n)``, NaN without degrees of freedom."""
    centre = float(mean)
    half = math.nan
    if freedom > 0:
        quantile = float(stats.t.ppf((1 + level) / 2, freedom))
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
        raise fail(name, "hold at least one value", shape)
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


def _number(value: object) -> float:
    """Return what a statistic gave as a finite ``float``."""
    array = np.asarray(value)
    if array.size != 1:
        raise fail("statistic", "return one number", as_text(f"shape {array.shape}"))
    return check_number("statistic", array.item())
