"""Ranking of samples from easy to hard: stability, selection and classes.

A score is large for a hard sample, such as FRePo's loss of each target. Ranks, counts and
ties are those of the selection in ``losses``, so a figure shows what a run drops. Scores
must be finite and in one axis, and counts and fractions possible, or a ``ValueError``
says what is wrong.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from isa_toolkit.analysis.validation import as_labels, as_points, as_scores
from isa_toolkit.checks import (
    ROUNDING,
    as_text,
    check_integer,
    check_number,
    check_one_of,
    fail,
)

End = Literal["easy", "hard"]


class RankStability(NamedTuple):
    """How similarly several networks, or training steps, rank the same samples.

    spearman: Mean rank correlation over pairs, from -1 to 1.
    jaccard: Mean over pairs of the overlap of the dropped samples, ``|A and B| / |A or B|``.
    jaccard_by_chance: Expected overlap of sets of this size drawn independently.
    """

    spearman: float
    jaccard: float
    jaccard_by_chance: float


class Composition(NamedTuple):
    """Classes of the dropped samples, and what is expected where classes do not matter.

    classes: Class numbers, ascending, [c].
    sizes: Number of samples of each class, [c].
    dropped: Number of dropped samples of each class, [c].
    expected: Expected number of dropped samples of each class, [c].
    fraction: Dropped fraction of each class, [c].
    expected_fraction: Dropped fraction of all samples.
    residuals: Adjusted standardised residuals, about standard normal where classes do not
        matter, [c].
    chi_square: Pearson's statistic of the table classes x (dropped, kept).
    p_value: Tail probability of the statistic at c - 1 degrees of freedom; rough where an
        expected count is below 5.
    """

    classes: Int[np.ndarray, " c"]
    sizes: Int[np.ndarray, " c"]
    dropped: Int[np.ndarray, " c"]
    expected: Float[np.ndarray, " c"]
    fraction: Float[np.ndarray, " c"]
    expected_fraction: float
    residuals: Float[np.ndarray, " c"]
    chi_square: float
    p_value: float


def order(scores: Real[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the indices of the samples from easiest to hardest, ties by position."""
    return np.argsort(as_scores("scores", scores, minimum=1), kind="stable")


def dropped_count(count: int, fraction: float) -> int:
    """Return how many of ``count`` samples a fraction drops, at most all but one.

    ``n - floor((1 - p) n)`` in exact arithmetic with n = ``count`` and p = ``fraction``.

    Source: docs/algorithms.md, section 6.1, step 2.
    """
    number = check_integer("count", count)
    exact = check_number("fraction", fraction, at_least=0, below=1) * number
    return min(math.ceil(exact * (1 - ROUNDING)), number - 1)


def kept(
    scores: Real[np.ndarray, " n"], *, drop_easy: float = 0.0, drop_hard: float = 0.0
) -> Bool[np.ndarray, " n"]:
    """Return a mask of the samples that a run keeps, at least one.

    ``drop_easy`` and ``drop_hard`` are fractions to drop from either end, in [0, 1).

    Source: docs/algorithms.md, section 6.1, step 2.
    """
    ascending = order(scores)
    count = len(ascending)
    easy = dropped_count(
        count, check_number("drop_easy", drop_easy, at_least=0, below=1)
    )
    hard = dropped_count(
        count, check_number("drop_hard", drop_hard, at_least=0, below=1)
    )
    mask = np.zeros(count, dtype=bool)
    mask[ascending[easy : count - min(hard, count - 1 - easy)]] = True
    return mask


