"""The histogram's parts are what is kept and what is dropped."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.analysis import ranking
from isa_toolkit.datasets import load_dataset
from isa_toolkit.figures import score_histogram

SCORES = np.random.default_rng(0).gamma(1.0, 0.3, 1000)


def test_parts_hold_what_is_dropped_and_meet_at_the_cuts():
    table = score_histogram.compute(SCORES, drop_easy=0.2, drop_hard=0.1)
    parts = table.groupby("part")
    assert dict(parts.samples.first()) == {"easy": 200, "hard": 100, "kept": 700}
    ascending = np.sort(SCORES)
    left, right = parts.left.min(), parts.right.max()
    assert ascending[199] < right["easy"] == left["kept"] < ascending[200]
    assert ascending[899] < right["kept"] == left["hard"] < ascending[900]
    words = score_histogram.caption(table)
    assert "1,000 real" in words
    assert "200 are dropped from the easy end and 100 from the hard one" in words


def test_the_bins_are_those_of_all_scores_wherever_the_cuts_are():
    whole = score_histogram.compute(SCORES)
    assert whole["count"].sum() == len(SCORES)
    cut = score_histogram.compute(SCORES, drop_easy=0.2, drop_hard=0.1)
    for row in cut.itertuples():
        [around] = whole[
            (whole.left <= row.left) & (whole.right >= row.right)
        ].itertuples()
        assert row.count == around.count
    assert len(cut) == len(whole) + 2  # one bin at each cut is split


def test_equal_and_zero_scores_can_be_drawn():
    for scores in (np.zeros(10), np.full(10, 0.5)):
        table = score_histogram.compute(scores, drop_easy=0.2)
        assert table.groupby("part").samples.first().sum() == 10
        assert score_histogram.draw(table).axes


def test_bars_and_lines_are_those_of_the_table():
    table = score_histogram.compute(SCORES, drop_easy=0.2, drop_hard=0.1)
    [ax] = score_histogram.draw(table).axes
    drawn = [patch.get_data() for patch in ax.patches]
    assert np.concatenate([one.values for one in drawn]).tolist() == list(
        table["count"]
    )
    kept = table[table.part == "kept"]
    lines = [line.get_xdata()[0] for line in ax.lines]
    assert lines == [kept.left.min(), kept.right.max()]


def test_a_browser_has_the_cuts_and_classes_of_each_percent():
    digits = load_dataset("digits", limit=200)
    labels = digits.train.labels
    scores = np.random.default_rng(1).random(len(labels))
    data = score_histogram.for_browser(scores, digits)
    for percent in (0, 1, 33, 90):
        table = score_histogram.compute(scores, drop_hard=percent / 100)
        kept = table[table.part == "kept"]
        assert 10 ** data["cuts"]["hard"][percent] == pytest.approx(kept.right.max())
        gone = ~ranking.kept(scores, drop_hard=percent / 100)
        assert [one["hard"][percent] for one in data["classes"]] == [
            gone[labels == number].sum() for number in range(10)
        ]
    assert sum(data["counts"]) == data["total"] == len(labels)


def test_classes_of_what_is_dropped_add_up():
    digits = load_dataset("digits", limit=200)
    scores = np.random.default_rng(1).random(len(digits.train.labels))
    table = score_histogram.composition(scores, digits, fraction=0.25)
    assert table.dropped.sum() == ranking.dropped_count(len(scores), 0.25)
    assert table.dropped_percent.to_numpy() == pytest.approx(
        100 * table.dropped / table.images
    )
    gone = ranking.easiest(scores, int(table.dropped.sum()))
    assert table.dropped[3] == (digits.train.labels[gone] == 3).sum()
