"""Cross-prediction: do hard samples predict easy ones, and easy samples hard ones?

The paper's 80/20 test, and the control that it lacks: random parts of the same sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import linalg

from isa_toolkit.analysis.ranking import dropped_count, order
from isa_toolkit.analysis.validation import as_labels, as_points, as_scores
from isa_toolkit.annotations import typed
from isa_toolkit.checks import (
    as_text,
    check_integer,
    check_number,
    check_seed,
    fail,
)

# Rows that are converted to float64 at a time, 128 MiB at 8,192 features.
_ROWS = 2048


class Prediction(NamedTuple):
    """Errors of predicting one part of the samples from another.

    mse_mean: Squared error, mean over samples and *mean over classes*.
    mse_half_sum: Squared error, mean over samples, *half the sum over classes*: c / 2
        times the other, and FRePo's loss.
    accuracy: Fraction of samples whose largest prediction is that of their class.
    """

    mse_mean: float | Float[np.ndarray, " draws"]
    mse_half_sum: float | Float[np.ndarray, " draws"]
    accuracy: float | Float[np.ndarray, " draws"]


class CrossPrediction(NamedTuple):
    """How well easy and hard samples predict each other.

    easy_from_hard: Errors for the easiest samples, predicted from all others.
    hard_from_easy: Errors for the hardest samples, predicted from all others.
    random: Errors for as many random samples, predicted from all others; each is an
        array with one value for each draw, [draws].
    support: Number of samples to predict from.
    predicted: Number of predicted samples.
    """

    easy_from_hard: Prediction
    hard_from_easy: Prediction
    random: Prediction
    support: int
    predicted: int


@typed
def cross_prediction(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n *c"],
    scores: Real[np.ndarray, " n"],
    *,
    fraction: float = 0.2,
    ridge: float = 1e-6,
    seeds: int = 5,
    seed: int = 0,
) -> CrossPrediction:
    """Return how well hard samples predict easy ones, easy ones hard ones, and chance.

    The easiest ``fraction`` is predicted by ridge regression on the features of all other
    samples, then the hardest ``fraction`` from all others, then ``seeds`` times a random
    one. Hard samples contain the information of the easy ones if the first error is small
    compared with the last; they cannot be replaced if the second is large compared with
    it. Without the last, the first two only say that easy samples are easy.

    Args:
        features: Features of the samples, [n, d]; float32 or float64, read in blocks.
        labels: Class numbers, [n], or labels to regress on, such as centred one-hot rows,
            [n, c] with c at least 2. Class numbers become centred one-hot rows.
        scores: Scores of the samples, large for hard ones, such as FRePo's loss, [n].
        fraction: Fraction of samples to predict, above 0 and below 1.
        ridge: Ridge as a fraction of the mean squared feature norm of the support.
        seeds: Number of random parts, at least 1. They overlap: their spread shows the
            choice of samples, not other data.
        seed: Seed of the random parts, which are drawn among ranks; the order of the
            samples does not matter while scores differ.

    Returns:
        Errors of the three, in both normalisations.

    Raises:
        TypeError: If a setting is of the wrong kind.
        ValueError: If arrays do not fit or are not finite, or a setting is out of range.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from isa_toolkit.analysis.cross_prediction import cross_prediction
        >>> digits = load_digits()
        >>> brightness = digits.data.mean(axis=1)
        >>> result = cross_prediction(digits.data, digits.target, scores=brightness)
        >>> result.predicted, result.easy_from_hard.accuracy > 0.5
        (360, True)

    Source: appendix B, "Information": .0661 for easy from hard and .1430 for hard from
        easy at 20 %. Data, network and normalisation of the error are UNKNOWN.
        **Deviation:** the paper has no random control.
    """
    points, targets = _paired(features, labels)
    if targets.shape[1] < 2:
        raise fail("labels", "have at least 2 classes", as_text("1 class"))
    values = as_scores("scores", scores)
    if len(values) != len(points):
        raise fail("scores", f"have one score for each of {len(points)}", len(values))
    fraction = check_number("fraction", fraction)
    if not 0 < fraction < 1:
        fix = "Write 20 % as fraction=0.2."
        raise fail("fraction", "lie between 0 and 1", fraction, fix)
    penalty = check_number("ridge", ridge, above=0)
    draws = check_integer("seeds", seeds)
    first = check_seed("seed", seed)
    ascending = order(values)
    count = dropped_count(len(values), fraction)

    def part(ranked: np.ndarray) -> Prediction:
        """Return the errors of the first ``count`` from the rest."""
        return _predict_part(points, targets, ranked[count:], ranked[:count], penalty)

    chance = [
        part(np.random.default_rng([first, draw]).permutation(ascending))
        for draw in range(draws)
    ]
    return CrossPrediction(
        easy_from_hard=part(ascending),
        hard_from_easy=part(ascending[::-1]),
        random=Prediction(*np.array(chance).T),
        support=len(values) - count,
        predicted=count,
    )


def _predict_part(
    points: np.ndarray,
    targets: np.ndarray,
    support: np.ndarray,
    predicted: np.ndarray,
    ridge: float,
) -> Prediction:
    """Return the errors of predicting the samples ``predicted`` from ``support``."""
    from sklearn.utils import gen_batches

    weights = _solve(points, targets, support, ridge)
    total, hits = 0.0, 0
    for rows in gen_batches(len(predicted), _ROWS):
        wanted = targets[predicted[rows]].astype(np.float64)
        guess = points[predicted[rows]].astype(np.float64) @ weights
        total += float(np.square(guess - wanted).sum())
        hits += int((guess.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    return Prediction(
        mse_mean=total / (len(predicted) * targets.shape[1]),
        mse_half_sum=total / (2 * len(predicted)),
        accuracy=hits / len(predicted),
    )


def ridge_weights(
    features: Real[np.ndarray, "n d"],
    labels: Real[np.ndarray, "n *c"],
    *,
    ridge: float = 1e-6,
) -> Float[np.ndarray, "d c"]:
    """Return the ridge weights W of predictions ``P(z) = z W``, solved in float64.

    ``W = F^T (F F^T + lam I)^-1 Y = (F^T F + lam I)^-1 F^T Y`` with F = ``features``,
    Y = ``labels`` and ``lam = ridge * tr(F F^T) / n``; the smaller of the two systems is
    solved. No intercept. scikit-learn's ``Ridge`` would copy all features to float64;
    here the d x d moments are summed over blocks of rows, so that 60,000 samples of 8,192
    features need the memory of their moments only.

    ``labels`` are class numbers, [n], or one row for each sample, [n, c]; ``ridge`` is a
    fraction of the mean squared feature norm, above 0.

    Raises:
        ValueError: If arrays do not fit, features are all 0, or the ridge is too small.

    Source: docs/algorithms.md, section 4.1 (FRePo); the predictor of ``losses.ridge``.
    """
    points, targets = _paired(features, labels)
    penalty = check_number("ridge", ridge, above=0)
    return _solve(points, targets, np.arange(len(points)), penalty)


def _solve(
    points: np.ndarray, targets: np.ndarray, rows: np.ndarray, ridge: float
) -> np.ndarray:
    """Return the ridge weights of some rows, which are copied block by block."""
    from sklearn.utils import gen_batches

    width = points.shape[1]
    wanted = targets[rows].astype(np.float64)
    if len(rows) > width:
        system = np.zeros((width, width))
        moment = np.zeros((width, targets.shape[1]))
        for part in gen_batches(len(rows), _ROWS):
            block = points[rows[part]].astype(np.float64)
            system += block.T @ block
            moment += block.T @ wanted[part]
        return _positive(system, moment, ridge, len(rows))
    base = points[rows].astype(np.float64)
    return base.T @ _positive(base @ base.T, wanted, ridge, len(rows))


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
            "ridge", "make the system positive definite", ridge, "Use 1e-6 or more."
        ) from None
    return np.asarray(linalg.cho_solve(factor, right, check_finite=False))


def _paired(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and one row of labels for each of them."""
    points = as_points("features", features)
    if np.ndim(labels) == 1:
        numbers = as_labels("labels", labels, len(points), "features")
        classes, index = np.unique(numbers, return_inverse=True)
        return points, (np.eye(len(classes)) - 1 / len(classes))[index]
    targets = as_points("labels", labels)
    if len(points) != len(targets):
        raise fail("labels", f"have {len(points)} rows, as features has", len(targets))
    return points, targets
