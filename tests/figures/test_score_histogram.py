"""The histogram's parts are what is kept and what is dropped."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.analysis import ranking
from isa_toolkit.datasets import load_dataset
from isa_toolkit.figures import score_histogram

SCORES = np.random.default_rng(0).gamma(1.0, 0.3, 1000)


def test_every_sample_is_in_one_part_and_one_bin():
    table = score_histogram.compute(SCORES, drop_easy=0.2, drop_hard=0.1)
    samples = table.groupby("part")["count"].sum()
    assert dict(samples) == {"easy": 200, "hard": 100, "kept": 700}
    kept = table[table.part == "kept"].iloc[0]
    mask = ranking.kept(SCORES, drop_easy=0.2, drop_hard=0.1)
    assert (kept.least, kept.largest) == (SCORES[mask].min(), SCORES[mask].max())
    words = score_histogram.caption(table)
    assert "1,000 real" in words
    assert "200 are dropped from the easy end and 100 from the hard one" in words


def test_equal_and_zero_scores_can_be_drawn():
    for scores in (np.zeros(10), np.full(10, 0.5)):
        table = score_histogram.compute(scores, drop_easy=0.2)
        assert table["count"].sum() == 10
        assert score_histogram.draw(table).axes


def test_bars_stack_to_the_counts_and_lines_stand_at_the_cuts():
    table = score_histogram.compute(SCORES, drop_easy=0.2, drop_hard=0.1)
    [ax] = score_histogram.draw(table).axes
    tops = [patch.get_data().values for patch in ax.patches]
    total = table.groupby("left")["count"].sum().to_numpy()
    assert tops[-1] == pytest.approx(total)
    kept = table[table.part == "kept"].iloc[0]
    assert [line.get_xdata()[0] for line in ax.lines] == [kept.least, kept.largest]


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
