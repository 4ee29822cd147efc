"""Class geometry of distilled features: overlap, spread and evenness.

These numbers accompany a t-SNE map. They are computed in the feature space, where
distances have a meaning; a map keeps neighbours but not distances. All three are
invariant to the order of points, translation, rotation and scale. Distances that agree
to twelve digits of the squared norms of their points count as equal.

Their arguments are the features of real images [n, d], the class numbers of these [n],
and the features [m, d] and class numbers [m] of distilled images, each of whose classes
must have a real image. A ``ValueError`` says which of them do not fit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real

from isa_toolkit.analysis.knn import distance_blocks
from isa_toolkit.analysis.validation import as_labels, as_pair
from isa_toolkit.checks import check_integer, fail

# Squared distances carry an error of about 1e-15 of the squared norms of their points.
_TIE = 1e-12


class _Sets(NamedTuple):
    """Checked points with the median of the real ones taken off, and their classes."""

    real: np.ndarray
    real_labels: np.ndarray
    distilled: np.ndarray
    distilled_labels: np.ndarray
    classes: np.ndarray


def overlap(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
    *,
    k: int = 5,
) -> Float[np.ndarray, " m"]:
    """Return the fraction of each distilled point's neighbours that are real, of its class.

    The k nearest neighbours, k at most n, are searched among all real points and all
    *other* distilled points, of every class. All as far as the k-th count, so that ties
    are not broken by order. The fraction is small for a point among another class, away
    from the data, or in a cluster of distilled points. Distilled sets of different size
    are not comparable where m comes near to n: the more distilled points, the more of
    them are neighbours.

    Source: appendix B, "Data Manifold", speaks of an "overlap with original dataset"
    that is seen in a figure and not defined; this definition is ours.
    """
    sets = _checked(real, real_labels, distilled, distilled_labels)
    k = check_integer("k", k, minimum=1)
    if k > len(sets.real):
        raise fail("k", f"be at most the {len(sets.real)} real points", k)
    everything = np.concatenate([sets.real, sets.distilled])
    labels = np.concatenate([sets.real_labels, sets.distilled_labels])
    is_real = np.arange(len(everything)) < len(sets.real)
    fraction = np.empty(len(sets.distilled))
    for part, squared in distance_blocks(sets.distilled, everything):
        rows = np.arange(part.start, part.stop)
        squared[rows - part.start, len(sets.real) + rows] = np.inf
        radius = np.partition(squared, k - 1, axis=1)[:, k - 1 : k]
        near = squared <= radius + _slack(sets.distilled[part], everything)
        own = is_real & (labels == sets.distilled_labels[part, None])
        fraction[part] = (near & own).sum(axis=1) / near.sum(axis=1)
    return fraction


def spread(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
) -> Float[np.ndarray, " c"]:
    """Return the mean distance of distilled points over that of real ones, by class.

    For each class, the mean distance over all pairs of its distilled points is divided by
    that of its real points: 1 is as wide as the data, near 0 is one cluster. Classes of
    the distilled points are in ascending order. NaN for a class with fewer than two
    distilled points (as at 1 image per class), fewer than two real ones, or real ones
    that all coincide.

    Source: our measure for "clusters together" in appendix B, which defines none.
    """
    sets = _checked(real, real_labels, distilled, distilled_labels)
    ratios = np.full(len(sets.classes), math.nan)
    for index, name in enumerate(sets.classes):
        ours = _mean_distance(sets.distilled[sets.distilled_labels == name])
        own = sets.real[sets.real_labels == name]
        theirs = _mean_distance(own)
        if theirs > math.sqrt(_TIE * np.square(own).sum(axis=1).max()):
            ratios[index] = ours / theirs
    return ratios


def evenness(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
) -> Float[np.ndarray, " c"]:
    """Return how evenly real points are assigned to the distilled ones of each class.

    Each real point is assigned to the nearest distilled point of its own class, in equal
    parts where several are as near. With ``p_j`` the fraction of the class that is
    assigned to point j of ``m_c``, evenness is the normalised entropy
    ``-sum_j p_j log(p_j) / log(m_c)``: 1 if all get the same, 0 if one gets all, NaN for
    a class with one distilled point. Classes of the distilled points are in ascending
    order. A class with fewer real points than distilled ones cannot reach 1. A cluster in
    the middle of the data is even as well: read it together with ``spread``.

    Source: our measure for "more evenly distributed" in appendix B, which defines none;
    Pielou's evenness of the assignment.
    """
    sets = _checked(real, real_labels, distilled, distilled_labels)
    values = np.full(len(sets.classes), math.nan)
    for index, name in enumerate(sets.classes):
        points = sets.distilled[sets.distilled_labels == name]
        if len(points) < 2:
            continue
        own = sets.real[sets.real_labels == name]
        counts = np.zeros(len(points))
        for part, squared in distance_blocks(own, points):
            slack = _slack(own[part], points)
            nearest = squared <= squared.min(axis=1, keepdims=True) + slack
            counts += (nearest / nearest.sum(axis=1, keepdims=True)).sum(axis=0)
        filled = counts[counts > 0] / len(own)
        entropy = -float((filled * np.log(filled)).sum())
        values[index] = min(max(entropy / math.log(len(points)), 0.0), 1.0)
    return values


def _checked(
    real: np.ndarray,
    real_labels: np.ndarray,
    distilled: np.ndarray,
    distilled_labels: np.ndarray,
) -> _Sets:
    """Return both sets checked, in float64 and around the median of the real points."""
    first, second = as_pair(real, distilled)
    names = as_labels("real_labels", real_labels, len(first), "real")
    ours = as_labels("distilled_labels", distilled_labels, len(second), "distilled")
    classes = np.unique(ours)
    unknown = np.setdiff1d(classes, names)
    if unknown.size:
        raise fail(
            "distilled_labels",
            "name classes of real_labels",
            int(unknown[0]),
            "Choose real images of every distilled class.",
        )
    # Not the mean, which one point far away would move from all the others.
    centre = np.median(first.astype(np.float64), axis=0)
    sets = [points.astype(np.float64) - centre for points in (first, second)]
    return _Sets(sets[0], names, sets[1], ours, classes)


def _slack(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return what squared distances may differ by and count as equal, [n, m]."""
    squares = [np.square(one).sum(axis=1) for one in (points, others)]
    return _TIE * (squares[0][:, None] + squares[1])


def _mean_distance(points: np.ndarray) -> float:
    """Return the mean distance over all pairs, NaN for fewer than two points."""
    count = len(points)
    if count < 2:
        return math.nan
    total = sum(
        float(np.sqrt(squared).sum()) for _, squared in distance_blocks(points, points)
    )
    return total / (count * (count - 1))
