"""Kernel scores: the Vendi score of one set, the kernel distance (KID) of two.

They work at 1 image per class, where a recall has no radius. Neither is a fraction, and
values are comparable within one feature space only.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Real
from scipy import linalg

from isa_toolkit.analysis.validation import as_pair, as_points
from isa_toolkit.checks import as_text, fail

# Number of points whose kernel with as many others is computed at a time.
_ROWS = 2048


def vendi_score(points: Real[np.ndarray, "n d"]) -> float:
    r"""Return the effective number of different points, from 1 to n.

    $\exp(-\sum_i \lambda_i \log \lambda_i)$ with the eigenvalues $\lambda_i$ of $K / n$,
    where $K_{ij} = x_i \cdot x_j / (|x_i| |x_j|)$ is the cosine kernel, so lengths do not
    count. n copies of one point give 1, n points without similarity n. The score does not
    look at real data: noise is diverse too. It needs the smaller of n x n and d x d
    numbers: both matrices have the same eigenvalues.

    Raises:
        ValueError: If ``points`` are not a set of points, or contain a zero vector.

    Example:
        >>> import numpy as np
        >>> from isa_toolkit.analysis.kernels import vendi_score
        >>> round(vendi_score(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])), 6)
        2.0

    Source: Friedman and Dieng, "The Vendi score: a diversity evaluation metric for machine
        learning", 2023, order 1.
    """
    unit = _directions(as_points("points", points))
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = linalg.eigvalsh(gram / len(unit), overwrite_a=True, check_finite=False)
    # Rounding leaves zeros a little to either side; 0 log 0 is 0.
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def kid(real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"]) -> float:
    r"""Return the unbiased squared kernel distance (KID) of two sets.

    With $k(x, y) = (x \cdot y / d + 1)^3$ and d features,

    $\sum_{i \ne j} k(R_i, R_j) / (n (n - 1)) + \sum_{i \ne j} k(F_i, F_j) / (m (m - 1))
    - 2 \sum_{ij} k(R_i, F_j) / (n m)$.

    The result is 0 on average where both come from one distribution, and so below 0 about
    as often as above; it is no fraction, and depends on the origin and the scale of the
    features. Takes $(n^2 + n m) d$ operations in float64, in blocks.

    Raises:
        ValueError: If a set is not two-dimensional, not finite, or a single point; or if
            the numbers of features differ.

    Source: Bińkowski et al., "Demystifying MMD GANs", 2018. **Deviation:** all points at
        once instead of the mean over subsets of 1,000, and the features are the caller's,
        not those of an Inception network, so values are not comparable with published
        ones.
    """
    first, second = as_pair(real, distilled)
    for name, points in (("real", first), ("distilled", second)):
        if len(points) < 2:
            raise fail(name, "have at least 2 points", len(points))
    between = _kernel_sum(first, second) / (len(first) * len(second))
    return _mean_of_pairs(first) + _mean_of_pairs(second) - 2 * between


def _directions(points: np.ndarray) -> np.ndarray:
    """Return points of length 1, in float64."""
    wide = points.astype(np.float64)
    # First by the largest coordinate, so that no square leaves the range.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    zeros = np.flatnonzero(largest == 0)
    if zeros.size:
        raise fail(
            "points",
            "have no zero vector",
            as_text(f"one in row {zeros[0]}"),
            "Leave such points out, they have no direction.",
        )
    wide /= largest
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def _mean_of_pairs(points: np.ndarray) -> float:
    """Return the mean of the kernel over all pairs of different points."""
    count, features = points.shape
    squares = np.square(points, dtype=np.float64).sum(axis=1)
    own = float(((squares / features + 1) ** 3).sum())
    return (_kernel_sum(points, points) - own) / (count * (count - 1))


def _kernel_sum(first: np.ndarray, second: np.ndarray) -> float:
    """Return the sum of the kernel over all pairs."""
    from sklearn.metrics.pairwise import polynomial_kernel
    from sklearn.utils import gen_batches

    total = 0.0
    for rows in gen_batches(len(first), _ROWS):
        left = first[rows].astype(np.float64)
        for columns in gen_batches(len(second), _ROWS):
            right = second[columns].astype(np.float64)
            total += float(polynomial_kernel(left, right, degree=3).sum())
    return total
