"""Predictions of networks: in pieces that fit into memory, and what counts as right."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from isa_toolkit.networks import Network

__all__ = ["accuracy_of", "in_pieces", "largest_class", "logits_of"]

# Images per forward pass: bounds memory without slowing small networks.
_PIECE = 500


def largest_class(scores: Float[Array, "n c"]) -> Int[Array, " n"]:
    """Return the class with the largest score; -1, which no label is, without one.

    Args:
        scores: [n, c]; a row that is not finite has no largest one.
    """
    # argmax alone takes the first NaN for the largest and so answers class 0.
    is_finite = jnp.isfinite(scores).all(-1)
    return jnp.where(is_finite, jnp.argmax(scores, -1), -1)


def in_pieces(
    function: Callable[[Array], PyTree], images: Float[Array, "n h w ch"]
) -> PyTree:
    """Return ``function(images)``, computed a piece at a time.

    Args:
        function: images -> arrays with the images' leading axis.
        images: [n, h, w, ch].
    """
    count = images.shape[0]
    piece = min(_PIECE, count)
    pieces = -(-count // piece)
    padded = jnp.pad(images, ((0, pieces * piece - count), (0, 0), (0, 0), (0, 0)))
    results = jax.lax.map(function, padded.reshape(pieces, piece, *images.shape[1:]))
    return jax.tree.map(
        lambda leaf: leaf.reshape(pieces * piece, *leaf.shape[2:])[:count], results
    )


def logits_of(network: Network, params: PyTree, images: Array) -> Float[Array, "n c"]:
    """Return a network's logits, computed a piece at a time.

    Args:
        network: Architecture without running statistics.
        params: Its parameters.
        images: Network inputs, [n, h, w, ch].
    """
    return in_pieces(lambda piece: network.apply(params, {}, piece).logits, images)


def accuracy_of(outputs: Float[Array, "n c"], labels: Int[Array, " n"]) -> Array:
    """Return the fraction of outputs whose largest entry is the label's, [].

    Args:
        outputs: Class scores, [n, c]; a row that is not finite counts as wrong.
        labels: Class numbers, [n].
    """
    return jnp.mean((largest_class(outputs) == labels).astype(jnp.float32))
