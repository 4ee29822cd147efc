"""The hinge that keeps learned labels decisive."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from isa_toolkit.annotations import typed


@typed
def label_margin_loss(
    labels: Float[Array, "m c"], *, limit: float = 1.0
) -> Float[Array, ""]:
    """Return ``- mean_s min(y_s^(1) - y_s^(2), limit/C)``.

    The gap between the largest and second-largest entry of each label row is pushed up
    to limit/C and no further: the gradient is 0 unless a gap is below it.

    Args:
        labels: Distilled labels, without those of flips, [m, c].
        limit: Margin times C above which there is no gradient: 1 in FRePo, 1/2 in RCIG.

    Returns:
        The loss, [].

    Source: docs/algorithms.md, sections 4.1 (``L_label``) and 4.3.
    """
    top, _ = jax.lax.top_k(labels, 2)
    return -jnp.mean(jnp.minimum(top[:, 0] - top[:, 1], limit / labels.shape[-1]))
