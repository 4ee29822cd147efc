"""Optimisers of the distilled set, without their learning rate, and its schedule.

The learning rate is a traced number, so it stays outside optax's transformations: a method
multiplies the update by it.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

__all__ = ["OPTIMIZERS", "cosine_decay"]

Scalar = Float[Array, ""] | float

OPTIMIZERS = {
    # optax.lamb with its defaults; weight decay is 0.
    "lamb": optax.chain(optax.scale_by_adam(eps=1e-6), optax.scale_by_trust_ratio()),
    "adam": optax.scale_by_adam(),
    # Of RFAD and RCIG: algorithms 4.3 and 4.4.
    "adabelief": optax.scale_by_belief(eps=1e-16),
}


def cosine_decay(
    step: Int[Array, ""], *, peak: Scalar, final: Scalar, steps: Scalar
) -> Float[Array, ""]:
    """Return the learning rate of one step: a half cosine from ``peak`` down.

    Args:
        step: steps taken, [].
        peak: learning rate at step 0.
        final: share of ``peak`` that is left after ``steps``, in [0, 1].
        steps: length of the decay.

    Returns:
        The learning rate, [].

    Source: algorithms 4.1 (alpha .1 over all steps).
    """
    progress = jnp.minimum(step / steps, 1.0)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return jnp.asarray(peak * ((1 - final) * cosine + final), jnp.float32)
