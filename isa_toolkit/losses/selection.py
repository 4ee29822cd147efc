"""The loss of a target batch: select the crucial samples, pair them, average along segments.

Every method uses it: each target has a score, the easy (and hard) ends are dropped, each
kept target has a partner among the kept ones, and its loss is averaged over the segment
between the two. The squared error has a closed form; the cross-entropy takes quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from isa_toolkit import checks
from isa_toolkit.losses import crucial, isa, platt

Scalar = Float[Array, ""] | float
MixedPrediction = Callable[[Int[Array, " n"], Scalar], Float[Array, "n c"]]

Loss = Literal["cross_entropy", "mse"]
Partner = Literal["nearest", "random", "same_class", "none"]
Augmentation = Literal["segment", "single", "mixup"]


class TargetTerms(NamedTuple):
    """The loss of a target batch and the selection behind it.

    loss: Mean over the kept targets, [].
    weights: 1 for kept targets, 0 for dropped ones, [n]; of class means [c, k].
    """

    loss: Float[Array, ""]
    weights: Float[Array, "..."]


def find_partners(
    features: Float[Array, "n d"],
    weights: Float[Array, " n"],
    classes: Int[Array, " n"],
    *,
    partner: Partner,
    key: Key[Array, ""],
    precision: str = "float32",
) -> Int[Array, " n"]:
    """Return the partner of each target among the kept ones, as indices into the batch, [n].

    ``"nearest"`` by cosine of the features, at a precision of :func:`isa.nearest_partners`;
    ``"random"``; ``"same_class"``, the nearest of its own class; or ``"none"``, each target
    itself.

    Source: docs/algorithms.md, section 6.1, step 3.
    """
    if partner == "none":
        return jnp.arange(weights.shape[0])
    if partner == "random":
        return isa.random_partners(key, weights)
    groups = classes if partner == "same_class" else None
    return isa.nearest_partners(features, weights, groups, precision)


def target_loss(
    prediction: Float[Array, "n c"],
    labels: Float[Array, "n c"],
    features: Float[Array, "n d"],
    *,
    drop_easy: Scalar,
    drop_hard: Scalar,
    segment: tuple[Scalar, Scalar],
    partner: Partner,
    key: Key[Array, ""],
    loss: Loss = "mse",
    log_scale: Scalar = 0.0,
    augmentation: Augmentation = "segment",
    mixed_prediction: MixedPrediction | None = None,
    precision: str = "float32",
) -> TargetTerms:
    """Return the loss of predictions of a target batch.

    The score of a target is its own loss; the targets with the smallest and largest scores
    are dropped; each kept one is averaged over the segment between it and its partner.
    Which targets are kept and who is whose partner carries no gradient. Two other
    augmentations of the squared error can replace the segment, for comparison:

    - ``"single"``: one virtual point per target, ``1/2 sum_c (A_i + t_i B_i)_c^2`` with
      ``t_i ~ U(a, b)``. Its expectation is the segment loss.
    - ``"mixup"``: vanilla MixUp, ``1/2 sum_c (P(x~_i) - y~_i)_c^2`` with
      ``x~_i = (1 - t) x_i + t x_pi(i)``, labels alike, one ``t ~ Beta(1, 1)`` per batch and a
      random permutation pi of the kept targets. Segment and partner are not used.

    Args:
        prediction: Predictions P, affine in ``features``, [n, c].
        labels: Centred one-hot labels, [n, c].
        features: Target features for the partner search, [n, d].
        drop_easy: Fraction of the batch to drop from the easy end; traced.
        drop_hard: Fraction of the batch to drop from the hard end; traced.
        segment: Ends (a, b) of the segment in units of ``z_i - z_partner``; traced.
        partner: How a partner is found, see :func:`find_partners`.
        key: Random key, for partners, positions and permutations.
        loss: ``"mse"``, half the sum of squares over classes, or ``"cross_entropy"`` of
            ``exp(log_scale) P``.
        log_scale: Logarithm of what the cross-entropy multiplies predictions by.
        augmentation: ``"segment"``, ``"single"`` or ``"mixup"``.
        mixed_prediction: ``(pi, t) -> predictions`` [n, c] of the target images mixed with
            those at pi by the fraction t; for ``"mixup"``.
        precision: Precision of the search for the nearest partner.

    Source: docs/algorithms.md, sections 4.1, 6.1 and 6.3, and 10 for the cross-entropy. The
    details of the two other augmentations are UNKNOWN in the paper; this is our reading.
    """
    residual = prediction - labels
    if loss == "mse":
        scores = crucial.scores(residual)
    else:
        scores = platt.scaled_cross_entropy(prediction, labels, log_scale)
    weights = crucial.select(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    pair_key, position_key = key, key
    if augmentation != "segment":
        pair_key, position_key = jax.random.split(key)
    if augmentation == "mixup":
        if mixed_prediction is None:
            raise checks.fail(
                "mixed_prediction", "be given for augmentation 'mixup'", None
            )
        chosen = isa.random_permutation(pair_key, weights)
        # Beta(1, 1) is uniform.
        t = jax.random.uniform(position_key, (), labels.dtype)
        mixed_labels = (1 - t) * labels + t * labels[chosen]
        losses = crucial.scores(mixed_prediction(chosen, t) - mixed_labels)
        return TargetTerms(crucial.weighted_mean(losses, weights), weights)
    if partner == "none":
        return TargetTerms(crucial.weighted_mean(scores, weights), weights)
    chosen = find_partners(
        features,
        weights,
        jnp.argmax(labels, axis=-1),
        partner=partner,
        key=pair_key,
        precision=precision,
    )
    start, stop = segment
    if loss == "cross_entropy":
        losses = platt.segment_cross_entropy(
            prediction,
            labels,
            prediction - prediction[chosen],
            labels - labels[chosen],
            log_scale,
            start,
            stop,
        )
    elif augmentation == "single":
        # The ends may be in either order, which uniform(minval, maxval) refuses.
        draws = jax.random.uniform(position_key, weights.shape, residual.dtype)
        positions = start + (stop - start) * draws
        losses = isa.virtual_loss(residual, residual - residual[chosen], positions)
    else:
        losses = isa.segment_loss(residual, residual - residual[chosen], start, stop)
    return TargetTerms(crucial.weighted_mean(losses, weights), weights)
