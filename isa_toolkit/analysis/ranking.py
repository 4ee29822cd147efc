"""Which samples are easy and which hard, how sure that is, and of which class they are.

A score is large for a hard sample, such as FRePo's loss of each target. Ranks, counts
and ties follow `losses.crucial`, so what is shown here is what a run drops.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy import stats

from isa_toolkit.analysis.validation import as_labels, as_scores
from isa_toolkit.checks import (
    as_text,
    check_fraction,
    check_integer,
    check_number,
    check_one_of,
    fail,
)

__all__ = [
    "Composition",
    "RankStability",
    "borderline",
    "class_composition",
    "dropped_count",
    "easiest",
    "hardest",
    "kept",
    "order",
    "rank_stability",
]

# As in losses.crucial: a count that exceeds a whole number by less than this share of
# itself is that number, for .3 * 50 is 15.0000006 when .3 went through float32.
_ROUNDING = 3e-7

_ENDS = ("easy", "hard")


class RankStability(NamedTuple):
    """How far several networks, or steps, rank the same samples alike.

    spearman: mean rank correlation over pairs, from -1 to 1.
    spearman_matrix: rank correlation of each pair, 1 on the diagonal, [r, r].
    jaccard: mean over pairs of the overlap of what is dropped, a fraction.
    jaccard_matrix: that of each pair, ``|A and B| / |A or B|``, [r, r].
    jaccard_by_chance: its expectation for sets of this size drawn independently.
    dropped: how many samples each network drops.
    """

    spearman: float
    spearman_matrix: Float[np.ndarray, "r r"]
    jaccard: float
    jaccard_matrix: Float[np.ndarray, "r r"]
    jaccard_by_chance: float
    dropped: int


class Composition(NamedTuple):
    """Classes of what is dropped, beside what no preference would drop.

    classes: class numbers, ascending, [c].
    sizes: samples of each class, [c].
    dropped: dropped samples of each class, [c].
    expected: expectation of that if classes did not matter, in samples, [c].
    share: dropped fraction of each class, [c].
    expected_share: dropped fraction of all samples, the same for every class.
    residuals: adjusted standardised residuals, about standard normal without any
        preference, [c].
    chi_square: Pearson's statistic of the table classes x (dropped, kept).
    p_value: its tail probability at c - 1 degrees of freedom; rough where an expected
        count is below 5.
    """

    classes: Int[np.ndarray, " c"]
    sizes: Int[np.ndarray, " c"]
    dropped: Int[np.ndarray, " c"]
    expected: Float[np.ndarray, " c"]
    share: Float[np.ndarray, " c"]
    expected_share: float
    residuals: Float[np.ndarray, " c"]
    chi_square: float
    p_value: float


def order(scores: Real[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the indices of the samples from easiest to hardest, ties by position.

    Args:
        scores: large is hard, [n].

    Returns:
        A permutation of 0 .. n - 1, [n].

    Raises:
        ValueError: scores are not finite, or not in one axis.
    """
    return np.argsort(as_scores("scores", scores, minimum=1), kind="stable")


def dropped_count(count: int, share: float) -> int:
    """Return how many of ``count`` samples a share drops, at most all but one.

    ``n - floor((1 - p) n)`` in exact arithmetic with n = ``count`` and p = ``share``.

    Args:
        count: number of samples, at least 1.
        share: fraction to drop, in [0, 1).

    Returns:
        The number of samples.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: an argument is out of range.

    Source: algorithms 6.1, step 2; the same number as `losses.crucial.select`.
    """
    number = check_integer("count", count)
    exact = check_fraction("share", share) * number
    return min(math.ceil(exact * (1 - _ROUNDING)), number - 1)


