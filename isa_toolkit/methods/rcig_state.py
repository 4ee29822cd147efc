"""What an RCIG run carries, reports and can be told, and what comes out of it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from isa_toolkit.networks.pool import Learner

__all__ = [
    "QUANTITIES",
    "REMEDIES",
    "Learned",
    "RCIGInfo",
    "RCIGKnobs",
    "RCIGState",
    "Rates",
    "averaged",
]

Scalar = Float[Array, ""]
# Images, labels and log temperature: what is learned.
Learned = tuple[Array, Array, Array]

QUANTITIES = (
    "the distilled features",
    "the ridge readout (Cholesky solve)",
    "the inner run",
    "the target features",
    "the loss",
    "the gradient",
)
REMEDIES = {QUANTITIES[1]: "Raise ridge (now {ridge:g}) or lower learning_rate."}


class Rates(NamedTuple):
    """Learning rates that tune themselves, and what was seen of them.

    inner: Adam's, of the inner problem, [].
    solve: Adam's, of the inverse-Hessian-vector product, [].
    worse: inner runs since the last look that ended above their start, [].
    monotone: inner runs since then that went down at every step, [].
    """

    inner: Scalar
    solve: Scalar
    worse: Int[Array, ""]
    monotone: Int[Array, ""]


class RCIGState(NamedTuple):
    """Everything an RCIG run carries from one step to the next.

    images: distilled images in whitened space, [m, h, w, ch].
    labels: distilled labels, [m, c].
    log_temperature: tau of the cross-entropy, [].
    optimizer: moments of the three above.
    average: their running means, not yet corrected for the start at 0.
    pool: p stacked learners.
    rates: of the inner problem.
    step: outer steps taken, [].
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    log_temperature: Scalar
    optimizer: PyTree
    average: Learned
    pool: Learner
    rates: Rates
    step: Int[Array, ""]


class RCIGInfo(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: the whole loss, [].
    target_loss: the term of the target batch (kept samples, segment), [].
    label_loss: the label-margin term, [].
    target_accuracy: share of the whole target batch that the predictor classifies, [].
    kept: number of targets kept, [].
    scale: what the cross-entropy multiplies predictions by, ``exp(tau)``, [].
    inner_loss: of the inner problem, after its steps, [].
    inner_rate: learning rate of those steps, [].
    solve_rate: learning rate of the steps to the implicit gradient, [].
    implicit_share: length of the implicit gradient of the images over the direct one's,
        at most 1, [].
    member: which network of the pool was used, [].
    age: its age, [].
    failure: 0, or 1 + the place in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_loss: Scalar
    label_loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    scale: Scalar
    inner_loss: Scalar
    inner_rate: Scalar
    solve_rate: Scalar
    implicit_share: Scalar
    member: Int[Array, ""]
    age: Int[Array, ""]
    failure: Int[Array, ""]


class RCIGKnobs(NamedTuple):
    """The traced numbers of a run: changing one never recompiles.

    drop_easy: share of the batch dropped from the easy end, [].
    drop_hard: share dropped from the hard end, [].
    segment_start: one end of the segment, [].
    segment_stop: the other, [].
    ridge: absolute ridge per distilled image, [].
    learning_rate: of images and labels, [].
    temperature_learning_rate: of the log temperature, [].
    inner_learning_rate: of the inner problem at step 0, before it tunes itself, [].
    solve_learning_rate: of the inverse-Hessian-vector product, likewise, [].
    online_learning_rate: Adam's, of the pool, [].
    """

    drop_easy: Scalar
    drop_hard: Scalar
    segment_start: Scalar
    segment_stop: Scalar
    ridge: Scalar
    learning_rate: Scalar
    temperature_learning_rate: Scalar
    inner_learning_rate: Scalar
    solve_learning_rate: Scalar
    online_learning_rate: Scalar


def averaged(state: RCIGState, decay: float) -> tuple[Array, Array]:
    """Return the running mean of images and labels, corrected for its start at 0.

    ``(1 - d) sum_k d^(t - k) x_k / (1 - d^t)`` after t steps; at step 0 the first ones.

    Args:
        state: of the method.
        decay: d.

    Returns:
        (images, labels).

    Source: algorithms 4.3: the average is what is evaluated.
    """
    has_begun = state.step > 0
    total = jnp.where(has_begun, 1 - jnp.power(decay, state.step), 1)
    images, labels, _ = state.average
    return (
        jnp.where(has_begun, images / total, state.images),
        jnp.where(has_begun, labels / total, state.labels),
    )
