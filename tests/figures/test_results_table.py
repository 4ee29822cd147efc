"""Rows, means over seeds and paired differences, by hand."""

from __future__ import annotations

import math

import pytest

from isa_toolkit.analysis.intervals import mean_interval
from isa_toolkit.figures.results_table import (
    COLUMNS,
    as_table,
    differences,
    means,
    row,
    with_means,
)


def by_seed():
    """Two seeds far apart; "isa" is 1 and 3 above "frepo"."""
    values = {"frepo": (10.0, 50.0), "isa": (11.0, 53.0)}
    return as_table(
        row(
            dataset="toy", images_per_class=1, predictor="network", setting=name,
            quantity="accuracy_percent", seed=seed, value=value,
        )
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    )  # fmt: skip


def test_a_mean_carries_its_interval_over_seeds():
    [frepo, isa] = means(by_seed()).to_dict("records")
    expected = mean_interval([10.0, 50.0])
    assert (frepo["setting"], frepo["value"], frepo["n"]) == ("frepo", 30.0, 2)
    assert (frepo["low"], frepo["high"]) == (expected.low, expected.high)
    assert isa["value"] == 32.0


def test_a_difference_is_paired_by_seed():
    [difference] = differences(by_seed(), "frepo").to_dict("records")
    assert difference["setting"] == "isa"
    assert difference["against"] == "frepo"
    assert difference["value"] == 2.0
    # 12.706 = Student's t with one degree of freedom; the differences are 1 and 3.
    half = difference["high"] - difference["value"]
    assert half == pytest.approx(12.706, rel=1e-3)


def test_seeds_that_only_one_side_has_are_left_out():
    table = by_seed()
    table = table[~((table.setting == "frepo") & (table.seed == 1))]
    [difference] = differences(table, "frepo").to_dict("records")
    assert difference["value"] == 1.0
    assert math.isnan(difference["low"])


def test_points_of_a_curve_pair_with_the_same_point_or_with_one_baseline():
    def curve(name, x, seed, value):
        return row(setting=name, quantity="q", x=x, seed=seed, value=value)

    same = as_table(
        curve(name, x, seed, x * 10 + seed + (name == "isa"))
        for name in ("frepo", "isa")
        for x in (1, 2)
        for seed in (0, 1)
    )
    assert list(differences(same, "frepo").value) == [1, 1]
    flat = as_table(
        [curve("frepo", None, seed, 5) for seed in (0, 1)]
        + [curve("isa", x, seed, 5 + x) for x in (1, 2) for seed in (0, 1)]
    )
    found = differences(flat, "frepo")
    assert list(found.x) == [1, 2]
    assert list(found.value) == [1, 2]


def test_all_in_one_table_in_one_form():
    table = with_means(by_seed(), "frepo")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 4 + 2 + 1
    assert table.seed.isna().sum() == 3


def test_no_rows_have_no_means():
    assert len(with_means(as_table([]), against="frepo")) == 0