def kept(
    scores: Real[np.ndarray, " n"], *, drop_easy: float = 0.0, drop_hard: float = 0.0
) -> Bool[np.ndarray, " n"]:
    """Return which samples a run keeps, True where kept.

    Args:
        scores: large is hard, [n].
        drop_easy: fraction to drop from the easy end, in [0, 1).
        drop_hard: fraction to drop from the hard end, in [0, 1).

    Returns:
        A mask with at least one sample, [n]: the weights of `losses.crucial.select`.

    Raises:
        TypeError: a share is not a number.
        ValueError: scores are not finite, or a share is out of range.

    Source: algorithms 6.1, step 2.
    """
    ascending = order(scores)
    count = len(ascending)
    easy = dropped_count(count, check_fraction("drop_easy", drop_easy))
    hard = dropped_count(count, check_fraction("drop_hard", drop_hard))
    mask = np.zeros(count, dtype=bool)
    mask[ascending[easy : count - min(hard, count - 1 - easy)]] = True
    return mask


def easiest(scores: Real[np.ndarray, " n"], count: int) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` easiest samples, the easiest first.

    Args:
        scores: large is hard, [n].
        count: how many, from 1 to n.

    Returns:
        Indices, [count].

    Raises:
        TypeError: ``count`` is not a whole number.
        ValueError: scores are not finite, or ``count`` is out of range.
    """
    ascending = order(scores)
    return ascending[: _at_most(count, len(ascending))]


def hardest(scores: Real[np.ndarray, " n"], count: int) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` hardest samples, the hardest first.

    Args:
        scores: large is hard, [n].
        count: how many, from 1 to n.

    Returns:
        Indices, [count]; of equal scores the last by position is the hardest.

    Raises:
        TypeError: ``count`` is not a whole number.
        ValueError: scores are not finite, or ``count`` is out of range.
    """
    ascending = order(scores)
    return ascending[::-1][: _at_most(count, len(ascending))]


def borderline(
    scores: Real[np.ndarray, " n"], count: int, *, share: float, end: str = "easy"
) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` samples nearest to the cut, by rank.

    The cut lies between the dropped ``share`` and the rest. Half of the samples are
    taken from each side of it, and one more from above it if ``count`` is odd; where a
    side has too few, the other gives more.

    Args:
        scores: large is hard, [n].
        count: how many, from 1 to n.
        share: fraction that is dropped, above 0 and below 1.
        end: "easy" or "hard": from which end it is dropped.

    Returns:
        Indices from easier to harder, [count].

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: scores are not finite, or an argument is out of range.
    """
    ascending = order(scores)
    total = len(ascending)
    wanted = _at_most(count, total)
    cut = _dropped(total, share)
    if check_one_of("end", end, _ENDS) == "hard":
        cut = total - cut
    start = min(max(cut - wanted // 2, 0), total - wanted)
    return ascending[start : start + wanted]


def rank_stability(
    scores: Real[np.ndarray, "r n"], *, share: float = 0.2, end: str = "easy"
) -> RankStability:
    """Return how alike several networks, or training steps, rank the same samples.

    Spearman's rank correlation of each pair of rows, ties at their mean rank, and the
    Jaccard overlap of the sets that they drop. Two independent sets of k among n share
    X samples with X hypergeometric, so chance gives ``E[X / (2 k - X)]``.

    Args:
        scores: one row of scores for each network or step, large is hard, [r, n]; at
            least 2 rows, and 2 samples.
        share: fraction that is dropped, above 0 and below 1.
        end: "easy" or "hard": from which end it is dropped.

    Returns:
        Both measures. Pairs share networks and are not independent, so their spread is
        no interval of the mean.

    Raises:
        TypeError: ``share`` is not a number.
        ValueError: scores do not fit, or a row ranks nothing because all are equal.

    Source: Spearman, 1904; Jaccard, 1912. The paper does not ask this question.
    """
    try:
        table = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise fail("scores", "be rows of equal length", scores) from None
    if table.ndim != 2 or len(table) < 2:
        shape = as_text(f"shape {table.shape}")
        raise fail("scores", "have 2 axes and at least 2 rows", shape)
    for index, row in enumerate(table):
        as_scores(f"scores[{index}]", row)
    flat = np.flatnonzero(np.ptp(table, axis=1) == 0)
    if flat.size:
        raise fail(
            f"scores[{flat[0]}]", "differ among samples", float(table[flat[0], 0])
        )
    count = table.shape[1]
    size = _dropped(count, share)
    is_easy = check_one_of("end", end, _ENDS) == "easy"
    gone = np.zeros(table.shape)
    for mask, row in zip(gone, table, strict=True):
        mask[(easiest if is_easy else hardest)(row, size)] = 1
    shared = gone @ gone.T
    jaccard = shared / (2 * size - shared)
    spearman = np.clip(np.corrcoef(stats.rankdata(table, axis=1)), -1, 1)
    pairs = np.triu_indices(len(table), 1)
    common = np.arange(max(0, 2 * size - count), size + 1)
    chances = stats.hypergeom.pmf(common, count, size, size)
    return RankStability(
        spearman=float(spearman[pairs].mean()),
        spearman_matrix=spearman,
        jaccard=float(jaccard[pairs].mean()),
        jaccard_matrix=jaccard,
        jaccard_by_chance=float((chances * common / (2 * size - common)).sum()),
        dropped=size,
    )


def class_composition(
    scores: Real[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    share: float = 0.2,
    end: str = "easy",
) -> Composition:
    """Return how many samples of each class are dropped, and how odd that is.

    With n samples, k of them dropped, and n_c of class c, no preference expects
    ``E_c = n_c k / n``. The adjusted residual of the observed ``O_c`` is
    ``(O_c - E_c) / sqrt(E_c (1 - k / n) (1 - n_c / n))``, and
    ``chi^2 = sum_c (O_c - E_c)^2 / (E_c (1 - k / n))`` has c - 1 degrees of freedom.

    Args:
        scores: large is hard, [n].
        labels: classes, [n]; at least 2 different ones.
        share: fraction that is dropped, above 0 and below 1.
        end: "easy" or "hard": from which end it is dropped.

    Returns:
        Counts, shares, residuals and the test.

    Raises:
        TypeError: ``share`` is not a number.
        ValueError: arrays do not fit, or an argument is out of range.

    Source: Pearson, 1900; residuals after Haberman, 1973.
    """
    values = as_scores("scores", scores)
    names = as_labels("labels", labels, len(values), "scores")
    classes, places = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise fail("labels", "name at least 2 classes", as_text(f"only {classes[0]}"))
    count = len(values)
    size = _dropped(count, share)
    pick = easiest if check_one_of("end", end, _ENDS) == "easy" else hardest
    sizes = np.bincount(places, minlength=len(classes))
    gone = np.bincount(places[pick(values, size)], minlength=len(classes))
    rate = size / count
    expected = sizes * rate
    variance = expected * (1 - rate)
    deviation = gone - expected
    chi_square = float((deviation**2 / variance).sum())
    return Composition(
        classes=classes,
        sizes=sizes,
        dropped=gone,
        expected=expected,
        share=gone / sizes,
        expected_share=rate,
        residuals=deviation / np.sqrt(variance * (1 - sizes / count)),
        chi_square=chi_square,
        p_value=float(stats.chi2.sf(chi_square, len(classes) - 1)),
    )


def _at_most(count: int, total: int) -> int:
    """Return ``count`` if there are as many samples."""
    number = check_integer("count", count)
    if number > total:
        raise fail("count", f"be at most the {total} samples", number)
    return number


def _dropped(count: int, share: float) -> int:
    """Return the size of a part that must not be empty, nor all there is."""
    number = check_number("share", share)
    if not 0 < number < 1:
        raise fail("share", "lie between 0 and 1", number, "Write 20 % as share=0.2.")
    if count < 2:
        raise fail("scores", "have at least 2 samples", count)
    return dropped_count(count, number)
