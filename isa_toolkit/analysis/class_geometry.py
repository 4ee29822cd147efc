"""How distilled points lie among the real ones: overlap, spread and evenness.

The numbers beside the picture of `manifold`, computed in the feature space itself,
where distances mean something; a t-SNE map keeps neighbours but not distances. All
three are unchanged by the order of points, translation, rotation and scale. Distances
that agree to twelve digits of the largest squared norm count as equal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real

from isa_toolkit.analysis.knn import DISTANCE_BYTES, squared_distances
from isa_toolkit.analysis.validation import as_labels, as_points, row_blocks
from isa_toolkit.checks import as_text, check_integer, fail

__all__ = ["ByClass", "Overlap", "evenness", "overlap", "spread"]

# Squared distances carry an error of about 1e-15 of the largest squared norm.
_TIE = 1e-12


class ByClass(NamedTuple):
    """One number for each class and their mean.

    mean: mean over the classes where it is defined; NaN if it is nowhere.
    per_class: the number of each class, NaN where undefined, [c].
    classes: which class each place stands for, ascending, [c].
    """

    mean: float
    per_class: Float[np.ndarray, " c"]
    classes: Int[np.ndarray, " c"]


class Overlap(NamedTuple):
    """How deep distilled points lie among real ones of their class; fractions of 1.

    pure: share of distilled points whose k nearest are all real and of their class, [].
    most: share of distilled points with more than half of them so, [].
    mean: mean share of the k nearest that are so, [].
    share: that share for each distilled point, [m].
    pure_by_class: the first number for the points of each class.
    k: how many neighbours were asked.
    """

    pure: float
    most: float
    mean: float
    share: Float[np.ndarray, " m"]
    pure_by_class: ByClass
    k: int


class _Sets(NamedTuple):
    """Checked points with the mean of the real ones taken off, and their classes."""

    real: np.ndarray
    real_labels: np.ndarray
    distilled: np.ndarray
    distilled_labels: np.ndarray
    classes: np.ndarray
    tie: float


def overlap(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
    *,
    k: int = 5,
) -> Overlap:
    """Return how many distilled points have only real ones of their class around them.

    The neighbours of a distilled point are sought among all real points and all *other*
    distilled points, of every class. Neighbours as far as the k-th all count, so that
    ties are not broken by order. ``share_j`` is the share of them that are real and of
    class ``y_j``; `pure` counts ``share_j = 1`` and `most` counts ``share_j > 1/2``.
    A point that lies among another class, away from the data (beside its
    fellows), or in a clump of distilled points loses.

    Args:
        real: real points, [n, d], n at least k.
        real_labels: their classes, [n].
        distilled: distilled points, [m, d].
        distilled_labels: their classes, [m]; each must have a real point.
        k: number of neighbours, from 1 to n.

    Returns:
        The shares. Distilled sets of different size are not comparable where m comes
        near to n: the more distilled points, the more of them are neighbours.

    Raises:
        TypeError: ``k`` is not a whole number.
        ValueError: shapes, labels or values do not fit, or ``k`` exceeds n.

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
    share = np.empty(len(sets.distilled))
    for part in row_blocks(len(share), DISTANCE_BYTES * len(everything)):
        squared = squared_distances(sets.distilled[part], everything)
        rows = np.arange(part.start, part.stop)
        squared[rows - part.start, len(sets.real) + rows] = np.inf
        radius = np.partition(squared, k - 1, axis=1)[:, k - 1 : k]
        near = squared <= radius + sets.tie
        own = is_real & (labels == sets.distilled_labels[part, None])
        share[part] = (near & own).sum(axis=1) / near.sum(axis=1)
    pure = share == 1
    by_class = np.array(
        [pure[sets.distilled_labels == name].mean() for name in sets.classes]
    )
    return Overlap(
        pure=float(pure.mean()),
        most=float((share > 0.5).mean()),
        mean=float(share.mean()),
        share=share,
        pure_by_class=_by_class(by_class, sets.classes),
        k=k,
    )


def spread(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
) -> ByClass:
    """Return how far apart distilled points of a class lie, in units of the real ones.

    For each class, the mean distance over all pairs of its distilled points, divided by
    that of its real points: 1 is as wide as the data, near 0 is a clump.

    Args:
        real: real points, [n, d].
        real_labels: their classes, [n].
        distilled: distilled points, [m, d].
        distilled_labels: their classes, [m]; each must have a real point.

    Returns:
        The ratio for each class. NaN where it has fewer than two distilled points (at
        1 image per class nothing is spread), fewer than two real ones, or real ones
        that all coincide; such classes do not enter the mean.

    Raises:
        ValueError: shapes, labels or values do not fit.

    Source: our measure for "clusters together" in appendix B, which defines none.
    """
    sets = _checked(real, real_labels, distilled, distilled_labels)
    ratios = np.full(len(sets.classes), math.nan)
    for place, name in enumerate(sets.classes):
        ours = _mean_distance(sets.distilled[sets.distilled_labels == name])
        theirs = _mean_distance(sets.real[sets.real_labels == name])
        if theirs > math.sqrt(sets.tie):
            ratios[place] = ours / theirs
    return _by_class(ratios, sets.classes)


