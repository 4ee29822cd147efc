"""Cross-entropy of predictions at a learned scale (Platt scaling).

Labels are centred (rows sum to 0, as everywhere in the toolkit), so the probability that
goes with ``y`` is ``y + 1/C``: one-hot for a target, a mixture for a virtual one.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


def scaled_cross_entropy(
    prediction: Float[Array, "n c"], labels: Float[Array, "n c"], log_scale: Scalar
) -> Float[Array, " n"]:
    """Return ``- sum_c (y + 1/C)_c log softmax(exp(k) P)_c`` per sample, [n].

    The scale k is the learned logarithm of what predictions are multiplied by: k in RFAD,
    tau in RCIG.

    Source: docs/algorithms.md, sections 4.3 and 4.4.
    """
    probability = labels + 1 / labels.shape[-1]
    return -jnp.sum(
        probability * jax.nn.log_softmax(jnp.exp(log_scale) * prediction), axis=-1
    )


def segment_cross_entropy(
    prediction: Float[Array, "n c"],
    labels: Float[Array, "n c"],
    prediction_difference: Float[Array, "n c"],
    label_difference: Float[Array, "n c"],
    log_scale: Scalar,
    start: Scalar,
    stop: Scalar,
) -> Float[Array, " n"]:
    """Return the mean cross-entropy over a segment towards the partner, per sample, [n].

    The mean over t in [a, b] of the loss of ``P_i + t (P_i - P_j)`` against
    ``y_i + t (y_i - y_j)``, by Gauss-Legendre quadrature at 3 nodes; the differences are
    those to the partner j. For -1 <= t <= 0 the label is a mixture of both; beyond, a class
    has a negative weight and the cross-entropy is unbounded below.

    Source: docs/algorithms.md, section 10, RFAD and RCIG: a proposal there; the paper's own
    form is UNKNOWN.
    """

    def at(position: Float[Array, ""]) -> Float[Array, " n"]:
        return scaled_cross_entropy(
            prediction + position * prediction_difference,
            labels + position * label_difference,
            log_scale,
        )

    return segment_mean(at, start, stop)


def segment_mean(
    function: Callable[[Float[Array, ""]], Array], start: Scalar, stop: Scalar
) -> Array:
    """Return the mean of ``function`` over [start, stop] by Gauss-Legendre quadrature.

    ``sum_q w_q f((a + b)/2 + (b - a)/2 x_q) / 2`` at 3 nodes: exact for polynomials of
    degree 5 or less. With a = b it is the value there. The ends may be traced.

    Source: docs/algorithms.md, section 10.
    """
    positions, weights = np.polynomial.legendre.leggauss(3)
    middle, half = (start + stop) / 2, (stop - start) / 2
    values = [
        0.5 * float(weight) * function(jnp.asarray(middle + half * float(position)))
        for position, weight in zip(positions, weights, strict=True)
    ]
    return sum(values[1:], start=values[0])
