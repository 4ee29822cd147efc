"""Intervals: coverage by simulation, agreement with SciPy, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isa_toolkit.analysis.intervals import (
    Interval,
    mean_interval,
    paired_interval,
)


def test_mean_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.05, size=7)
    ours = mean_interval(values, level=0.9)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.mean == pytest.approx(values.mean())
    assert ours.half_width == pytest.approx((ours.high - ours.low) / 2)
    assert (ours.n, ours.level) == (7, 0.9)


def test_equal_values_have_an_interval_of_width_0() -> None:
    assert mean_interval([0.5, 0.5, 0.5])[:4] == (0.5, 0.5, 0.5, 0)


def test_paired_interval_agrees_with_scipy() -> None:
    generator = np.random.default_rng(1)
    control = generator.normal(size=6)
    treatment = control + generator.normal(0.3, 0.1, size=6)
    ours = paired_interval(treatment, control)
    theirs = stats.ttest_rel(treatment, control).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.kind == "paired differences"


def test_pairing_shows_an_effect_that_two_intervals_hide() -> None:
    # Digits at 1 image per class: first images move accuracy by 9 points, the setting
    # by half a point in every seed.
    control = np.array([0.887, 0.845, 0.801])
    treatment = control + np.array([0.005, 0.004, 0.006])
    apart = [mean_interval(values) for values in (control, treatment)]
    assert apart[0].high > apart[1].low
    assert paired_interval(treatment, control).excludes_zero


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_mean_interval_covers_at_its_level(level: float) -> None:
    generator = np.random.default_rng(2)
    trials = 1000
    hits = sum(
        interval.low <= 3 <= interval.high
        for interval in (
            mean_interval(row, level=level)
            for row in generator.normal(3, 2, size=(trials, 4))
        )
    )
    assert hits / trials == pytest.approx(level, abs=_four_sigma(level, trials))


def test_one_value_leaves_the_width_unknown() -> None:
    interval = mean_interval([0.8])
    assert interval.mean == 0.8
    assert all(map(math.isnan, (interval.low, interval.high, interval.half_width)))
    assert not interval.excludes_zero
    assert math.isnan(paired_interval([0.8], [0.1]).half_width)


@pytest.mark.parametrize(
    ("low", "high", "excludes"),
    [(-1, 1, False), (0, 1, False), (0.1, 1, True), (-1, -0.1, True), (-1, 0, False)],
)
def test_excludes_zero(low: float, high: float, excludes: bool) -> None:
    interval = Interval((low + high) / 2, low, high, (high - low) / 2, 3, 0.95, "x")
    assert interval.excludes_zero is excludes


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], r"values must have at least one value, got shape \(0,\)\."),
        ([[1.0, 2.0]], r"values must have 1 axis, got shape \(1, 2\)\."),
        ([1.0, math.nan], r"values must be finite, got nan\. Leave out the seeds"),
        ([[1.0], [2.0, 3.0]], "values must be numbers in rows of equal length"),
        (["high"], r"values must be numbers in rows of equal length, got \['high'\]"),
    ],
)
def test_values_that_are_no_sample_are_refused(values: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mean_interval(values)


def test_unpaired_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same order, got 3 and 2 values\. Leave out"):
        paired_interval([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("level", [0, 1, 95, -0.5])
def test_a_level_is_a_fraction(level: float) -> None:
    with pytest.raises(
        ValueError, match=r"level must lie between 0 and 1, got .*0\.95"
    ):
        mean_interval([1.0, 2.0], level=level)


def _four_sigma(level: float, trials: int) -> float:
    return 4 * math.sqrt(level * (1 - level) / trials)
