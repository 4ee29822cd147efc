"""Trees of arrays that are stacked along a leading axis: members of a pool, runs of a grid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


@jax.jit
def stack(trees: list[PyTree]) -> PyTree:
    """Return trees of the same structure as one."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def take(stacked: PyTree, index: Int[Array, ""] | int) -> PyTree:
    """Return one of the trees; the index may be traced."""
    return jax.tree.map(
        lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stacked
    )


def put(stacked: PyTree, index: Int[Array, ""] | int, tree: PyTree) -> PyTree:
    """Return the stack with one of the trees replaced; the index may be traced."""
    return jax.tree.map(
        lambda leaves, leaf: jax.lax.dynamic_update_index_in_dim(
            leaves, leaf, index, 0
        ),
        stacked,
        tree,
    )
