"""Which target samples count: scores, ranks and the weight mask of the kept ones.

Selection is a 0/1 weight over ranks, not a gather: ``drop_easy`` and ``drop_hard`` stay
traced numbers, so a slider never recompiles, and runs that differ in them share one
program. Dropped rows stay in the batch with weight 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from isa_toolkit.annotations import typed
from isa_toolkit.checks import ROUNDING

Scalar = Float[Array, ""] | float


@typed
def scores(residual: Float[Array, "n c"]) -> Float[Array, " n"]:
    """Return the score of each target: large is hard, small is easy.

    ``s_i = 1/2 sum_c A_ic^2`` with A = ``residual``.

    Args:
        residual: Prediction minus label, [n, c].

    Returns:
        Scores, half the sum over classes, [n].

    Source: docs/algorithms.md, section 6.1, step 1.
    """
    return 0.5 * jnp.sum(jnp.square(residual), axis=-1)


@typed
def ranks(values: Float[Array, " n"]) -> Int[Array, " n"]:
    """Return the rank of each value, 0 for the smallest; equal values by position.

    Args:
        values: Numbers to rank, [n].

    Returns:
        A permutation of 0 .. n - 1, [n].
    """
    order = jnp.argsort(values, stable=True)
    positions = jnp.arange(values.shape[0], dtype=order.dtype)
    return jnp.zeros_like(order).at[order].set(positions)


@typed
def select(
    values: Float[Array, " n"], *, drop_easy: Scalar, drop_hard: Scalar
) -> Float[Array, " n"]:
    """Return the weight of each target: 1 if kept, 0 if dropped.

    The fraction ``drop_easy`` with the smallest scores and the fraction ``drop_hard`` with
    the largest are dropped. A fraction p of n samples is ``n - floor((1 - p) n)`` of them,
    in exact arithmetic; at least one sample is kept.

    Args:
        values: Scores, [n]; no gradient flows through them.
        drop_easy: Fraction of the batch to drop from the easy end, in [0, 1).
        drop_hard: Fraction of the batch to drop from the hard end, in [0, 1).

    Returns:
        Weights, [n].

    Source: docs/algorithms.md, section 6.1, step 2 (``topk = 1 - drop_easy``, or
    ``-(1 - drop_hard)``).
    """
    values = jax.lax.stop_gradient(values)
    count = values.shape[0]
    easy = _dropped(count, drop_easy)
    hard = jnp.minimum(_dropped(count, drop_hard), count - 1 - easy)
    rank = ranks(values)
    kept = (rank >= easy) & (rank < count - hard)
    return kept.astype(values.dtype)


def _dropped(count: int, fraction: Scalar) -> Int[Array, ""]:
    """Return how many of ``count`` samples are dropped, at most all but one."""
    exact = jnp.asarray(fraction, jnp.float32) * count
    dropped = jnp.ceil(exact * (1 - ROUNDING)).astype(jnp.int32)
    return jnp.clip(dropped, 0, count - 1)


@typed
def weighted_mean(
    values: Float[Array, " n"], weights: Float[Array, " n"]
) -> Float[Array, ""]:
    """Return the mean of ``values`` over the kept samples.

    Args:
        values: Numbers, [n]; dropped ones may be infinite.
        weights: 1 for kept, 0 for dropped, [n].

    Returns:
        ``sum(w v) / sum(w)``, [].
    """
    kept = jnp.where(weights > 0, values, 0)
    return jnp.sum(kept * weights) / jnp.sum(weights)
