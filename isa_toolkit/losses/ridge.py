"""Ridge readout of distilled features: dual, primal, and prediction.

A readout is a matrix ``W`` with predictions ``P(z) = z W``. The ridge is *relative*:
the regulariser is ``lam = ridge * tr(F F^T) / m``, and the trace is differentiated
through. Products and solves run at the highest matrix precision whatever the default
is: at TF32 the kernel of a thousand samples loses the digits that the solve needs.

Where the matrix is so ill-conditioned that its solution is wrong (about as many samples as
dimensions, equal samples), the regulariser is raised tenfold until the estimated error is
at most ``MAX_ERROR``; where nothing helps, the weights are NaN. Derivatives are those of
the solution, not of the factorisation: they cost one more solve.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float

from isa_toolkit.annotations import typed

HIGHEST = jax.lax.Precision.HIGHEST
MAX_ERROR = 0.01
"""Largest estimated relative error of a solution that is used."""
_MOST_TRIES = 5

Scalar = Float[Array, ""] | float


class Readout(NamedTuple):
    """A linear predictor on features.

    weights: Matrix ``W`` of ``P(z) = z W``, [d, c].
    regulariser: Absolute ``lam`` that was added to the diagonal, [].
    ridge_factor: What the ridge was multiplied by to get an accurate solution: 1, 10, 100
        and so on, [].
    error: Estimated relative error of the solution, from one step of iterative
        refinement, [].
    """

    weights: Float[Array, "d c"]
    regulariser: Float[Array, ""]
    ridge_factor: Float[Array, ""]
    error: Float[Array, ""]


@typed
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
        The readout; NaN where no ridge that was tried gives an accurate one.

    Source: docs/algorithms.md, section 4.1 (FRePo), a Cholesky solve, and section 11.
    """
    dual = _solve(features, labels, ridge / features.shape[0])
    return dual._replace(weights=_product(features.T, dual.weights))


@typed
def primal_readout(
    features: Float[Array, "m d"], labels: Float[Array, "m c"], ridge: Scalar
) -> Readout:
    """Return the ridge readout through the d x d covariance.

    ``W = (F^T F + lam I)^-1 F^T Y`` with the same ``lam`` as :func:`dual_readout`
    (``tr(F^T F) = tr(F F^T)``, over the same m); the two are equal by the push-through
    identity ``(F^T F + lam I)^-1 F^T = F^T (F F^T + lam I)^-1``.

    Arguments and result are those of :func:`dual_readout`.
    """
    moment = _product(features.T, labels)
    return _solve(features.T, moment, ridge / features.shape[0])


@typed
def readout(
    features: Float[Array, "m d"], labels: Float[Array, "m c"], ridge: Scalar
) -> Readout:
    """Return the ridge readout by whichever of dual and primal is smaller.

    Arguments and result are those of :func:`dual_readout`.
    """
    samples, dimensions = features.shape
    solve = dual_readout if samples <= dimensions else primal_readout
    return solve(features, labels, ridge)


@typed
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
    return _product(features, weights)


def solve_positive(
    matrix: Float[Array, "n n"],
    right: Float[Array, "n c"],
    factor: Float[Array, "n n"] | None = None,
) -> Float[Array, "n c"]:
    """Return ``matrix^-1 right`` for a positive definite matrix; NaN where that fails.

    Derivatives of any order and mode are implicit: those of ``matrix x = right``.

    Args:
        matrix: Symmetric positive definite matrix A, [n, n].
        right: Right-hand sides, [n, c].
        factor: Upper Cholesky factor of A; None factorises.

    Returns:
        The solution, [n, c].
    """
    if factor is None:
        factor = cho_factor(jax.lax.stop_gradient(matrix))[0]
    return jax.lax.custom_linear_solve(
        lambda x: _product(matrix, x),
        right,
        lambda _, b: cho_solve((factor, False), b),
        symmetric=True,
    )


def _solve(
    rows: Float[Array, "n k"], right: Float[Array, "n c"], ridge: Scalar
) -> Readout:
    """Return ``(A A^T + lam I)^-1 B`` as weights; A = ``rows``, ``lam = ridge tr(A A^T)``."""
    gram = _product(rows, rows.T)
    lam = ridge * jnp.trace(gram)
    eye = jnp.eye(gram.shape[0], dtype=gram.dtype)
    fixed = jax.lax.stop_gradient((gram, lam, rows, right))

    def is_inaccurate(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        tries, _, error = carry
        return ~(error <= MAX_ERROR) & (tries < _MOST_TRIES)

    def attempt(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        tries = carry[0]
        gram, lam, rows, right = fixed
        lam = lam * 10.0 ** tries.astype(gram.dtype)
        factor = cho_factor(gram + lam * eye)[0]
        solution = cho_solve((factor, False), right)
        # By another route than the matrix, so that its own rounding shows, too.
        product = _product(rows, _product(rows.T, solution)) + lam * solution
        change = cho_solve((factor, False), right - product)
        size = jnp.maximum(jnp.linalg.norm(solution), jnp.finfo(gram.dtype).tiny)
        return tries + 1, factor, jnp.linalg.norm(change) / size

    start = (
        jnp.zeros((), jnp.int32),
        jnp.zeros_like(gram),
        jnp.full_like(lam, jnp.inf),
    )
    tries, factor, error = jax.lax.while_loop(is_inaccurate, attempt, start)
    ridge_factor = 10.0 ** (tries - 1).astype(gram.dtype)
    lam = lam * ridge_factor
    solution = solve_positive(gram + lam * eye, right, factor)
    solution = jnp.where(error <= MAX_ERROR, solution, jnp.nan)
    return Readout(solution, lam, ridge_factor, error)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)
