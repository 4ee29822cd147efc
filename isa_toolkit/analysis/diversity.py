"""How diverse a distilled set is beside the real data: recall and its kin.

All of it compares Euclidean distances in one feature space, which the caller chooses:
the ISA appendix does not say which one its recall of .84 and .89 was measured in.
Scores without neighbours, of kernels, are in `isa_toolkit.analysis.kernels`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Real

from isa_toolkit.analysis.balls import in_distilled_balls, in_real_balls
from isa_toolkit.analysis.intervals import Interval, bootstrap_interval
from isa_toolkit.analysis.validation import (
    as_labels,
    as_pair,
    check_neighbours,
    count_classes,
)
from isa_toolkit.checks import check_integer

__all__ = [
    "ClassPrdc",
    "Prdc",
    "coverage_interval",
    "covered",
    "prdc",
    "prdc_by_class",
    "recall",
    "recall_interval",
    "recalled",
]

_USE_COVERED = "use covered(...), which needs no neighbours among distilled points"


class Prdc(NamedTuple):
    """Fidelity and diversity of a distilled set beside the real one.

    precision: share of distilled points inside a ball around a real one, in [0, 1].
    recall: share of real points inside a ball around a distilled one, in [0, 1]. One
        outlier among the distilled points has a large ball and can raise it to 1.
    density: mean number of real balls around a distilled point, over k; at least 0, and
        about 1 when both sets come from one distribution.
    coverage: share of real points with a distilled one in their own ball, in [0, 1];
        an outlier among the distilled points cannot raise it.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class ClassPrdc(NamedTuple):
    """`Prdc` of each class by itself, and how many points it rests on.

    A number that the points of a class cannot give is NaN.

    precision: of each class, [c]; NaN with k or fewer real points, or none distilled.
    recall: of each class, [c]; NaN with k or fewer distilled points, or none real.
    density: of each class, [c]; NaN like precision.
    coverage: of each class, [c]; NaN with k or fewer real points, 0 with none
        distilled.
    real_points: real points of each class, [c].
    distilled_points: distilled points of each class, [c].
    """

    precision: Float64[np.ndarray, " c"]
    recall: Float64[np.ndarray, " c"]
    density: Float64[np.ndarray, " c"]
    coverage: Float64[np.ndarray, " c"]
    real_points: Int64[np.ndarray, " c"]
    distilled_points: Int64[np.ndarray, " c"]


