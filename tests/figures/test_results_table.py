"""Rows, means over seeds, paired differences and their text, by hand."""

from __future__ import annotations

import math

import pytest

from isa_toolkit.analysis.intervals import mean_interval, paired_interval
from isa_toolkit.figures.results_table import (
    COLUMNS,
    as_table,
    concatenate,
    differences,
    findings,
    format_interval,
    mean_of,
    means,
    summary,
    with_means,
)


def by_seed():
    """Two seeds far apart; "isa" is 1 and 3 above "frepo"."""
    values = {"frepo": (10.0, 50.0), "isa": (11.0, 53.0)}
    return as_table(
        {
            "dataset": "toy",
            "images_per_class": 1,
            "predictor": "network",
            "setting": name,
            "quantity": "accuracy_percent",
            "seed": seed,
            "value": value,
        }
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    )


def test_a_mean_carries_its_interval_over_seeds():
    unbounded = by_seed().assign(quantity="vendi")
    [frepo, isa] = means(unbounded).to_dict("records")
    expected = mean_interval([10.0, 50.0])
    assert (frepo["setting"], frepo["value"], frepo["n"]) == ("frepo", 30.0, 2)
    assert (frepo["low"], frepo["high"]) == (expected.low, expected.high)
    assert isa["value"] == 32.0


def test_intervals_of_accuracies_and_recalls_stay_in_their_range():
    table = by_seed()
    wide = means(table)
    free = mean_interval([10.0, 50.0])
    assert free.low < 0
    assert free.high > 100
    assert (wide.low == 0).all()
    assert (wide.high == 100).all()
    fractions = means(table.assign(quantity="recall_k5", value=table.value / 100))
    assert (fractions.high == 1).all()
    others = means(table.assign(quantity="vendi"))
    assert others.low.iloc[0] == pytest.approx(free.low)
    # A difference may have any sign.
    assert differences(table, "frepo").low.iloc[0] < 0
    assert mean_of(wide, "frepo").half_width == pytest.approx(70)


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
        return {"setting": name, "quantity": "q", "x": x, "seed": seed, "value": value}

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
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 4 + 2 + 1
    assert table.seed.isna().sum() == 3


def test_no_rows_have_no_means():
    assert len(with_means(as_table([]), against="frepo")) == 0


