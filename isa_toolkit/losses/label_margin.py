"""The hinge that keeps learned labels decisive."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["label_margin_loss"]


def label_margin_loss(
    labels: Float[Array, "m c"], *, share: float = 1.0
) -> Float[Array, ""]:
    """Return ``- mean_s min(y_s^(1) - y_s^(2), share/C)``.

    The gap between the largest and second-largest entry of each label row is pushed up
    to share/C and no further: the gradient is 0 unless a gap is below it.

    Args:
        labels: distilled labels, without mirrored copies, [m, c].
        share: 1 in FRePo, 1/2 in RCIG.

    Returns:
        The loss, [].

    Source: algorithms 4.1, ``L_label``, and 4.3.
    """
    top, _ = jax.lax.top_k(labels, 2)
    return -jnp.mean(jnp.minimum(top[:, 0] - top[:, 1], share / labels.shape[-1]))
