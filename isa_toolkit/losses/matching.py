"""The losses of the matching methods: of class means, and of parameter trajectories.

Both are squared distances, hence quadratic along a segment, so that semantic augmentation
has the same closed form as for a ridge readout. How the two are carried over to matching
is our reading: the paper names DM and MTT in its Table 8 and gives no formulas.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses.selection import Partner, find_partners

__all__ = [
    "MeanTerms",
    "class_mean_loss",
    "trajectory_loss",
]

Scalar = Float[Array, ""] | float


class MeanTerms(NamedTuple):
    """The loss of matched class means and what it was made of.

    loss: Loss, summed over classes and features, [].
    weights: 1 for kept targets, 0 for dropped, [c, k].
    partner: Partner of each target, as an index into the c * k targets, [c * k].
    """

    loss: Float[Array, ""]
    weights: Float[Array, "c k"]
    partner: Int[Array, " n"]


def class_mean_loss(
    targets: Float[Array, "c k d"],
    means: Float[Array, "c d"],
    *,
    drop_easy: Scalar,
    drop_hard: Scalar,
    segment: tuple[Scalar, Scalar],
    partner: Partner,
    key: Key[Array, ""],
) -> MeanTerms:
    """Return the squared distance of the mean features of real and distilled images.

    Plain: ``sum_c || mean_i z_i^c - mu_c ||^2``. With residuals ``A_i = z_i - mu_{y_i}``,
    scores ``||A_i||^2``, the easy and hard ends of *each class* dropped, a
    partner j(i) among all that are kept and ``B_i = A_i - A_j(i)``, aggregated first since
    means are matched: ``sum_c ( ||Abar||^2 + (a+b) <Abar, Bbar> + (a^2+ab+b^2)/3
    ||Bbar||^2 )`` with the means Abar, Bbar over the kept targets of class c.

    Args:
        targets: Features of real images, k of each class, without gradient, [c, k, d].
        means: Mean feature mu of the distilled images of each class, [c, d].
        drop_easy: Fraction of each class to drop from the easy end; traced.
        drop_hard: Fraction of each class to drop from the hard end; traced.
        segment: Ends (a, b) of the segment; traced.
        partner: How a partner is found: ``"nearest"`` by cosine of the features and
            ``"random"`` search all classes, ``"same_class"`` takes the nearest of its own
            class (then mu cancels from B), ``"none"`` has B = 0.
        key: Random key, for random partners.

    Returns:
        The terms.

    Source: docs/algorithms.md, section 4.5 for the plain loss; crucial samples and ISA are
    the proposal of section 10, not the paper's.
    """
    classes, count, _ = targets.shape
    residual = targets - means[:, None]
    scores = jnp.sum(jnp.square(residual), axis=-1)
    weights = jax.vmap(
        lambda row: crucial.select(row, drop_easy=drop_easy, drop_hard=drop_hard)
    )(scores)
    chosen = find_partners(
        targets.reshape(classes * count, -1),
        weights.reshape(-1),
        jnp.repeat(jnp.arange(classes), count),
        partner=partner,
        key=key,
    )
    of_class = weights / jnp.sum(weights, axis=1, keepdims=True)
    mean = jnp.einsum("ck,ckd->cd", of_class, residual)
    if partner == "none":
        difference = jnp.zeros_like(mean)
    else:
        theirs = residual.reshape(classes * count, -1)[chosen].reshape(residual.shape)
        difference = mean - jnp.einsum("ck,ckd->cd", of_class, theirs)
    # A squared distance is twice the segment loss, which has a half.
    loss = 2 * jnp.sum(isa.segment_loss(mean, difference, *segment))
    return MeanTerms(loss, weights, chosen)


def trajectory_loss(
    student: Float[Array, " p"],
    first: Float[Array, " p"],
    before: Float[Array, " p"],
    target: Float[Array, " p"],
    segment: tuple[Scalar, Scalar],
) -> Float[Array, ""]:
    """Return the squared distance of a student to its expert, relative to the expert's own.

    Plain: ``||theta_N - theta*_{t+M}||^2 / ||theta*_t - theta*_{t+M}||^2``. Along a
    segment the target is ``theta*_{t+M} + lam D`` with the expert's last epoch
    ``D = theta*_{t+M} - theta*_{t+M-1}`` and lam uniform in [a, b]: with
    ``A = theta_N - theta*_{t+M}`` the numerator becomes
    ``||A||^2 - (a+b) <A, D> + (a^2+ab+b^2)/3 ||D||^2``.

    Args:
        student: Parameters theta_N of the student at its end, [p].
        first: Parameters theta*_t where both start, [p].
        before: Parameters theta*_{t+M-1} of the expert one epoch before the target, [p].
        target: Parameters theta*_{t+M} of the expert, [p].
        segment: Ends (a, b) of the segment; traced. Above 0 lies beyond the target.

    Returns:
        The loss, [].

    Source: docs/algorithms.md, section 4.6; the segment is proposal P2 of section 10, not
    the paper's.
    """
    residual, last = student - target, before - target
    distance = 2 * isa.segment_loss(residual[None], last[None], *segment)[0]
    return distance / jnp.sum(jnp.square(first - target))
