"""The loss of given predictions: hard targets kept, averaged along a segment.

For predictions that are affine in the target features, whichever method made them; the
squared error has a closed form, the cross-entropy takes quadrature.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Key

from isa_toolkit import checks
from isa_toolkit.losses import crucial, isa, platt
from isa_toolkit.methods.outer import PARTNERS
from isa_toolkit.methods.shares import as_segment, check_shares

__all__ = [
    "LOSSES",
    "TargetLossSettings",
    "TargetTerms",
    "check_crucial",
    "default_segment",
    "target_loss",
]

Scalar = Float[Array, ""] | float

LOSSES = ("cross_entropy", "mse")


class TargetTerms(NamedTuple):
    """The loss of a target batch and what it was made of.

    loss: mean over the kept targets, [].
    weights: 1 for kept targets, 0 for dropped, [n].
    """

    loss: Float[Array, ""]
    weights: Float[Array, " n"]


def target_loss(
    prediction: Float[Array, "n c"],
    labels: Float[Array, "n c"],
    features: Float[Array, "n d"],
    *,
    loss: str,
    log_scale: Scalar,
    drop_easy: Scalar,
    drop_hard: Scalar,
    segment: tuple[Scalar, Scalar],
    partner: str,
    key: Key[Array, ""],
    partner_precision: str = "float32",
) -> TargetTerms:
    """Return the loss of predictions of a target batch.

    Scores are the losses of the single targets; the hard ones are kept; each is averaged
    over the segment between it and its partner, the nearest kept target by cosine of
    ``features``. Which are kept and who is whose partner carries no gradient.

    Args:
        prediction: P, affine in ``features``, [n, c].
        labels: centred one-hot, [n, c].
        features: for the partner search, [n, d].
        loss: ``"mse"``, half the sum of squares over classes, or ``"cross_entropy"`` of
            ``exp(log_scale) P``; static.
        log_scale: of the cross-entropy; the squared error does without.
        drop_easy: share dropped from the easy end; traced.
        drop_hard: share dropped from the hard end; traced.
        segment: ends (a, b); traced.
        partner: one of ``isa_toolkit.methods.outer.PARTNERS``; static.
        key: for random partners.
        partner_precision: of the search for the nearest partner; static.

    Returns:
        The terms.

    Source: algorithms 6.1 and 10 (a proposal; the paper's own form is UNKNOWN).
    """
    is_mse = loss == "mse"
    residual = prediction - labels
    scores = (
        crucial.scores(residual)
        if is_mse
        else platt.scaled_cross_entropy(prediction, labels, log_scale)
    )
    kept = crucial.select(scores, drop_easy=drop_easy, drop_hard=drop_hard)
    if partner == "none":
        return TargetTerms(crucial.weighted_mean(scores, kept), kept)
    chosen = jax.lax.stop_gradient(
        isa.nearest_partners(features, kept, precision=partner_precision)
        if partner == "nearest"
        else isa.random_partners(key, kept)
    )
    losses = (
        isa.segment_loss(residual, residual - residual[chosen], *segment)
        if is_mse
        else platt.segment_cross_entropy(
            prediction,
            labels,
            prediction - prediction[chosen],
            labels - labels[chosen],
            log_scale,
            *segment,
        )
    )
    return TargetTerms(crucial.weighted_mean(losses, kept), kept)


def default_segment(loss: str) -> tuple[float, float]:
    """Return the segment that a loss is averaged over where none is chosen.

    Args:
        loss: one of ``LOSSES``.

    Returns:
        (0, .5) for the squared error, as the released ISA code; (-1, 0), the whole way
        to the partner, for the cross-entropy, which has no other bounded choice.
    """
    return (-1.0, 0.0) if loss == "cross_entropy" else (0.0, 0.5)


def check_crucial(
    *,
    drop_easy: float,
    drop_hard: float,
    segment: tuple[float, float],
    partner: str,
    loss: str,
) -> tuple[float, float]:
    """Return the segment as two floats, if these settings have a meaning.

    Args:
        drop_easy: in [0, 1).
        drop_hard: in [0, 1).
        segment: ends (a, b); within [-1, 0] for the cross-entropy.
        partner: one of ``isa_toolkit.methods.outer.PARTNERS``.
        loss: one of ``LOSSES``.

    Raises:
        ValueError: they have none; the sentence says which and why.
    """
    checks.check_one_of("loss", loss, LOSSES)
    check_shares(drop_easy, drop_hard)
    start, stop = as_segment("segment", segment)
    checks.check_one_of("partner", partner, PARTNERS)
    if partner == "none" and (start, stop) != (0, 0):
        raise checks.fail(
            "segment",
            "be (0, 0) when partner is 'none'",
            (start, stop),
            "Use partner='nearest' for semantic augmentation.",
        )
    if loss == "cross_entropy" and not all(-1 <= end <= 0 for end in (start, stop)):
        raise checks.fail(
            "segment",
            "lie in [-1, 0] for loss 'cross_entropy'",
            (start, stop),
            "Beyond it a virtual label weighs another class negatively, so the "
            "cross-entropy is unbounded below; use (-1, 0), or loss='mse'.",
        )
    return start, stop


class TargetLossSettings:
    """What settings with a loss of their own share; the fields stand in the dataclasses.

    A segment of None is chosen by the loss.
    """

    loss: str
    drop_easy: float
    drop_hard: float
    segment: tuple[float, float] | None
    partner: str

    @property
    def chosen_segment(self) -> tuple[float, float]:
        """The segment, or the default of the loss."""
        if self.segment is not None:
            return self.segment
        return (0.0, 0.0) if self.partner == "none" else default_segment(self.loss)

    def _check_target_loss(self) -> None:
        """Refuse what has no meaning; make the segment two floats."""
        segment = check_crucial(
            drop_easy=self.drop_easy,
            drop_hard=self.drop_hard,
            segment=self.chosen_segment,
            partner=self.partner,
            loss=self.loss,
        )
        if self.segment is not None:
            object.__setattr__(self, "segment", segment)
