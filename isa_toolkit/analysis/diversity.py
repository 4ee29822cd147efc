"""Precision, recall, density and coverage (PRDC) of distilled features.

All four compare Euclidean distances in one feature space, which the caller chooses: the
ISA appendix does not say in which one its recall of .84 and .89 was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Real

from isa_toolkit.analysis.knn import closer, clouds, rough_blocks, squared_radii
from isa_toolkit.analysis.validation import as_pair, check_neighbours
from isa_toolkit.annotations import typed
from isa_toolkit.checks import check_integer


class Prdc(NamedTuple):
    """Fidelity and diversity of a distilled set.

    precision: Fraction of distilled points inside a ball around a real one.
    recall: Fraction of real points inside a ball around a distilled one. One outlier
        among the distilled points has a large ball and can raise it to 1.
    density: Mean number of real balls around a distilled point, divided by k; about 1
        where both sets come from one distribution, and not bounded by 1.
    coverage: Fraction of real points with a distilled one in their own ball. An outlier
        among the distilled points cannot raise it.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@typed
def prdc(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> Prdc:
    r"""Return precision, recall, density and coverage of a distilled set.

    With $R_i$ in ``real``, $F_j$ in ``distilled``, and $NND_k$ the distance to the k-th
    nearest neighbour within the same set, itself excluded:

    - precision: mean over j of $1[\exists i: |R_i - F_j| < NND_k(R_i)]$;
    - recall: mean over i of $1[\exists j: |R_i - F_j| < NND_k(F_j)]$;
    - density: mean over j of $\#\{i: |R_i - F_j| < NND_k(R_i)\} / k$;
    - coverage: mean over i of $1[\exists j: |R_i - F_j| < NND_k(R_i)]$.

    Args:
        real: Features of n real images, shape ``[n, d]``, n above k.
        distilled: Features of m distilled images, shape ``[m, d]``, m above k.
        k: Which neighbour gives the radius of a ball; the paper takes 5.

    Returns:
        The four numbers. They take $(n^2 + m^2 + n m) d$ operations, most of them for the
        radii of the real points, which ``recall`` alone does not need. A point with k
        exact copies in its own set has radius 0, and its ball is empty.

    Raises:
        TypeError: If ``k`` is not a whole number.
        ValueError: If a set is not two-dimensional, not finite, or has no more than k
            points; if the numbers of features differ; or if ``k`` is below 1.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from isa_toolkit.analysis.diversity import prdc
        >>> pixels = load_digits().data
        >>> result = prdc(real=pixels[:1000], distilled=pixels[1000::16])
        >>> round(result.recall, 3), round(result.coverage, 3)
        (0.987, 0.126)

    Source: recall is equations 8 and 9 of the ISA appendix with k = 5, as in
        Kynkäänniemi et al., "Improved precision and recall metric for assessing
        generative models", 2019, which also defines precision; density and coverage are
        those of Naeem et al., "Reliable fidelity and diversity metrics for generative
        models", 2020. Checked against their package ``prdc``. **Deviation:** the appendix
        does not say whether a ball includes its surface; ours does not, as in ``prdc``.
    """
    first, second = as_pair(real, distilled)
    number = check_integer("k", k)
    check_neighbours("real", len(first), number)
    check_neighbours("distilled", len(second), number)
    rows, columns = clouds(first, second)
    real_radii = squared_radii(rows, number)
    distilled_radii = squared_radii(columns, number)[None, :]
    hits = np.zeros(len(second), np.int64)
    recalled_count = covered_count = 0
    for part, block in rough_blocks(rows, columns):
        inside = closer(rows, columns, part, block, distilled_radii)
        recalled_count += int(inside.any(axis=1).sum())
        inside = closer(rows, columns, part, block, real_radii[part, None])
        covered_count += int(inside.any(axis=1).sum())
        hits += inside.sum(axis=0)
    return Prdc(
        precision=float((hits > 0).mean()),
        recall=recalled_count / len(first),
        density=float(hits.mean()) / number,
        coverage=covered_count / len(first),
    )


@typed
def recall(
    real: Real[np.ndarray, "n d"], distilled: Real[np.ndarray, "m d"], k: int = 5
) -> float:
    r"""Return the fraction of real points that lie in a ball around a distilled one.

    The mean over i of $1[\exists j: |R_i - F_j| < NND_k(F_j)]$. The balls belong
    to the *distilled* points, so the order of the arguments matters: swapped, the
    function returns the precision. Values near 1 are saturated: a ball
    reaches to the k-th neighbour, and the balls of few distilled points, or of raw pixels,
    are large. Compare sets of the same size in the features of a trained network, and look
    at the coverage of ``prdc`` as well, which saturates less.

    Args:
        real: Features of n real images, shape ``[n, d]``; one is enough.
        distilled: Features of m distilled images, shape ``[m, d]``, m above k.
        k: Which neighbour gives the radius of a ball; the paper takes 5.

    Returns:
        The fraction, from 0 to 1. Takes $(m^2 + n m) d$ operations, and no distances
        between real points.

    Raises:
        TypeError: If ``k`` is not a whole number.
        ValueError: If a set is not two-dimensional or not finite, if the numbers of
            features differ, ``distilled`` has no more than k points, or ``k`` is below 1.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from isa_toolkit.analysis.diversity import recall
        >>> pixels = load_digits().data
        >>> round(recall(real=pixels[:1000], distilled=pixels[1000::16]), 3)
        0.987

    Source: equations 8 and 9 of the ISA appendix; see ``prdc``.
    """
    first, second = as_pair(real, distilled)
    number = check_integer("k", k)
    check_neighbours("distilled", len(second), number)
    rows, columns = clouds(first, second)
    limits = squared_radii(columns, number)[None, :]
    recalled = sum(
        int(closer(rows, columns, part, block, limits).any(axis=1).sum())
        for part, block in rough_blocks(rows, columns)
    )
    return recalled / len(first)
