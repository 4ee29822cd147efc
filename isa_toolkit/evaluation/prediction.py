"""Predictions of networks: in pieces that fit into memory, and what counts as right."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from isa_toolkit.networks import Network

# Images per forward pass: bounds memory without slowing small networks.
_PIECE = 500


def largest_class(scores: Float[Array, "n c"]) -> Int[Array, " n"]:
    """Return the class with the largest score, -1 (no label) if one is not finite."""
    # argmax alone takes the first NaN for the largest and so answers class 0.
    is_finite = jnp.isfinite(scores).all(-1)
    return jnp.where(is_finite, jnp.argmax(scores, -1), -1)


def in_pieces(
    function: Callable[[Array], PyTree], images: Float[Array, "n h w ch"]
) -> PyTree:
    """Return ``function(images)``, computed a piece at a time along the leading axis."""
    count = images.shape[0]
    piece = min(_PIECE, count)
    pieces = -(-count // piece)
    padded = jnp.pad(images, ((0, pieces * piece - count), (0, 0), (0, 0), (0, 0)))
    results = jax.lax.map(function, padded.reshape(pieces, piece, *images.shape[1:]))
    return jax.tree.map(
        lambda leaf: leaf.reshape(pieces * piece, *leaf.shape[2:])[:count], results
    )


def logits_of(network: Network, params: PyTree, images: Array) -> Float[Array, "n c"]:
    """Return the logits of a network without running statistics, a piece at a time."""
    return in_pieces(lambda piece: network.apply(params, {}, piece).logits, images)


def accuracy_of(outputs: Float[Array, "n c"], labels: Int[Array, " n"]) -> Array:
    """Return the fraction of outputs whose largest entry is the label's, []."""
    return jnp.mean((largest_class(outputs) == labels).astype(jnp.float32))
