"""The outer loss of a ridge readout: hard targets kept, averaged along a segment.

Everything here works on features, so every method whose prediction is linear in them
shares it; where the features come from is the method's affair.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses import ridge as ridge_readout

__all__ = ["PARTNERS", "REDUCTIONS", "OuterTerms", "outer_loss"]

Scalar = Float[Array, ""] | float

PARTNERS = ("nearest", "random", "none")
REDUCTIONS = ("half_sum", "released")


class OuterTerms(NamedTuple):
    """The outer loss and what it was made of.

    loss: target_loss + label_loss, [].
    target_loss: mean over the kept targets, [].
    label_loss: what a method adds for the labels; 0 here, [].
    prediction: of the whole target batch, [n, c].
    weights: 1 for kept targets, 0 for dropped, [n].
    distilled_features: of the support, with mirrored copies if there are, [m, d].
    readout: ridge weights, [d, c].
    """

    loss: Float[Array, ""]
    target_loss: Float[Array, ""]
    label_loss: Float[Array, ""]
    prediction: Float[Array, "n c"]
    weights: Float[Array, " n"]
    distilled_features: Float[Array, "m d"]
    readout: Float[Array, "d c"]


def outer_loss(
    distilled_features: Float[Array, "m d"],
    distilled_labels: Float[Array, "m c"],
    target_features: Float[Array, "n d"],
    target_labels: Float[Array, "n c"],
    *,
    drop_easy: Scalar,
    drop_hard: Scalar,
    segment: tuple[Scalar, Scalar],
    ridge: Scalar,
    partner: str,
    reduction: str,
    key: Key[Array, ""],
) -> OuterTerms:
    """Return the loss of predicting the targets from the distilled features.

    ``P = F_T W`` with the ridge readout W of the distilled features; residual
    ``A = P - Y_T``; the hard targets are kept; ``B_i = A_i - A_j(i)`` with the partner j(i);
    the segment loss of (A, B) is averaged over the kept targets.

    Args:
        distilled_features: [m, d].
        distilled_labels: [m, c].
        target_features: without gradient, [n, d].
        target_labels: centred one-hot, [n, c].
        drop_easy: share dropped from the easy end; traced.
        drop_hard: share dropped from the hard end; traced.
        segment: ends (a, b); traced.
        ridge: relative ridge; traced.
        partner: one of ``PARTNERS``; static.
        reduction: one of ``REDUCTIONS``; static.
        key: for random partners.

    Returns:
        The terms.

    Source: algorithms 4.1 and 6.1.
    """
    weights = ridge_readout.readout(distilled_features, distilled_labels, ridge).weights
    prediction = ridge_readout.predict(target_features, weights)
    residual = prediction - target_labels
    scores = crucial.scores(residual)
    kept = crucial.select(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    if partner == "none":
        losses = scores
    else:
        chosen = (
            isa.nearest_partners(target_features, kept)
            if partner == "nearest"
            else isa.random_partners(key, kept)
        )
        losses = isa.segment_loss(residual, residual - residual[chosen], *segment)
    loss = crucial.weighted_mean(losses, kept)
    if reduction == "released":
        loss = loss * (2 / target_labels.shape[-1])
    return OuterTerms(
        loss,
        loss,
        jnp.zeros((), loss.dtype),
        prediction,
        kept,
        distilled_features,
        weights,
    )
