"""Matrix products without a gradient, at a chosen precision.

The forward pass of the real batch takes most of an outer step, and the search for each
sample's partner most of what ISA adds to it on an accelerator. Neither is differentiated, so
both may be coarse. The ridge kernel and its solve amplify rounding: they stay at the highest
precision whatever is chosen here.

- ``"default"``: what the device does with float32 by itself. On NVIDIA GPUs since Ampere
  that is TensorFloat-32, factors rounded to ten bits; on the CPU it is float32.
- ``"float32"``: all 23 bits everywhere.
- ``"bfloat16"``: factors and feature maps rounded to seven bits, sums in float32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from isa_toolkit.checks import check_one_of
from isa_toolkit.networks.base import Network, images_at_once, map_in_pieces

PRECISIONS = ("default", "float32", "bfloat16")


def frozen_features(
    network: Network,
    params: PyTree,
    state: PyTree,
    images: Float[Array, "n h w ch"],
    precision: str = "default",
) -> Float[Array, "n d"]:
    """Return a network's features of images, without gradient, float32, [n, d].

    Batch statistics are float32 at every precision. Feature maps of many large images are
    not held all at once.
    """
    check_one_of("precision", precision, PRECISIONS)
    if precision == "bfloat16":
        params, images = jax.tree.map(_rounded, (params, images))

    def read(some: Float[Array, "n h w ch"]) -> Float[Array, "n d"]:
        if precision == "float32":
            with jax.default_matmul_precision("float32"):
                return network.apply(params, state, some).features
        return network.apply(params, state, some).features

    features = map_in_pieces(read, images, images_at_once(network, params, frozen=True))
    return jax.lax.stop_gradient(features.astype(jnp.float32))


def products_of_rows(
    some: Float[Array, "m d"], rows: Float[Array, "n d"], precision: str = "float32"
) -> Float[Array, "m n"]:
    """Return ``some rows^T``, [m, n], without gradient; float32 for bfloat16."""
    check_one_of("precision", precision, PRECISIONS)
    some, rows = jax.lax.stop_gradient((some, rows))
    if precision == "bfloat16":
        some, rows = _rounded(some), _rounded(rows)
        return jnp.matmul(some, rows.T, preferred_element_type=jnp.float32)
    highest = jax.lax.Precision.HIGHEST if precision == "float32" else None
    return jnp.matmul(some, rows.T, precision=highest)


def _rounded(values: Array) -> Array:
    return values.astype(jnp.bfloat16)
