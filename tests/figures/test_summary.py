"""A table's means, as text to read and one at a time."""

from __future__ import annotations

import math

import pytest

from isa_toolkit.analysis.intervals import paired_interval
from isa_toolkit.figures.results_table import as_table, row, with_means
from isa_toolkit.figures.summary import mean_of, summary


def table(predictors=("network",)):
    values = {"frepo": (10.0, 50.0), "isa": (11.0, 53.0)}
    rows = [
        row(
            dataset="toy", images_per_class=1, predictor=predictor, setting=name,
            quantity="accuracy_percent", seed=seed, value=value,
        )
        for predictor in predictors
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    ]  # fmt: skip
    return with_means(as_table(rows), against="frepo")


def test_every_mean_and_difference_is_a_row():
    made = summary(table())
    assert list(made.columns) == ["minus", "mean", "95 %", "n"]
    assert list(made.index) == [
        "FRePo",
        "FRePo + crucial + ISA",
        "FRePo + crucial + ISA",
    ]
    expected = paired_interval([11.0, 53.0], [10.0, 50.0])
    [frepo, isa, gain] = made.to_dict("records")
    assert (frepo["mean"], frepo["minus"], isa["mean"]) == ("30.0", "", "32.0")
    assert (gain["minus"], gain["mean"]) == ("FRePo", "+2.0")
    assert gain["95 %"] == f"{expected.low:+.1f} to {expected.high:+.1f}"


def test_what_tells_rows_apart_has_a_column():
    both = table(("network", "krr"))
    assert set(summary(both).predictor) == {"network", "krr"}
    assert "predictor" not in summary(both, predictor="krr")
    assert len(summary(both, predictor="krr", setting="isa")) == 2
    assert summary(both, decimals=0)["mean"].iloc[0] == "30"
    assert summary(both, setting="mixup").empty


def test_one_seed_has_no_interval_and_no_difference_no_column():
    one = with_means(
        as_table([row(setting="other_one", quantity="q", seed=0, value=1)])
    )
    made = summary(one)
    assert list(made.index) == ["other one"]
    assert made.to_dict("records") == [{"mean": "1.0", "95 %": "", "n": "1"}]
    assert math.isnan(mean_of(one, "other_one").low)


def test_one_mean_is_the_interval_itself():
    gain = mean_of(table(), "isa", minus="frepo")
    expected = paired_interval([11.0, 53.0], [10.0, 50.0])
    assert gain[:5] == pytest.approx(expected[:5])
    assert gain.excludes_zero is expected.excludes_zero
    assert mean_of(table(), "isa").mean == 32.0
    assert mean_of(table(), "isa").kind == "distilled sets"


def test_what_names_no_row_or_several_is_refused():
    both = table(("network", "krr"))
    with pytest.raises(ValueError, match="must name one mean of the table, got 2"):
        mean_of(both, "isa")
    with pytest.raises(ValueError, match="must name one mean of the table, got 0"):
        mean_of(both, "isa", predictor="network", x=0.2)
    with pytest.raises(ValueError, match="column must be one of"):
        mean_of(both, "isa", colour="red")
    with pytest.raises(ValueError, match="decimals must be at least 0"):
        summary(both, decimals=-1)