def within_class(
    scores: Real[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return scores that rank each class like all: a fraction drops as much of each.

    The sample at a quantile of its class gets the score at that quantile of all samples,
    so all classes have the same distribution, and ranks within a class stay.

    Source: quantile normalisation (Bolstad et al., 2003), with classes as groups.
    """
    values = as_scores("scores", scores)
    names = as_labels("labels", labels, len(values), "scores")
    quantiles = np.empty(len(values))
    for name in np.unique(names):
        mine = np.flatnonzero(names == name)
        quantiles[mine[order(values[mine])]] = (np.arange(len(mine)) + 0.5) / len(mine)
    ranked = np.empty(len(values))
    ranked[np.lexsort((values, quantiles))] = np.sort(values)
    return ranked


def easiest(scores: Real[np.ndarray, " n"], count: int) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` easiest samples, the easiest first."""
    ascending = order(scores)
    return ascending[: _at_most(count, len(ascending))]


def hardest(scores: Real[np.ndarray, " n"], count: int) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` hardest samples, the hardest first.

    Of equal scores the last by position is the hardest.
    """
    ascending = order(scores)
    return ascending[::-1][: _at_most(count, len(ascending))]


def borderline(
    scores: Real[np.ndarray, " n"], count: int, *, fraction: float, end: End = "easy"
) -> Int[np.ndarray, " k"]:
    """Return the indices of the ``count`` samples nearest to the cut, easier ones first.

    The cut lies between the ``fraction`` that is dropped from one end and the rest. Half
    of the samples are taken from each side of it, and one more from above it if ``count``
    is odd; where a side has too few, more are taken from the other.
    """
    ascending = order(scores)
    total = len(ascending)
    wanted = _at_most(count, total)
    cut = _dropped(total, fraction)
    if check_one_of("end", end, ("easy", "hard")) == "hard":
        cut = total - cut
    start = min(max(cut - wanted // 2, 0), total - wanted)
    return ascending[start : start + wanted]


def rank_stability(
    scores: Real[np.ndarray, "r n"], *, fraction: float = 0.2
) -> RankStability:
    """Return how similarly several networks, or training steps, rank the same samples.

    Spearman's rank correlation of each pair of rows, ties at their mean rank, and the
    Jaccard overlap of the ``fraction`` that is easiest. Two independent sets of k among n
    have X samples in common with X hypergeometric, so chance gives ``E[X / (2 k - X)]``.
    Pairs have networks in common and are not independent, so their spread is no interval
    of the mean. A row in which all scores are equal is refused.

    Source: Spearman, 1904; Jaccard, 1912. Not in the paper.
    """
    table = as_points("scores", scores, minimum=2).astype(np.float64)
    flat = np.flatnonzero(np.ptp(table, axis=1) == 0)
    if flat.size:
        raise fail(
            f"scores[{flat[0]}]", "differ among samples", float(table[flat[0], 0])
        )
    count = table.shape[1]
    size = _dropped(count, fraction)
    from scipy import stats

    gone = np.zeros(table.shape)
    for mask, row in zip(gone, table, strict=True):
        mask[easiest(row, size)] = 1
    shared = gone @ gone.T
    jaccard = shared / (2 * size - shared)
    spearman = np.clip(np.corrcoef(stats.rankdata(table, axis=1)), -1, 1)
    pairs = np.triu_indices(len(table), 1)
    common = np.arange(max(0, 2 * size - count), size + 1)
    chances = stats.hypergeom.pmf(common, count, size, size)
    return RankStability(
        spearman=float(spearman[pairs].mean()),
        jaccard=float(jaccard[pairs].mean()),
        jaccard_by_chance=float((chances * common / (2 * size - common)).sum()),
    )


def class_composition(
    scores: Real[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    fraction: float = 0.2,
    end: End = "easy",
) -> Composition:
    """Return how many samples of each class are dropped, and a test of independence.

    With n samples, k of them dropped, and n_c of class c, independence expects
    ``E_c = n_c k / n``. The adjusted residual of the observed ``O_c`` is
    ``(O_c - E_c) / sqrt(E_c (1 - k / n) (1 - n_c / n))``, and
    ``chi^2 = sum_c (O_c - E_c)^2 / (E_c (1 - k / n))`` has c - 1 degrees of freedom.

    Source: Pearson, 1900; residuals after Haberman, 1973.
    """
    from scipy import stats

    values = as_scores("scores", scores)
    names = as_labels("labels", labels, len(values), "scores")
    classes, index = np.unique(names, return_inverse=True)
    if len(classes) < 2:
        raise fail("labels", "name at least 2 classes", as_text(f"only {classes[0]}"))
    count = len(values)
    size = _dropped(count, fraction)
    pick = easiest if check_one_of("end", end, ("easy", "hard")) == "easy" else hardest
    sizes = np.bincount(index, minlength=len(classes))
    gone = np.bincount(index[pick(values, size)], minlength=len(classes))
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
        fraction=gone / sizes,
        expected_fraction=rate,
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


def _dropped(count: int, fraction: float) -> int:
    """Return the size of a part that must not be empty, nor all there is."""
    number = check_number("fraction", fraction)
    if not 0 < number < 1:
        fix = "Write 20 % as fraction=0.2."
        raise fail("fraction", "lie between 0 and 1", number, fix)
    if count < 2:
        raise fail("scores", "have at least 2 samples", count)
    return dropped_count(count, number)
