"""Scores without neighbours: the Vendi score of one set, the kernel distance of two.

They work at 1 image per class, where a recall has no radius. Neither is a fraction, and
values are only comparable in one feature space.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real
from scipy import linalg
from scipy.spatial.distance import pdist, squareform

from isa_toolkit.analysis.intervals import Interval, bootstrap_interval
from isa_toolkit.analysis.validation import (
    BLOCK_BYTES,
    as_labels,
    as_pair,
    as_points,
    count_classes,
    row_blocks,
)
from isa_toolkit.checks import as_text, check_one_of, check_positive, fail

__all__ = ["ClassVendi", "kid", "kid_interval", "vendi_by_class", "vendi_score"]

Kernel = Literal["cosine", "gaussian"]


class ClassVendi(NamedTuple):
    """The Vendi score of each class, and how many points it rests on.

    score: effective number of different points, from 1 to ``points``, [c]; NaN for a
        class without points. At 1 image per class it is 1 whatever the image.
    points: points of each class, [c].
    """

    score: Float64[np.ndarray, " c"]
    points: Int64[np.ndarray, " c"]


def vendi_score(
    points: Real[np.ndarray, "n d"],
    kernel: Kernel = "cosine",
    *,
    bandwidth: float | None = None,
) -> float:
    """Return the effective number of different points.

    ``exp(-sum_i lambda_i log lambda_i)`` with the eigenvalues ``lambda_i`` of ``K / n``,
    where ``K_ij`` is

    - cosine: ``x_i.x_j / (|x_i| |x_j|)``, so lengths do not count;
    - gaussian: ``exp(-|x_i - x_j|^2 / (2 bandwidth^2))``.

    n copies of one point give 1, n points without similarity n. It sees no real data:
    noise is diverse too.

    Args:
        points: n points, shape ``[n, d]``.
        kernel: ``"cosine"`` or ``"gaussian"``.
        bandwidth: of the Gaussian kernel, in the unit of the points, above 0; a usual
            choice is the median distance of real points,
            ``np.median(scipy.spatial.distance.pdist(real))``. Compare sets at one
            bandwidth only.

    Returns:
        A number from 1 to n. The Gaussian kernel needs n x n numbers; the cosine kernel
        the smaller of n x n and d x d, since both matrices have the same eigenvalues.

    Raises:
        TypeError: ``bandwidth`` is not a number.
        ValueError: ``points`` are no set of points, hold a zero vector under the cosine
            kernel, the kernel is unknown, or ``bandwidth`` is missing, not above 0 or
            given to the cosine kernel.

    Source: Friedman and Dieng, "The Vendi score: a diversity evaluation metric for
        machine learning", 2023, order 1.
    """
    array = as_points("points", points)
    width = _check_kernel(kernel, bandwidth)
    if width is None:
        _check_lengths("points", array)
    return _vendi(array, width)


def vendi_by_class(
    points: Real[np.ndarray, "n d"],
    labels: Integer[np.ndarray, " n"],
    kernel: Kernel = "cosine",
    *,
    bandwidth: float | None = None,
    classes: int | None = None,
) -> ClassVendi:
    """Return the Vendi score within each class.

    Args:
        points: n points, shape ``[n, d]``.
        labels: class of each, from 0 on, shape ``[n]``; of soft labels, the argmax.
        kernel: as in `vendi_score`.
        bandwidth: as in `vendi_score`, one for all classes.
        classes: how many classes there are; up to the largest label when left out.

    Returns:
        Scores with the number of points behind each; a score is no larger than that.

    Raises:
        TypeError: ``bandwidth`` or ``classes`` is not a number.
        ValueError: as `vendi_score`, or labels are not one class number for each point.

    Source: as `vendi_score`, within classes.
    """
    array = as_points("points", points)
    width = _check_kernel(kernel, bandwidth)
    if width is None:
        _check_lengths("points", array)
    numbers = as_labels("labels", labels, len(array), "points")
    count = count_classes(classes, labels=numbers)
    sizes = np.bincount(numbers, minlength=count)
    score = [
        _vendi(array[numbers == label], width) if sizes[label] else math.nan
        for label in range(count)
    ]
    return ClassVendi(np.array(score), sizes)


def kid(real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"]) -> float:
    """Return the unbiased squared kernel distance of two sets.

    With ``k(x, y) = (x.y / d + 1)^3`` and d features,

    ``sum_(i != j) k(R_i, R_j) / (n (n - 1)) + sum_(i != j) k(F_i, F_j) / (m (m - 1))
    - 2 sum_ij k(R_i, F_j) / (n m)``.

    Args:
        real: n real points, shape ``[n, d]``, n at least 2.
        distilled: m distilled points in the same feature space, shape ``[m, d]``, m at
            least 2.

    Returns:
        0 on average when both come from one distribution, and so below 0 about as often
        as above; not a fraction. Depends on the origin and scale of the features. Takes
        ``(n^2 / 2 + n m) d`` operations in float64, in blocks of 256 MiB.

    Raises:
        ValueError: a set is not two-dimensional, not finite, or a single point; or the
            features differ in number.

    Source: Bińkowski et al., "Demystifying MMD GANs", 2018. **Deviation:** all points
        at once instead of the mean over subsets of 1,000, and the features are the
        caller's, not those of an Inception network, so values are not comparable with
        published ones.
    """
    return float(_kid_terms(*_check_two(real, distilled)).mean())


def kid_interval(
    real: Real[np.ndarray, "n d"],
    distilled: Real[np.ndarray, "m d"],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return `kid` with its bootstrap interval over the real points.

    Each real point adds ``2 a_i - 2 b_i``, less ``mean(a)``, plus the term of distilled
    pairs; ``a_i`` is its mean kernel with the other real points, ``b_i`` with the
    distilled ones. Their mean is `kid` exactly, and resampling them varies it to first
    order in 1 / n. Resampled pairs are not used: copies of a point would meet
    themselves, and the estimate would be biased again.

    Args:
        real: n real points, shape ``[n, d]``, n at least 2.
        distilled: m distilled points, shape ``[m, d]``, m at least 2.
        resamples: how many times n real points are drawn with replacement.
        seed: seed of the draws.
        level: confidence level, above 0 and below 1.

    Returns:
        The interval. It varies over real points alone: with few distilled points most
        of the chance in `kid` is in those.

    Raises:
        TypeError: as `bootstrap_interval`.
        ValueError: as `kid` and `bootstrap_interval`.

    Source: first-order (Hájek) projection of the U-statistic of Bińkowski et al. 2018,
        percentile bootstrap as in `bootstrap_interval`. The combination is ours.
    """
    return bootstrap_interval(
        _kid_terms(*_check_two(real, distilled)),
        np.mean,
        resamples=resamples,
        seed=seed,
        level=level,
    )._replace(kind="real points, with this distilled set")


