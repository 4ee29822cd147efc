"""Features of many random networks: a Monte Carlo estimate of the NNGP kernel.

``Phi(x) = concat_j h_j(x) / sqrt(m d)`` for m freshly drawn networks with d features each;
``2 Phi(a) . Phi(b) + .01`` then estimates the covariance of the outputs of an infinitely
wide network, weights N(0, 2/fan_in) and biases N(0, .1^2).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from isa_toolkit.networks.base import Network, images_at_once, map_in_pieces

# Standard deviation of every bias of an RFAD network; its square is the kernel's
# constant. docs/algorithms.md, section 2.2.
BIAS_DEVIATION = 0.1


def draw_random(key: Key[Array, ""], network: Network, *, count: int) -> PyTree:
    """Return the parameters of ``count`` random networks, stacked.

    Kernels are N(0, 2/fan_in), biases N(0, .1^2), scales of normalisation layers 1,
    whatever the network's own initialisation is.

    Source: docs/algorithms.md, section 2.2.
    """
    shapes, _ = jax.eval_shape(network.init, key)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    # One draw, cut into leaves: a draw for each would take long to compile.
    total = sum(leaf.size for _, leaf in leaves)
    draws = jax.random.normal(key, (count, total), leaves[0][1].dtype)
    drawn, start = [], 0
    for path, leaf in leaves:
        part = jax.lax.slice_in_dim(draws, start, start + leaf.size, axis=1)
        part = part.reshape(count, *leaf.shape)
        start += leaf.size
        if leaf.ndim > 1:
            drawn.append(part * math.sqrt(2 * leaf.shape[-1] / leaf.size))
        elif "scale" in str(path[-1]):
            drawn.append(jnp.ones_like(part))
        else:
            drawn.append(BIAS_DEVIATION * part)
    return jax.tree.unflatten(structure, drawn)


def random_features(
    network: Network, params: PyTree, state: PyTree, images: Float[Array, "n h w ch"]
) -> Float[Array, "n d"]:
    """Return ``Phi(x) = concat_j h_j(x) / sqrt(m d)``, [n, m d], for m stacked networks.

    ``state`` are the normalisation statistics of a fresh network, the same for all.

    Source: docs/algorithms.md, section 4.4.
    """
    count = jax.tree.leaves(params)[0].shape[0]
    # Under vmap, XLA's CPU back end runs convolutions half as fast.
    at_once = 1 if jax.default_backend() == "cpu" else count

    def of_one(drawn: PyTree) -> Float[Array, "n d"]:
        return map_in_pieces(
            lambda some: network.apply(drawn, state, some).features,
            images,
            max(1, images_at_once(network, drawn, frozen=True) // at_once),
        )

    features = jax.lax.map(of_one, params, batch_size=at_once)
    features = jnp.moveaxis(features, 0, 1).reshape(images.shape[0], -1)
    return features / math.sqrt(features.shape[1])


def nngp_features(features: Float[Array, "n d"]) -> Float[Array, "n e"]:
    """Return ``[sqrt(2) Phi, .1]``: plain products of it are the kernel ``2 Phi Phi^T + .01``.

    So the readout of every other method serves.

    Source: docs/algorithms.md, section 4.4 (a last dense layer of variance 2
    and bias variance .01).
    """
    constant = jnp.full((features.shape[0], 1), BIAS_DEVIATION, features.dtype)
    return jnp.concatenate([math.sqrt(2) * features, constant], axis=1)