def accuracies(predictors=("network",)):
    values = {"frepo": (10.0, 50.0), "isa": (11.0, 53.0)}
    rows = [
        {
            "dataset": "toy",
            "images_per_class": 1,
            "predictor": predictor,
            "setting": name,
            "quantity": "accuracy_percent",
            "seed": seed,
            "value": value,
        }
        for predictor in predictors
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    return with_means(as_table(rows), against="frepo")


def test_a_summary_holds_every_mean_and_difference():
    made = summary(accuracies())
    assert made.columns.name == "mean [95 % interval], n = 2"
    assert list(made.columns) == ["test accuracy, %", "minus FRePo"]
    assert list(made.index) == ["FRePo", "FRePo + crucial + ISA"]
    expected = paired_interval([11.0, 53.0], [10.0, 50.0])
    gain = f"+2.0 [{expected.low:+.1f}, {expected.high:+.1f}]"
    assert list(made["minus FRePo"]) == ["", gain]
    assert made.iloc[1, 0].startswith("32.0 [")


def test_a_difference_that_excludes_zero_has_a_star():
    table = accuracies()
    shifted = table.against.notna()
    table.loc[shifted, "low"] = 0.5
    table.loc[shifted, "high"] = 3.5
    made = summary(table)
    assert made.columns.name.endswith("; * excludes 0")
    assert made.iloc[1, 1].endswith("] *")
    assert not made.iloc[0, 0].endswith("*")
    assert "**FRePo + crucial + ISA**: +2.0 [+0.5, " in findings(table)
    assert "higher than FRePo" in findings(table)
    table.loc[shifted, ["value", "low", "high"]] = -2, -3, -1
    assert "lower than FRePo" in findings(table)


def test_what_tells_rows_apart_is_in_a_summary():
    both = accuracies(("network", "ridge"))
    assert "ridge, minus FRePo" in summary(both)
    assert list(summary(both, predictor="ridge")) == ["test accuracy, %", "minus FRePo"]
    gains = summary(both, against="frepo", predictor=["network", "ridge"])
    assert gains.columns.name.startswith("minus FRePo: mean")
    assert list(gains) == ["network, %", "ridge, %"]
    assert summary(both, decimals=0).iloc[0, 0].startswith("30 [")
    assert summary(both, setting="mixup").empty
    at = [0.1 if key == "frepo" else 200 for key in both.setting]
    assert list(summary(both.assign(x=at)).index) == [
        "FRePo, 10 %",
        "FRePo + crucial + ISA, step 200",
    ]


def test_differences_to_several_baselines_are_rows():
    table = accuracies()
    other = table[table.against.notna()].assign(setting="mixup", against="isa")
    made = summary(concatenate([table, other]))
    assert list(made.columns) == ["test accuracy, %"]
    assert list(made.index[2:]) == [
        "FRePo + crucial + ISA minus FRePo",
        "crucial + MixUp minus FRePo + crucial + ISA",
    ]


def test_quantities_of_one_setting_are_rows():
    rows = [
        {"setting": "frepo", "quantity": name, "seed": seed, "value": value + seed}
        for name, value in (("recall_k5", 1), ("vendi_pixels", 3))
        for seed in (0, 1)
    ]
    made = summary(with_means(as_table(rows)))
    assert list(made.index) == ["recall", "Vendi score (pixels)"]
    assert list(made.columns) == ["mean"]


def test_one_seed_has_no_interval_and_no_difference_no_column():
    one = with_means(
        as_table([{"setting": "other_one", "quantity": "q", "seed": 0, "value": 1}])
    )
    made = summary(one)
    assert list(made.index) == ["other one"]
    assert made.to_dict("records") == [{"q": "1.00"}]
    assert math.isnan(mean_of(one, "other_one").low)


def test_findings_name_every_difference():
    text = findings(accuracies(("network", "ridge")))
    assert "from FRePo" in text
    for predictor in ("network", "ridge"):
        assert f"FRePo + crucial + ISA, {predictor} +2.0 [" in text
    assert "**" not in text
    assert text._repr_markdown_() == str(text)


def test_one_mean_is_the_interval_itself():
    gain = mean_of(accuracies(), "isa", minus="frepo")
    expected = paired_interval([11.0, 53.0], [10.0, 50.0])
    assert gain[:5] == pytest.approx(expected[:5])
    assert gain.excludes_zero is expected.excludes_zero
    assert mean_of(accuracies(), "isa").mean == 32.0
    assert mean_of(accuracies(), "isa").kind == "distilled sets"


def test_what_names_no_row_or_several_is_refused():
    both = accuracies(("network", "ridge"))
    with pytest.raises(ValueError, match="must select one mean of the table, got 2"):
        mean_of(both, "isa")
    with pytest.raises(ValueError, match="must select one mean of the table, got 0"):
        mean_of(both, "isa", predictor="network", x=0.2)
    with pytest.raises(ValueError, match="column must be one of"):
        mean_of(both, "isa", colour="red")
    with pytest.raises(ValueError, match="decimals must be at least 0"):
        summary(both, decimals=-1)


@pytest.mark.parametrize(
    ("numbers", "signed", "text"),
    [
        ((87.234, 86.5, 88.0), False, ("87.2", "86.5 to 88.0")),
        ((0.4321, 0.1, 0.7), True, ("+0.432", "+0.100 to +0.700")),
        ((-1.5, -2.25, -0.75), True, ("-1.50", "-2.25 to -0.75")),
        ((0.00123, 0.001, 0.0014), False, ("0.00123", "0.00100 to 0.00140")),
        ((1234.5, 1200, 1300), False, ("1234", "1200 to 1300")),
        ((0.0, 0.0, 0.0), True, ("+0.00", "+0.00 to +0.00")),
        ((-1e-9, -3.0, 3.0), True, ("+0.00", "-3.00 to +3.00")),
        ((99.9, math.nan, math.nan), False, ("99.9", "")),
        ((math.nan, math.nan, math.nan), False, ("–", "")),
    ],
)
def test_numbers_have_three_digits_with_their_interval(numbers, signed, text):
    assert format_interval(*numbers, signed=signed) == text
