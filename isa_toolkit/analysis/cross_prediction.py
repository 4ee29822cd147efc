"""Whether hard samples hold what easy ones tell: predicting each part from the other.

The paper's test, and the control it lacks: random parts of the same sizes. Scores and
features come from elsewhere; which samples are easy is decided in `ranking`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real
from scipy import linalg

from isa_toolkit.analysis.ranking import dropped_count, order
from isa_toolkit.analysis.validation import as_points, as_scores, row_blocks
from isa_toolkit.checks import (
    as_text,
    check_integer,
    check_number,
    check_one_of,
    check_positive,
    fail,
)

__all__ = [
    "Information",
    "Prediction",
    "RandomPredictions",
    "information_test",
    "predict_part",
    "ridge_weights",
]

# Rows that are turned to float64 at once: 128 MiB at 8,192 features, and enough that
# adding up d x d moments costs less than making them.
_ROWS = 2048


class Prediction(NamedTuple):
    """Errors of predicting one part of the samples from another.

    mse_mean: squared error, mean over samples and *mean over classes*.
    mse_half_sum: squared error, mean over samples, *half the sum over classes*; it is
        c / 2 times the other, and FRePo's loss.
    accuracy: fraction whose largest prediction is at the largest label.
    """

    mse_mean: float
    mse_half_sum: float
    accuracy: float


class RandomPredictions(NamedTuple):
    """The same errors for parts drawn at random, one value for each draw.

    mse_mean: mean over samples and mean over classes, [draws].
    mse_half_sum: mean over samples, half the sum over classes, [draws].
    accuracy: fraction predicted right, [draws].
    """

    mse_mean: Float[np.ndarray, " draws"]
    mse_half_sum: Float[np.ndarray, " draws"]
    accuracy: Float[np.ndarray, " draws"]


class Information(NamedTuple):
    """What easy and hard samples tell about each other.

    easy_from_hard: the easiest share, predicted from all others.
    hard_from_easy: the hardest share, predicted from all others.
    random: a random share of the same size, predicted from all others.
    support: number of samples predicted from.
    predicted: number of samples predicted.
    share: ``predicted`` as a fraction, as it was asked for.
    ridge: relative ridge.
    """

    easy_from_hard: Prediction
    hard_from_easy: Prediction
    random: RandomPredictions
    support: int
    predicted: int
    share: float
    ridge: float


def information_test(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n c"],
    scores: Real[np.ndarray, " n"],
    *,
    share: float = 0.2,
    ridge: float = 1e-6,
    seeds: int = 5,
    seed: int = 0,
) -> Information:
    """Return how well hard samples predict easy ones, easy ones hard ones, and chance.

    The easiest ``share`` is predicted by ridge regression on the features of all other
    samples, then the hardest ``share`` by that of all others, then ``seeds`` times a
    random share. Hard samples hold what the easy ones tell if the first error is small
    beside the last; they are not replaceable if the second is large beside it. Without
    the last, the first two only say that easy samples are easy.

    Args:
        features: features of the samples, [n, d]; float32 or float64, read in blocks.
        labels: their labels as the readout is to learn them, such as centred one-hot,
            [n, c], c at least 2.
        scores: their scores, large is hard, such as FRePo's loss, [n].
        share: fraction of samples to predict, above 0 and below 1; a share p is
            ``n - floor((1 - p) n)`` samples, at most n - 1.
        ridge: relative ridge, a fraction of the support's mean squared feature norm.
        seeds: number of random parts, at least 1. They overlap: their spread tells of
            the choice of samples, not of other data.
        seed: seed of the random parts, which are drawn among ranks; the order of the
            samples does not matter while scores differ.

    Returns:
        Errors of the three, with both normalisations.

    Raises:
        TypeError: a setting is of the wrong kind.
        ValueError: arrays do not fit or are not finite, or a setting is out of range.

    Source: appendix B, "Information": .0661 for easy from hard and .1430 for hard from
    easy at share .2. Data, network and normalisation of the error are UNKNOWN.
    **Deviation:** the paper has no random control.
    """
    points, targets = _paired(features, labels)
    values = as_scores("scores", scores)
    if len(values) != len(points):
        raise fail("scores", f"have one score for each of {len(points)}", len(values))
    fraction = check_number("share", share)
    if not 0 < fraction < 1:
        raise fail("share", "lie between 0 and 1", fraction, "Write 20 % as share=0.2.")
    penalty = check_positive("ridge", ridge)
    draws = check_integer("seeds", seeds)
    first = check_integer("seed", seed, minimum=0)
    ascending = order(values)
    count = dropped_count(len(values), fraction)

    def part(ranked: np.ndarray) -> Prediction:
        """Return the errors of the first ``count`` from the rest."""
        return predict_part(
            points, targets, ranked[count:], ranked[:count], ridge=penalty
        )

    chance = [
        part(np.random.default_rng([first, draw]).permutation(ascending))
        for draw in range(draws)
    ]
    return Information(
        easy_from_hard=part(ascending),
        hard_from_easy=part(ascending[::-1]),
        random=RandomPredictions(
            *(np.array(column) for column in zip(*chance, strict=True))
        ),
        support=len(values) - count,
        predicted=count,
        share=fraction,
        ridge=penalty,
    )


def predict_part(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n c"],
    support: Int[np.ndarray, " s"],
    predicted: Int[np.ndarray, " p"],
    *,
    ridge: float = 1e-6,
) -> Prediction:
    """Return the errors of predicting some samples from others.

    Args:
        features: features of all samples, [n, d].
        labels: labels of all samples, [n, c], c at least 2.
        support: indices of the samples to predict from, [s].
        predicted: indices of the samples to predict, [p].
        ridge: relative ridge, a fraction of the support's mean squared feature norm.

    Returns:
        The errors over ``predicted``.

    Raises:
        TypeError: ``ridge`` is not a number.
        ValueError: arrays do not fit, a part is empty, or indices are out of range.

    Source: algorithms 4.1 (the readout) and 6.2 (the test).
    """
    points, targets = _paired(features, labels)
    if targets.shape[1] < 2:
        raise fail("labels", "have at least 2 classes", as_text("1 column"))
    base = _indices("support", support, len(points))
    asked = _indices("predicted", predicted, len(points))
    weights = _solve(points, targets, base, ridge=ridge, form="smaller")
    total, hits = 0.0, 0
    for rows in row_blocks(len(asked), 1, _ROWS):
        wanted = targets[asked[rows]].astype(np.float64)
        guess = points[asked[rows]].astype(np.float64) @ weights
        total += float(np.square(guess - wanted).sum())
        hits += int((guess.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    return Prediction(
        mse_mean=total / (len(asked) * targets.shape[1]),
        mse_half_sum=total / (2 * len(asked)),
        accuracy=hits / len(asked),
    )


def ridge_weights(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n c"],
    *,
    ridge: float = 1e-6,
    form: str = "smaller",
) -> Float[np.ndarray, "d c"]:
    """Return the ridge readout W, with predictions ``P(z) = z W``, solved in float64.

    ``W = F^T (F F^T + lam I)^-1 Y = (F^T F + lam I)^-1 F^T Y`` with F = ``features``,
    Y = ``labels`` and ``lam = ridge * tr(F F^T) / n``. No intercept. The d x d moments
    of the primal form are summed over blocks of rows, so that 60,000 samples of 8,192
    features take the memory of their moments and not of a second copy.

    Args:
        features: [n, d].
        labels: [n, c].
        ridge: relative ridge, above 0.
        form: "primal" solves a d x d system, "dual" an n x n one, "smaller" the smaller
            of the two.

    Returns:
        Weights, [d, c].

    Raises:
        TypeError: ``ridge`` is not a number.
        ValueError: arrays do not fit, features are all 0, or the ridge is too small to
            solve with.

    Source: algorithms 4.1 (FRePo). The same readout as `losses.ridge`, in NumPy.
    """
    points, targets = _paired(features, labels)
    return _solve(points, targets, np.arange(len(points)), ridge=ridge, form=form)


def _solve(
    points: np.ndarray,
    targets: np.ndarray,
    rows: np.ndarray,
    *,
    ridge: float,
    form: str,
) -> np.ndarray:
    """Return the readout of some rows, which are copied block by block."""
    penalty = check_positive("ridge", ridge)
    how = check_one_of("form", form, ("smaller", "primal", "dual"))
    width = points.shape[1]
    if how == "smaller":
        how = "dual" if len(rows) <= width else "primal"
    wanted = targets[rows].astype(np.float64)
    if how == "primal":
        system = np.zeros((width, width))
        moment = np.zeros((width, targets.shape[1]))
        for part in row_blocks(len(rows), 1, _ROWS):
            block = points[rows[part]].astype(np.float64)
            system += block.T @ block
            moment += block.T @ wanted[part]
        return _positive(system, moment, penalty, len(rows))
    # No larger than the kernel if the dual is the smaller form.
    base = points[rows].astype(np.float64)
    return base.T @ _positive(base @ base.T, wanted, penalty, len(rows))


def _positive(
    system: np.ndarray, right: np.ndarray, ridge: float, count: int
) -> np.ndarray:
    """Return ``(system + lam I)^-1 right``; ``system`` is overwritten."""
    trace = float(np.trace(system))
    if trace <= 0:
        raise fail("features", "not all be 0", as_text("0 everywhere"))
    system[np.diag_indices_from(system)] += ridge * trace / count
    try:
        factor = linalg.cho_factor(system, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:
        raise fail(
            "ridge", "make the system positive", ridge, "Use 1e-6 or more."
        ) from None
    return np.asarray(linalg.cho_solve(factor, right, check_finite=False))


def _paired(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels with as many rows."""
    points = as_points("features", features)
    targets = as_points("labels", labels)
    if len(points) != len(targets):
        raise fail("labels", f"have {len(points)} rows, as features has", len(targets))
    return points, targets


def _indices(name: str, values: np.ndarray, count: int) -> np.ndarray:
    """Return indices of at least one sample, all of them in range."""
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise fail(name, "be a row of whole numbers", values)
    if array.size == 0:
        raise fail(name, "hold at least one sample", as_text("none"))
    outside = array[(array < 0) | (array >= count)]
    if outside.size:
        raise fail(name, f"lie between 0 and {count - 1}", int(outside[0]))
    return array
