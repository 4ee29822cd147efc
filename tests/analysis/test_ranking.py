"""Easy and hard: the rule of the losses, hand-made ranks, and chance."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from isa_toolkit.analysis.ranking import (
    borderline,
    class_composition,
    dropped_count,
    easiest,
    hardest,
    kept,
    order,
    rank_stability,
    within_class,
)
from isa_toolkit.losses import crucial

SCORES = np.array([0.5, 0.1, 0.9, 0.1, 0.7])


@pytest.mark.parametrize("count", [1, 7, 10, 50, 1024])
def test_counts_are_those_of_exact_arithmetic(count):
    for share in ["0", ".1", ".2", ".3", ".333", ".5", ".7", ".95", ".999"]:
        exact = count - math.floor((1 - Fraction(share)) * count)
        assert dropped_count(count, float(share)) == min(exact, count - 1)
        assert dropped_count(count, float(np.float32(share))) == min(exact, count - 1)
    assert dropped_count(10, 0.1 + 0.2) == 3


def test_what_is_kept_is_what_a_run_keeps():
    # Few different values, so that ties are decided too.
    scores = np.random.default_rng(5).integers(4, size=50).astype(np.float32)
    for easy, hard in [(0.2, 0.0), (0.0, 0.3), (0.3, 0.3), (0.9, 0.9)]:
        ours = kept(scores, drop_easy=easy, drop_hard=hard)
        theirs = crucial.select(jnp.asarray(scores), drop_easy=easy, drop_hard=hard)
        np.testing.assert_array_equal(ours, np.asarray(theirs) == 1)


@pytest.mark.parametrize("fraction", [0.2, 0.3, 0.9])
def test_the_easiest_and_the_hardest_are_what_a_run_drops(fraction):
    scores = np.random.default_rng(6).integers(4, size=50)
    count = dropped_count(50, fraction)
    dropped = np.flatnonzero(~kept(scores, drop_easy=fraction))
    assert sorted(easiest(scores, count)) == dropped.tolist()
    dropped = np.flatnonzero(~kept(scores, drop_hard=fraction))
    assert sorted(hardest(scores, count)) == dropped.tolist()


def test_order_by_hand():
    assert order(SCORES).tolist() == [1, 3, 0, 4, 2]
    assert easiest(SCORES, 2).tolist() == [1, 3]
    assert hardest(SCORES, 2).tolist() == [2, 4]
    assert hardest(SCORES, 5).tolist() == order(SCORES)[::-1].tolist()


def test_borderline_lies_around_the_cut():
    scores = np.arange(10.0)
    # .3 drops 0, 1, 2 at the easy end, or 7, 8, 9 at the hard one.
    assert borderline(scores, 2, fraction=0.3).tolist() == [2, 3]
    assert borderline(scores, 3, fraction=0.3).tolist() == [2, 3, 4]
    assert borderline(scores, 4, fraction=0.3, end="hard").tolist() == [5, 6, 7, 8]
    # Where one side runs out, the other gives more.
    assert borderline(scores, 8, fraction=0.1).tolist() == list(range(8))
    assert borderline(scores, 8, fraction=0.1, end="hard").tolist() == list(
        range(2, 10)
    )
    assert borderline(-scores, 2, fraction=0.3).tolist() == [7, 6]


def test_rank_stability_agrees_with_scipy():
    scores = np.random.default_rng(6).integers(9, size=(4, 30)).astype(float)
    found = rank_stability(scores, fraction=0.25)
    theirs = stats.spearmanr(scores, axis=1).statistic
    off = theirs[~np.eye(4, dtype=bool)]
    assert found.spearman == pytest.approx(off.mean())
    gone = [set(easiest(row, 8).tolist()) for row in scores]
    overlaps = [len(one & two) / len(one | two) for one, two in combinations(gone, 2)]
    assert found.jaccard == pytest.approx(np.mean(overlaps))


def test_rank_stability_by_hand():
    scores = np.array([[1.0, 2, 3, 4], [10, 30, 20, 40], [4, 3, 2, 1]])
    found = rank_stability(scores, fraction=0.5)
    # 1 - 6 sum d^2 / (n (n^2 - 1)): the middle two swapped, all reversed, both.
    assert found.spearman == pytest.approx((0.8 - 1 - 0.8) / 3)
    assert found.jaccard == pytest.approx((1 / 3 + 0 + 1 / 3) / 3)
    # Two of four: both in common once, one four times, none once in six.
    assert found.jaccard_by_chance == pytest.approx((1 + 4 / 3 + 0) / 6)
    assert rank_stability(scores[:2], fraction=0.25).jaccard == 1
    assert rank_stability(scores[::2], fraction=0.25).jaccard == 0


def test_any_rising_function_of_the_scores_ranks_the_same():
    scores = np.random.default_rng(7).random(50)
    found = rank_stability(np.stack([scores, np.exp(5 * scores), scores**3]))
    assert found.spearman == pytest.approx(1)
    assert found.jaccard == 1


@pytest.mark.parametrize("fraction", [0.2, 0.7])
def test_unrelated_networks_overlap_as_chance_says(fraction):
    scores = np.random.default_rng(8).random((60, 40))
    found = rank_stability(scores, fraction=fraction)
    assert found.jaccard == pytest.approx(found.jaccard_by_chance, abs=0.01)
    assert found.spearman == pytest.approx(0, abs=0.03)


def test_within_classes_a_fraction_drops_as_much_of_each():
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 4, 400)
    scores = generator.gamma(1 + labels)  # classes differ much
    ranked = within_class(scores, labels)
    assert sorted(ranked) == sorted(scores)
    gone = ~kept(ranked, drop_easy=0.3)
    for name in range(4):
        mine = labels == name
        assert abs(gone[mine].sum() - 0.3 * mine.sum()) <= 1
        assert (order(ranked[mine]) == order(scores[mine])).all()
    assert within_class(scores, np.zeros(400, int)).tolist() == scores.tolist()


def test_composition_agrees_with_scipy():
    generator = np.random.default_rng(9)
    labels = generator.choice([2, 5, 8], p=[0.2, 0.3, 0.5], size=200)
    scores = generator.normal(size=200) + 0.3 * labels
    found = class_composition(scores, labels, fraction=0.3)
    table = np.stack([found.dropped, found.sizes - found.dropped])
    theirs = stats.chi2_contingency(table, correction=False)
    assert found.chi_square == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue)
    np.testing.assert_allclose(found.expected, theirs.expected_freq[0])
    gone = labels[easiest(scores, 60)]
    assert found.dropped.tolist() == [(gone == name).sum() for name in (2, 5, 8)]
    assert found.classes.tolist() == [2, 5, 8]
    assert found.p_value < 1e-3
    assert found.residuals[0] > 3


def test_composition_by_hand():
    # Of ten, six of class 0 with the smallest scores; .2 drops two of them.
    found = class_composition(np.arange(10.0), np.repeat([0, 1], [6, 4]), fraction=0.2)
    assert found.sizes.tolist() == [6, 4]
    assert found.dropped.tolist() == [2, 0]
    assert found.expected == pytest.approx([1.2, 0.8])
    assert found.fraction == pytest.approx([1 / 3, 0])
    assert found.expected_fraction == pytest.approx(0.2)
    # .8^2 (1 / .96 + 1 / .64); with two classes the residual is its root.
    assert found.chi_square == pytest.approx(5 / 3)
    assert found.residuals == pytest.approx([math.sqrt(5 / 3), -math.sqrt(5 / 3)])
    hard = class_composition(
        np.arange(10.0), np.repeat([0, 1], [6, 4]), fraction=0.2, end="hard"
    )
    assert hard.dropped.tolist() == [0, 2]


def test_p_values_are_even_where_classes_do_not_matter():
    generator = np.random.default_rng(10)
    labels = np.repeat(np.arange(4), 50)
    tests = [class_composition(generator.random(200), labels) for _ in range(300)]
    values = np.array([one.p_value for one in tests])
    assert (values < 0.05).mean() == pytest.approx(0.05, abs=4 * 0.0126)
    assert values.mean() == pytest.approx(0.5, abs=4 * 0.29 / math.sqrt(300))
    residuals = np.concatenate([one.residuals for one in tests])
    assert residuals.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: order([1.0, math.nan]), r"scores .*NaN"),
        (lambda: order([[1.0]]), "scores must have 1 axis, one score per sample"),
        (lambda: order(["a"]), "scores must be numbers"),
        (lambda: easiest(SCORES, 6), "count must be at most the 5 samples, got 6"),
        (lambda: hardest(SCORES, 0), "count must be at least 1, got 0"),
        (
            lambda: kept(SCORES, drop_easy=1),
            r"drop_easy must be at least 0 and below 1, got 1",
        ),
        (
            lambda: dropped_count(5, -0.1),
            r"fraction must be at least 0 and below 1, got -0.1",
        ),
        (lambda: borderline(SCORES, 1, fraction=0), "Write 20 % as fraction=0.2"),
        (
            lambda: borderline(SCORES, 1, fraction=0.2, end="top"),
            "be one of 'easy', 'ha",
        ),
        (lambda: rank_stability([[1.0], [2.0]]), r"scores\[0\] must differ"),
        (lambda: rank_stability([[1.0, 2.0]]), r"scores .* minimum of 2"),
        (lambda: rank_stability([[1.0, 2], [3]]), "scores must be numbers"),
        (
            lambda: rank_stability([[1.0, 2], [3, 3]]),
            r"scores\[1\] must differ among s",
        ),
        (lambda: rank_stability([[1, 2], [3, np.inf]]), r"scores .*infinity"),
        (
            lambda: rank_stability(np.eye(2), fraction=1),
            "fraction must lie between 0 and 1",
        ),
        (lambda: class_composition(SCORES, [0, 1]), "one class for each of the 5 rows"),
        (
            lambda: class_composition(SCORES, np.ones(5, int)),
            "at least 2 classes, got only 1",
        ),
        (lambda: class_composition(SCORES, SCORES), "labels must be whole numbers"),
    ],
)
def test_what_ranks_nothing_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