def evenness(
    real: Real[np.ndarray, "n d"],
    real_labels: Int[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Int[np.ndarray, " m"],
) -> ByClass:
    """Return how evenly the distilled points share out the real ones of their class.

    Each real point goes to the nearest distilled point of its own class, in equal parts
    where several are as near. With ``p_j`` the share of the class that goes to point j
    of ``m_c``, evenness is the normalised entropy ``-sum_j p_j log(p_j) / log(m_c)``:
    1 if all get the same, 0 if one gets all.

    Args:
        real: real points, [n, d].
        real_labels: their classes, [n].
        distilled: distilled points, [m, d].
        distilled_labels: their classes, [m]; each must have a real point.

    Returns:
        Evenness of each class, from 0 to 1. NaN for a class with one distilled point,
        which has nothing to share; it does not enter the mean. A class with fewer real
        points than distilled ones cannot reach 1. A clump in the midst of the data
        shares evenly too: read it beside `spread`.

    Raises:
        ValueError: shapes, labels or values do not fit.

    Source: our measure for "more evenly distributed" in appendix B, which defines none;
    Pielou's evenness of the assignment.
    """
    sets = _checked(real, real_labels, distilled, distilled_labels)
    values = np.full(len(sets.classes), math.nan)
    for place, name in enumerate(sets.classes):
        points = sets.distilled[sets.distilled_labels == name]
        if len(points) < 2:
            continue
        own = sets.real[sets.real_labels == name]
        counts = np.zeros(len(points))
        for part in row_blocks(len(own), DISTANCE_BYTES * len(points)):
            squared = squared_distances(own[part], points)
            nearest = squared <= squared.min(axis=1, keepdims=True) + sets.tie
            counts += (nearest / nearest.sum(axis=1, keepdims=True)).sum(axis=0)
        filled = counts[counts > 0] / len(own)
        entropy = -float((filled * np.log(filled)).sum())
        values[place] = min(max(entropy / math.log(len(points)), 0.0), 1.0)
    return _by_class(values, sets.classes)


def _checked(
    real: np.ndarray,
    real_labels: np.ndarray,
    distilled: np.ndarray,
    distilled_labels: np.ndarray,
) -> _Sets:
    """Return both sets checked, in float64 and around the mean of the real points."""
    first = as_points("real", real)
    second = as_points("distilled", distilled)
    if first.shape[1] != second.shape[1]:
        raise fail(
            "real and distilled",
            "lie in the same space",
            as_text(f"{first.shape[1]} and {second.shape[1]} features"),
            "Make both with the same network.",
        )
    names = as_labels("real_labels", real_labels, len(first), "real")
    ours = as_labels("distilled_labels", distilled_labels, len(second), "distilled")
    classes = np.unique(ours)
    unknown = np.setdiff1d(classes, names)
    if unknown.size:
        raise fail(
            "distilled_labels",
            "name classes that real_labels has",
            int(unknown[0]),
            "Choose real points of every distilled class.",
        )
    centre = first.mean(axis=0, dtype=np.float64)
    around = first.astype(np.float64) - centre
    beside = second.astype(np.float64) - centre
    largest = max(float(np.square(part).sum(axis=1).max()) for part in (around, beside))
    return _Sets(around, names, beside, ours, classes, _TIE * largest)


def _mean_distance(points: np.ndarray) -> float:
    """Return the mean distance over all pairs, NaN for fewer than two points."""
    count = len(points)
    if count < 2:
        return math.nan
    total = 0.0
    for part in row_blocks(count, DISTANCE_BYTES * count):
        squared = squared_distances(points[part], points)
        rows = np.arange(part.start, part.stop)
        squared[rows - part.start, rows] = 0
        total += float(np.sqrt(squared).sum())
    return total / (count * (count - 1))


def _by_class(values: np.ndarray, classes: np.ndarray) -> ByClass:
    """Return the values with their mean over the classes where they are defined."""
    known = values[~np.isnan(values)]
    return ByClass(float(known.mean()) if known.size else math.nan, values, classes)
