"""The mean of a function over a segment, for losses without a closed form."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["segment_mean"]

Scalar = Float[Array, ""] | float


def segment_mean(
    function: Callable[[Float[Array, ""]], Array],
    start: Scalar,
    stop: Scalar,
    *,
    nodes: int = 3,
) -> Array:
    """Return the mean of ``function`` over [start, stop] by Gauss-Legendre quadrature.

    ``sum_q w_q f((a + b)/2 + (b - a)/2 x_q) / 2``: exact for polynomials of degree
    ``2 nodes - 1`` or less. With a = b it is the value there.

    Args:
        function: Function of a position; called once per node.
        start: First end a; may be traced.
        stop: Last end b; may be traced.
        nodes: Number of positions; static.

    Returns:
        The mean, shaped like a value of ``function``.

    Source: docs/algorithms.md, section 10.
    """
    positions, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (start + stop) / 2, (stop - start) / 2
    values = [
        0.5 * float(weight) * function(jnp.asarray(middle + half * float(position)))
        for position, weight in zip(positions, weights, strict=True)
    ]
    return sum(values[1:], start=values[0])
