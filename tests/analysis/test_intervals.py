"""Intervals: coverage by simulation, agreement with SciPy, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isa_toolkit.analysis.intervals import (
    Interval,
    mean_interval,
    nested_interval,
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


def test_each_nested_interval_covers_its_own_question() -> None:
    generator = np.random.default_rng(3)
    trials, sets, networks = 1000, 4, 5
    covers = np.zeros((trials, 3), dtype=bool)
    for trial in range(trials):
        true_sets = generator.normal(0.7, 0.03, size=(sets, 1))
        values = true_sets + generator.normal(0, 0.01, size=(sets, networks))
        both = nested_interval(values)
        covers[trial] = [
            _holds(both.over_networks, true_sets.mean()),
            _holds(both.over_sets, 0.7),
            _holds(both.over_networks, 0.7),
        ]
    these_sets, any_sets, mixed_up = covers.mean(axis=0)
    tolerance = _four_sigma(0.95, trials)
    assert these_sets == pytest.approx(0.95, abs=tolerance)
    assert any_sets == pytest.approx(0.95, abs=tolerance)
    # Mixing them up would claim 95 % and be right a third of the time.
    assert mixed_up < 0.5


def test_nested_interval_of_one_set_is_the_plain_one_over_networks() -> None:
    row = [0.70, 0.72, 0.71, 0.69, 0.73]
    both = nested_interval([row])
    plain = mean_interval(row)
    assert both.over_networks[:4] == pytest.approx(plain[:4])
    assert both.within_set_sd == pytest.approx(np.std(row, ddof=1))
    assert both.over_sets.mean == pytest.approx(plain.mean)
    assert math.isnan(both.over_sets.half_width)


def test_nested_interval_of_single_networks_is_the_plain_one_over_sets() -> None:
    column = [0.70, 0.75, 0.65]
    both = nested_interval([[value] for value in column])
    assert both.over_sets[:4] == pytest.approx(mean_interval(column)[:4])
    assert math.isnan(both.over_networks.half_width)
    assert math.isnan(both.within_set_sd)


def test_nested_interval_by_hand() -> None:
    both = nested_interval([[1.0, 3.0], [5.0, 7.0]])
    # Residuals are all 1, so s_w^2 = 4 / 2; the set means 2 and 6 differ by 4.
    assert both.set_means.tolist() == [2, 6]
    assert both.within_set_sd == pytest.approx(math.sqrt(2))
    expected = stats.t.ppf(0.975, 2) * math.sqrt(2) / 2
    assert both.over_networks.half_width == pytest.approx(expected)
    expected = stats.t.ppf(0.975, 1) * math.sqrt(8) / math.sqrt(2)
    assert both.over_sets.half_width == pytest.approx(expected)
    assert (both.over_networks.n, both.over_sets.n) == (4, 2)
    assert both.over_networks.kind != both.over_sets.kind


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
        (["high"], r"values must be numbers in rows of equal length, got \['high'\]"),
    ],
)
def test_values_that_are_no_sample_are_refused(values: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mean_interval(values)


def test_ragged_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="rows of equal length"):
        nested_interval([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match=r"values must have 2 axes, got shape \(2,\)"):
        nested_interval([1.0, 2.0])  # type: ignore[list-item]


def test_unpaired_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same order, got 3 and 2 values\. Leave out"):
        paired_interval([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("level", [0, 1, 95, -0.5])
def test_a_level_is_a_fraction(level: float) -> None:
    with pytest.raises(
        ValueError, match=r"level must lie between 0 and 1, got .*0\.95"
    ):
        mean_interval([1.0, 2.0], level=level)


def _holds(interval: Interval, value: float) -> bool:
    return bool(interval.low <= value <= interval.high)


def _four_sigma(level: float, trials: int) -> float:
    return 4 * math.sqrt(level * (1 - level) / trials)
