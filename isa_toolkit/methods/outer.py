"""The outer loss of a ridge readout: hard targets kept, averaged along a segment.

Everything here works on features, so every method whose prediction is linear in them
shares it; where the features come from is the method's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from isa_toolkit import checks
from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses import ridge as ridge_readout

__all__ = [
    "AUGMENTATIONS",
    "PARTNERS",
    "REDUCTIONS",
    "MixedFeatures",
    "OuterTerms",
    "outer_loss",
]

Scalar = Float[Array, ""] | float
MixedFeatures = Callable[[Int[Array, " n"], Scalar], Float[Array, "n d"]]

AUGMENTATIONS = ("segment", "single", "mixup")
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
    augmentation: str = "segment",
    mixed_features: MixedFeatures | None = None,
    partner_precision: str = "float32",
) -> OuterTerms:
    """Return the loss of predicting the targets from the distilled features.

    ``P = F_T W`` with the ridge readout W of the distilled features; residual
    ``A = P - Y_T``; the hard targets are kept; ``B_i = A_i - A_j(i)`` with the partner j(i);
    the segment loss of (A, B) is averaged over the kept targets. Two other augmentations
    take the place of the segment loss, to be compared with it:

    - ``"single"``: one virtual point per sample, ``1/2 sum_c (A_i + t_i B_i)_c^2`` with
      ``t_i ~ U(a, b)``. Its expectation is the segment loss.
    - ``"mixup"``: vanilla MixUp, ``1/2 sum_c (phi(x~_i) W - y~_i)_c^2`` with
      ``x~_i = (1 - t) x_i + t x_pi(i)``, labels alike, one ``t ~ Beta(1, 1)`` per batch and a
      random permutation pi of the kept targets. Segment and partner are not looked at.

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
        key: for random partners, positions and permutations.
        augmentation: one of ``AUGMENTATIONS``; static.
        mixed_features: for ``"mixup"``: ``(pi, t) -> features`` [n, d] of the target images
            mixed with the share t of those at pi, without gradient.
        partner_precision: of the search for the nearest partner; static.

    Returns:
        The terms.

    Raises:
        ValueError: ``"mixup"`` without ``mixed_features``.

    Source: algorithms 4.1, 6.1 and 6.3. The details of the two other augmentations are
    UNKNOWN in the paper; this is our reading.
    """
    if augmentation == "mixup" and mixed_features is None:
        raise checks.fail(
            "mixed_features", "be given for augmentation 'mixup'", mixed_features
        )
    weights = ridge_readout.readout(distilled_features, distilled_labels, ridge).weights
    prediction = ridge_readout.predict(target_features, weights)
    residual = prediction - target_labels
    scores = crucial.scores(residual)
    kept = crucial.select(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    if mixed_features is not None and augmentation == "mixup":
        pair_key, share_key = jax.random.split(key)
        chosen = isa.random_permutation(pair_key, kept)
        # Beta(1, 1) is uniform.
        share = jax.random.uniform(share_key, (), target_labels.dtype)
        mixed = ridge_readout.predict(mixed_features(chosen, share), weights)
        mixed_labels = (1 - share) * target_labels + share * target_labels[chosen]
        losses = crucial.scores(mixed - mixed_labels)
    elif partner == "none":
        losses = scores
    else:
        pair_key, place_key = key, key
        if augmentation == "single":
            pair_key, place_key = jax.random.split(key)
        chosen = (
            isa.nearest_partners(target_features, kept, precision=partner_precision)
            if partner == "nearest"
            else isa.random_partners(pair_key, kept)
        )
        difference = residual - residual[chosen]
        if augmentation == "single":
            start, stop = segment
            # The ends may be in either order, which uniform(minval, maxval) refuses.
            draws = jax.random.uniform(place_key, kept.shape, residual.dtype)
            places = start + (stop - start) * draws
            losses = isa.virtual_loss(residual, difference, places)
        else:
            losses = isa.segment_loss(residual, difference, *segment)
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
