"""Ridge readout of distilled features: dual, primal, and prediction.

A readout is a matrix ``W`` with predictions ``P(z) = z W``. The ridge is *relative*:
the regulariser is ``lam = ridge * tr(F F^T) / m``, and the trace is differentiated
through. Products and solves run at the highest matrix precision whatever the default
is: at TF32 the kernel of a thousand samples loses the digits that the solve needs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

HIGHEST = jax.lax.Precision.HIGHEST
Scalar = Float[Array, ""] | float


class Readout(NamedTuple):
    """A linear predictor on features.

    weights: Matrix ``W`` of ``P(z) = z W``, [d, c].
    regulariser: Absolute ``lam`` that was added to the diagonal, [].
    """

    weights: Float[Array, "d c"]
    regulariser: Float[Array, ""]


def dual_readout(
    features: Float[Array, "m d"], labels: Float[Array, "m c"], ridge: Scalar
) -> Readout:
    """Return the ridge readout through the m x m kernel.

    ``W = F^T (F F^T + lam I)^-1 Y`` with F = ``features``, Y = ``labels`` and
    ``lam = ridge * tr(F F^T) / m``.

    Args:
        features: Distilled features, [m, d].
        labels: Distilled labels, [m, c].
        ridge: Relative ridge, a fraction of the mean diagonal of the kernel.

    Returns:
        The readout; NaN where the Cholesky factorisation fails.

    Source: docs/algorithms.md, section 4.1 (FRePo), a Cholesky solve.
    """
    kernel = jnp.matmul(features, features.T, precision=HIGHEST)
    lam = ridge * jnp.trace(kernel) / kernel.shape[0]
    factor = cho_factor(kernel + lam * jnp.eye(kernel.shape[0], dtype=kernel.dtype))
    dual = cho_solve(factor, labels)
    return Readout(jnp.matmul(features.T, dual, precision=HIGHEST), lam)


def primal_readout(
    features: Float[Array, "m d"], labels: Float[Array, "m c"], ridge: Scalar
) -> Readout:
    """Return the ridge readout through the d x d covariance.

    ``W = (F^T F + lam I)^-1 F^T Y`` with the same ``lam`` as :func:`dual_readout`
    (``tr(F^T F) = tr(F F^T)``, over the same m); the two are equal by the push-through
    identity ``(F^T F + lam I)^-1 F^T = F^T (F F^T + lam I)^-1``.

    Arguments and result are those of :func:`dual_readout`.
    """
    covariance = jnp.matmul(features.T, features, precision=HIGHEST)
    lam = ridge * jnp.trace(covariance) / features.shape[0]
    eye = jnp.eye(covariance.shape[0], dtype=covariance.dtype)
    factor = cho_factor(covariance + lam * eye)
    moment = jnp.matmul(features.T, labels, precision=HIGHEST)
    return Readout(cho_solve(factor, moment), lam)


def readout(
    features: Float[Array, "m d"], labels: Float[Array, "m c"], ridge: Scalar
) -> Readout:
    """Return the ridge readout by whichever of dual and primal is smaller.

    Arguments and result are those of :func:`dual_readout`.
    """
    samples, dimensions = features.shape
    solve = dual_readout if samples <= dimensions else primal_readout
    return solve(features, labels, ridge)


def predict(
    features: Float[Array, "n d"], weights: Float[Array, "d c"]
) -> Float[Array, "n c"]:
    """Return ``P = features @ weights`` at the highest matrix precision.

    Args:
        features: Features, [n, d].
        weights: Readout W, [d, c].

    Returns:
        Predictions, [n, c].
    """
    return jnp.matmul(features, weights, precision=HIGHEST)
