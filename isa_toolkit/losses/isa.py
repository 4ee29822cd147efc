"""Infinite Semantic Augmentation: the loss averaged over a segment in feature space.

For a predictor that is linear in the features, the residual at the virtual point
``z_i + t (z_i - z_j)`` with label ``y_i + t (y_i - y_j)`` is ``A_i + t B_i`` where
``B_i = A_i - A_j``. Its squared norm is quadratic in t, so the mean over t in [a, b]
has a closed form that needs no feature and no kernel product beyond those of the plain
loss.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from isa_toolkit.annotations import typed
from isa_toolkit.networks.base import map_in_pieces
from isa_toolkit.networks.precision import products_of_rows

Scalar = Float[Array, ""] | float

# Number of targets up to which all cosines are held at once, 256 MB of them, and number
# of rows of them at a time where there are more.
_LARGEST_SEARCH, _ROWS = 8192, 1024


@typed
def segment_loss(
    residual: Float[Array, "n c"],
    difference: Float[Array, "n c"],
    start: Scalar,
    stop: Scalar,
) -> Float[Array, " n"]:
    """Return the mean of ``1/2 sum_c (A + t B)_c^2`` over t in [start, stop].

    ``1/2 sum_c ( A^2 + (a + b) A B + (a^2 + a b + b^2)/3 B^2 )`` with A = ``residual``,
    B = ``difference``, a = ``start``, b = ``stop``. (0, 0) is the plain loss; (0, e)
    steps away from the partner, as the released code does; (-1, 0) goes the whole way
    to it, as the paper's text says; (t, t) is one mixed sample per pair.

    Args:
        residual: Prediction minus label, [n, c].
        difference: Residual minus the partner's residual, [n, c].
        start: First end a of the segment, in units of ``z_i - z_j``.
        stop: Last end b of the segment.

    Returns:
        Loss per sample, half the sum over classes, [n].

    Source: docs/algorithms.md, section 6.1; the paper, section D.
    """
    linear = start + stop
    quadratic = (start * start + start * stop + stop * stop) / 3
    return 0.5 * jnp.sum(
        residual * residual
        + linear * (residual * difference)
        + quadratic * (difference * difference),
        axis=-1,
    )


@typed
def virtual_loss(
    residual: Float[Array, "n c"],
    difference: Float[Array, "n c"],
    position: Float[Array, " n"] | Scalar,
) -> Float[Array, " n"]:
    """Return ``1/2 sum_c (A + t B)_c^2`` at single positions, the sampled form.

    Args:
        residual: Prediction minus label, [n, c].
        difference: Residual minus the partner's residual, [n, c].
        position: Position t, one for all or one per sample, [n].

    Returns:
        Loss per sample, half the sum over classes, [n].

    Source: docs/algorithms.md, section 6.3 ("single-step semantic augmentation").
    """
    step = jnp.broadcast_to(jnp.asarray(position), residual.shape[:1])[:, None]
    return 0.5 * jnp.sum(jnp.square(residual + step * difference), axis=-1)


@typed
def nearest_partners(
    features: Float[Array, "n d"],
    weights: Float[Array, " n"],
    groups: Int[Array, " n"] | None = None,
    precision: str = "float32",
) -> Int[Array, " n"]:
    """Return for each target the kept target with the most similar features.

    Cosine similarity of the raw features; the sample itself never counts. A sample with
    no other kept target is its own partner, which makes its difference 0.

    Args:
        features: Target features, [n, d].
        weights: 1 for kept, 0 for dropped, [n]. Dropped rows get a partner, too, which
            has no effect.
        groups: Group of each sample, such as its class: the partner is in the same group;
            None for one group.
        precision: Precision of the cosines, one of
            ``isa_toolkit.networks.precision.PRECISIONS``. Coarser than float32, rounding
            chooses among neighbours whose cosines differ by less than the rounding.

    Returns:
        Indices into the batch, [n].

    Raises:
        InvalidValueError: An unknown precision.

    Source: docs/algorithms.md, section 6.1, step 3; groups and precision are ours.
    **Deviation:** the released code takes the second-largest entry of the row, which is
    the sample itself when an exact duplicate comes first; here the diagonal is masked.
    """
    features = jax.lax.stop_gradient(features)
    norms = jnp.linalg.norm(features, axis=-1, keepdims=True)
    unit = features / jnp.maximum(norms, jnp.finfo(features.dtype).tiny)
    itself = jnp.arange(features.shape[0])

    def nearest(
        own: Float[Array, "m d"],
        index: Int[Array, " m"],
        group: Int[Array, " m"] | None,
    ) -> Int[Array, " m"]:
        """Return the partners of some targets."""
        similarity = products_of_rows(own, unit, precision)
        allowed = (weights > 0)[None, :] & (itself[None, :] != index[:, None])
        if group is not None and groups is not None:
            allowed &= groups[None, :] == group[:, None]
        similarity = jnp.where(allowed, similarity, -jnp.inf)
        # The first of the largest, as by argmax, in two plain reductions: XLA's argmax
        # takes twice the time on a CPU.
        largest = jnp.max(similarity, axis=-1, keepdims=True)
        best = jnp.min(jnp.where(similarity == largest, itself, itself.size), axis=-1)
        return jnp.where(jnp.isfinite(largest[:, 0]), best, index)

    at_once = itself.size if itself.size <= _LARGEST_SEARCH else _ROWS
    return map_in_pieces(lambda some: nearest(*some), (unit, itself, groups), at_once)


@typed
def random_partners(
    key: Key[Array, ""], weights: Float[Array, " n"]
) -> Int[Array, " n"]:
    """Return for each kept target another kept target, uniformly drawn.

    The kept samples form a random cycle and each takes the next one, so no sample is its
    own partner (unless it is the only one) and each is a partner once.

    Args:
        key: Random key.
        weights: 1 for kept, 0 for dropped, [n].

    Returns:
        Indices into the batch, [n]; a dropped sample is its own partner.

    Source: ours; the released code carries a random pairing as an unused line.
    """
    count = weights.shape[0]
    draws = jax.random.uniform(key, (count,))
    order = jnp.argsort(jnp.where(weights > 0, draws, jnp.inf), stable=True)
    kept = jnp.maximum(jnp.sum(weights > 0), 1)
    position = jnp.arange(count)
    following = order[jnp.where(position + 1 < kept, position + 1, 0)]
    target = jnp.where(position < kept, following, order)
    return jnp.zeros_like(order).at[order].set(target)


@typed
def random_permutation(
    key: Key[Array, ""], weights: Float[Array, " n"]
) -> Int[Array, " n"]:
    """Return a uniformly random permutation of the kept targets.

    Unlike :func:`random_partners` it may leave a sample where it is, as vanilla MixUp
    does.

    Args:
        key: Random key.
        weights: 1 for kept, 0 for dropped, [n].

    Returns:
        Indices into the batch, [n]; a dropped sample stays where it is.

    Source: docs/algorithms.md, section 6.3.
    """
    draws = jax.random.uniform(key, weights.shape)
    kept = weights > 0
    # Kept samples first, in order and shuffled; the dropped follow, in order in both.
    ordered = jnp.argsort(~kept, stable=True)
    shuffled = jnp.argsort(jnp.where(kept, draws, jnp.inf), stable=True)
    return jnp.zeros_like(ordered).at[ordered].set(shuffled)