def prdc(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> Prdc:
    """Return precision, recall, density and coverage of a distilled set.

    With ``R_i`` in ``real``, ``F_j`` in ``distilled``, and ``NND_k`` the distance to
    the k-th nearest neighbour within the same set, itself excluded:

    - precision: mean over j of ``1[some i: |R_i - F_j| < NND_k(R_i)]``;
    - recall: mean over i of ``1[some j: |R_i - F_j| < NND_k(F_j)]``;
    - density: mean over j of ``#{i: |R_i - F_j| < NND_k(R_i)} / k``;
    - coverage: mean over i of ``1[some j: |R_i - F_j| < NND_k(R_i)]``.

    Args:
        real: n real points, shape ``[n, d]``, n above k.
        distilled: m distilled points in the same feature space, shape ``[m, d]``, m
            above k.
        k: which neighbour gives the radius; the paper takes 5.

    Returns:
        Four fractions; density may pass 1. Takes ``(n^2 + m^2 + n m) d`` operations in
        float32, one float32 copy of the larger set, and blocks of 256 MiB; with many
        real points the radii around them are nearly all of it, and `recall` alone does
        without. A point with k exact copies in its own set has radius 0, and its ball
        is empty.

    Raises:
        TypeError: ``k`` is not a whole number.
        ValueError: a set is not two-dimensional, not finite, or has no more than k
            points; the features differ in number; or ``k`` is below 1.

    Source: recall is equations 8 and 9 of the ISA appendix, k = 5, which is that of
        Kynkäänniemi et al., "Improved precision and recall metric for assessing
        generative models", 2019, as is precision; density and coverage are those of
        Naeem et al., "Reliable fidelity and diversity metrics for generative models",
        2020. Checked against their package ``prdc``. **Deviation:** the appendix does
        not say whether a ball holds its surface; ours is open, as in ``prdc``. That
        package wants two points more than k, here one is enough.
    """
    first, second, number = _checked(real, distilled, k)
    check_neighbours("real", len(first), number)
    check_neighbours("distilled", len(second), number, _USE_COVERED)
    return _measure(first, second, number)


def prdc_by_class(
    real: Real[np.ndarray, "n d"],
    real_labels: Integer[np.ndarray, " n"],
    distilled: Real[np.ndarray, "m d"],
    distilled_labels: Integer[np.ndarray, " m"],
    k: int = 5,
    *,
    classes: int | None = None,
) -> ClassPrdc:
    """Return precision, recall, density and coverage within each class.

    Distilled points of a class are set beside the real points of that class, and radii
    are those within the class. The mean over classes is not the number of `prdc`, whose
    balls reach across classes.

    Args:
        real: n real points, shape ``[n, d]``.
        real_labels: class of each, from 0 on, shape ``[n]``.
        distilled: m distilled points, shape ``[m, d]``.
        distilled_labels: class of each, shape ``[m]``; of soft labels, the argmax.
        k: which neighbour gives the radius. At k or fewer images per class recall is
            NaN, while the other three are not: they rest on radii of real points.
        classes: how many classes there are; up to the largest label when left out.

    Returns:
        Arrays over classes, with the number of points behind each.

    Raises:
        TypeError: ``k`` or ``classes`` is not a whole number.
        ValueError: a set is not two-dimensional or not finite, the features differ in
            number, labels are not one class number for each point, or ``k`` is below 1.

    Source: as `prdc`, within classes.
    """
    first, second, number = _checked(real, distilled, k)
    sources = as_labels("real_labels", real_labels, len(first), "real")
    targets = as_labels("distilled_labels", distilled_labels, len(second), "distilled")
    count = count_classes(classes, real_labels=sources, distilled_labels=targets)
    rows = [
        _measure(first[sources == label], second[targets == label], number)
        for label in range(count)
    ]
    return ClassPrdc(
        *np.array(rows).T,
        real_points=np.bincount(sources, minlength=count),
        distilled_points=np.bincount(targets, minlength=count),
    )


def recalled(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> Bool[np.ndarray, " n"]:
    """Return which real points lie in the manifold of the distilled ones.

    ``1[some j: |R_i - F_j| < NND_k(F_j)]``, the terms of equation 8.

    Args:
        real: n real points, shape ``[n, d]``; one is enough.
        distilled: m distilled points, shape ``[m, d]``, m above k.
        k: which neighbour gives the radius; the paper takes 5.

    Returns:
        True for each real point that is recalled, shape ``[n]``. Takes
        ``(m^2 + n m) d`` operations, and no distances between real points.

    Raises:
        TypeError: ``k`` is not a whole number.
        ValueError: a set is not two-dimensional or not finite, the features differ in
            number, ``distilled`` has no more than k points, or ``k`` is below 1.

    Source: equations 8 and 9 of the ISA appendix; see `prdc`.
    """
    first, second, number = _checked(real, distilled, k)
    check_neighbours("distilled", len(second), number, _USE_COVERED)
    return in_distilled_balls(first, second, number)


def covered(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> Bool[np.ndarray, " n"]:
    """Return which real points have a distilled one nearer than their k-th neighbour.

    ``1[some j: |R_i - F_j| < NND_k(R_i)]``, the terms of coverage. Works at 1 image per
    class, where recall has no radius.

    Args:
        real: n real points, shape ``[n, d]``, n above k.
        distilled: m distilled points, shape ``[m, d]``; one is enough.
        k: which neighbour gives the radius.

    Returns:
        True for each real point that is covered, shape ``[n]``. Takes
        ``(n^2 + n m) d`` operations.

    Raises:
        TypeError: ``k`` is not a whole number.
        ValueError: a set is not two-dimensional or not finite, the features differ in
            number, ``real`` has no more than k points, or ``k`` is below 1.

    Source: coverage of Naeem et al. 2020; see `prdc`.
    """
    first, second, number = _checked(real, distilled, k)
    check_neighbours("real", len(first), number)
    return in_real_balls(first, second, number).covered


def recall(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> float:
    """Return the share of real points in the manifold of the distilled ones.

    The mean of `recalled`, in [0, 1]: the number of the ISA appendix, without the cost
    of the rest of `prdc`.

    Args:
        real: n real points, shape ``[n, d]``; one is enough.
        distilled: m distilled points, shape ``[m, d]``, m above k.
        k: which neighbour gives the radius; the paper takes 5.

    Returns:
        The fraction.

    Raises:
        TypeError: as `recalled`.
        ValueError: as `recalled`.

    Source: equations 8 and 9 of the ISA appendix; see `prdc`.
    """
    return float(recalled(real, distilled, k).mean())


def recall_interval(
    real: Real[np.ndarray, "n d"],
    distilled: Real[np.ndarray, "m d"],
    k: int = 5,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the recall with its bootstrap interval over the real points.

    The distilled set and its radii stay, so each real point is in or out for good and
    resampling costs no distances. It says how far the recall hangs on these very real
    points, nothing about another distilled set: for that, take one recall for each
    seed and `mean_interval`.

    Args:
        real: n real points, shape ``[n, d]``.
        distilled: m distilled points, shape ``[m, d]``, m above k.
        k: which neighbour gives the radius; the paper takes 5.
        resamples: how many times n real points are drawn with replacement.
        seed: seed of the draws.
        level: confidence level, above 0 and below 1.

    Returns:
        The interval; of width 0 when all points are recalled or none.

    Raises:
        TypeError: as `recalled` and `bootstrap_interval`.
        ValueError: as `recalled` and `bootstrap_interval`.

    Source: percentile bootstrap, see `bootstrap_interval`.
    """
    return _share_interval(
        recalled(real, distilled, k), resamples, seed, level
    )._replace(kind="real points, with this distilled set")


def coverage_interval(
    real: Real[np.ndarray, "n d"],
    distilled: Real[np.ndarray, "m d"],
    k: int = 5,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the coverage with its bootstrap interval over the real points.

    As `recall_interval`. The radii around the real points stay as they are in the whole
    set, since a resample holds copies, which would be each other's neighbours.

    Args:
        real: n real points, shape ``[n, d]``, n above k.
        distilled: m distilled points, shape ``[m, d]``; one is enough.
        k: which neighbour gives the radius.
        resamples: how many times n real points are drawn with replacement.
        seed: seed of the draws.
        level: confidence level, above 0 and below 1.

    Returns:
        The interval; of width 0 when all points are covered or none.

    Raises:
        TypeError: as `covered` and `bootstrap_interval`.
        ValueError: as `covered` and `bootstrap_interval`.

    Source: percentile bootstrap, see `bootstrap_interval`.
    """
    return _share_interval(
        covered(real, distilled, k), resamples, seed, level
    )._replace(kind="real points, with their radii and this distilled set")


def _share_interval(
    inside: Bool[np.ndarray, " n"], resamples: int, seed: int, level: float
) -> Interval:
    """Return the share of points that are inside, with its bootstrap interval."""
    return bootstrap_interval(
        inside.astype(np.float64),
        np.mean,
        resamples=resamples,
        seed=seed,
        level=level,
    )


def _checked(
    real: object, distilled: object, k: object
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return both sets and k, or say what is wrong with them."""
    number = check_integer("k", k)
    return (*as_pair(real, distilled), number)


def _measure(real: np.ndarray, distilled: np.ndarray, k: int) -> Prdc:
    """Return what two sets of any size give, NaN for the rest."""
    precision = hits = density = coverage = math.nan
    if len(real) and len(distilled) > k:
        hits = float(in_distilled_balls(real, distilled, k).mean())
    if len(real) > k:
        coverage = 0.0
        if len(distilled):
            balls = in_real_balls(real, distilled, k)
            coverage = float(balls.covered.mean())
            precision = float((balls.counts > 0).mean())
            density = float(balls.counts.mean()) / k
    return Prdc(precision, hits, density, coverage)