def _check_kernel(kernel: str, bandwidth: float | None) -> float | None:
    """Return the bandwidth, None for the cosine kernel."""
    name = check_one_of("kernel", kernel, ("cosine", "gaussian"))
    if name == "gaussian":
        if bandwidth is None:
            raise fail(
                "bandwidth",
                "be given for kernel 'gaussian'",
                None,
                "The median distance of real points is usual; "
                "keep one bandwidth for all sets.",
            )
        return check_positive("bandwidth", bandwidth)
    if bandwidth is not None:
        raise fail(
            "bandwidth",
            "be left out for kernel 'cosine'",
            bandwidth,
            "Only kernel 'gaussian' has one.",
        )
    return None


def _check_lengths(name: str, points: np.ndarray) -> None:
    """Refuse points without a direction."""
    zeros = np.flatnonzero(~points.any(axis=1))
    if len(zeros):
        raise fail(
            name,
            "have no zero vector under kernel 'cosine'",
            as_text(f"one in row {zeros[0]}"),
            "Leave such points out, or use kernel 'gaussian'.",
        )


def _check_two(real: object, distilled: object) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of at least two points each."""
    first, second = as_pair(real, distilled)
    for name, points in (("real", first), ("distilled", second)):
        if len(points) < 2:
            raise fail(
                name,
                "hold at least 2 points",
                len(points),
                "The unbiased estimate needs a pair of different points.",
            )
    return first, second


def _vendi(points: np.ndarray, bandwidth: float | None) -> float:
    """Return the Vendi score, of the cosine kernel when there is no bandwidth."""
    count, features = points.shape
    if bandwidth is not None:
        squared = squareform(
            pdist(points.astype(np.float64) / bandwidth, "sqeuclidean")
        )
        gram = np.exp(squared / -2)
    elif count <= features:
        unit = _directions(points)
        gram = unit @ unit.T
    else:
        gram = np.zeros((features, features))
        for rows in row_blocks(count, 16 * features):
            unit = _directions(points[rows])
            gram += unit.T @ unit
    values = linalg.eigvalsh(gram / count, overwrite_a=True, check_finite=False)
    # Rounding leaves zeros a little to either side; 0 log 0 is 0.
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def _directions(points: np.ndarray) -> np.ndarray:
    """Return points of length 1, in float64."""
    wide = points.astype(np.float64)
    # First by the largest coordinate, so that no square leaves the range.
    wide /= np.abs(wide).max(axis=1, keepdims=True)
    wide /= np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return wide


def _kid_terms(real: np.ndarray, distilled: np.ndarray) -> np.ndarray:
    """Return what each real point adds to `kid`, whose mean is `kid` itself, [n]."""
    count, others = len(real), len(distilled)
    among = _kernel_sums(real, real, skip_self=True) / (count - 1)
    apart = _kernel_sums(distilled, distilled, skip_self=True) / (others - 1)
    between = _kernel_sums(real, distilled, skip_self=False) / others
    return 2 * among - 2 * between - among.mean() + apart.mean()


def _kernel_sums(
    first: np.ndarray, second: np.ndarray, *, skip_self: bool
) -> np.ndarray:
    """Return ``sum_j k(first_i, second_j)``, without j = i where asked, [n].

    A set beside itself (``skip_self``) is walked above the diagonal only: a block gives
    its row sums to one side and its column sums to the other.
    """
    features = first.shape[1]
    sums = np.zeros(len(first))
    # Two square tiles and two blocks of rows, in float64: 16 s^2 + 32 s d bytes.
    side = int(math.sqrt(features**2 + BLOCK_BYTES / 16)) - features
    blocks = list(row_blocks(len(second), 1, budget=max(1, side)))
    for rows in row_blocks(len(first), 1, budget=max(1, side)):
        left = first[rows].astype(np.float64) / features
        for columns in blocks:
            if skip_self and columns.start < rows.start:
                continue
            tile = left @ second[columns].T.astype(np.float64)
            tile += 1
            cubes = tile * tile
            cubes *= tile
            if skip_self and columns.start == rows.start:
                np.fill_diagonal(cubes, 0)
            elif skip_self:
                sums[columns] += cubes.sum(axis=0)
            sums[rows] += cubes.sum(axis=1)
    return sums
