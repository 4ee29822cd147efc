"""The losses of the matching methods: of class means, and of parameter trajectories.

Both are squared distances, hence quadratic along a segment, so that semantic augmentation
has the same closed form as for a ridge readout. How the two are carried over to matching
is our reading: the paper names DM and MTT in its Table 8 and gives no formulas.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses.selection import Partner, TargetTerms, find_partners

Scalar = Float[Array, ""] | float


def class_mean_loss(
    targets: Float[Array, "c k d"],
    means: Float[Array, "c d"],
    *,
    drop_easy: Scalar,
    drop_hard: Scalar,
    segment: tuple[Scalar, Scalar],
    partner: Partner,
    key: Key[Array, ""],
) -> TargetTerms:
    """Return the squared distance of mean features, and the weights of targets [c, k].

    ``targets`` are features of k real images of each class, without gradient; ``means``
    those mu of the distilled images. Plain: ``sum_c || mean_i z_i^c - mu_c ||^2``. With
    residuals ``A_i = z_i - mu_{y_i}``, scores ``||A_i||^2``, the easy and hard ends of *each
    class* dropped, a partner j(i) among all that are kept and ``B_i = A_i - A_j(i)``,
    aggregated first since means are matched: ``sum_c ( ||Abar||^2 + (a+b) <Abar, Bbar> +
    (a^2+ab+b^2)/3 ||Bbar||^2 )`` with the means Abar, Bbar over the kept targets of class c.
    Partners of the ``"same_class"`` cancel mu from B; with ``"none"`` B is 0.

    Source: docs/algorithms.md, section 4.5 for the plain loss; crucial samples and ISA are
    the proposal of section 10, not the paper's.
    """
    classes, count, _ = targets.shape
    residual = targets - means[:, None]
    scores = jnp.sum(jnp.square(residual), axis=-1)
    weights = jax.vmap(
        lambda row: crucial.select(row, drop_easy=drop_easy, drop_hard=drop_hard)
    )(scores)
    partners = find_partners(
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
        theirs = residual.reshape(classes * count, -1)[partners].reshape(residual.shape)
        difference = mean - jnp.einsum("ck,ckd->cd", of_class, theirs)
    # A squared distance is twice the segment loss, which has a half.
    loss = 2 * jnp.sum(isa.segment_loss(mean, difference, *segment))
    return TargetTerms(loss, weights)


def nearest_mean_accuracy(
    targets: Float[Array, "c k d"], means: Float[Array, "c d"]
) -> Float[Array, ""]:
    """Return the fraction of targets that are nearest to the mean of their own class.

    ``targets`` are features of k real images of each class, ``means`` those mu of the
    distilled images: ``argmin_b ||z - mu_b||`` is the predictor that matched means make. No
    gradient flows through it.

    Source: our reading, as section 10 of docs/algorithms.md.
    """
    means = jax.lax.stop_gradient(means)
    # Without ||z||^2, which is the same for every class.
    products = jnp.einsum("ckd,bd->ckb", targets, means)
    nearest = jnp.argmin(jnp.sum(jnp.square(means), axis=-1) - 2 * products, axis=-1)
    right = nearest == jnp.arange(means.shape[0])[:, None]
    return jnp.mean(right.astype(jnp.float32))


def trajectory_loss(
    student: Float[Array, " p"],
    first: Float[Array, " p"],
    before: Float[Array, " p"],
    target: Float[Array, " p"],
    segment: tuple[Scalar, Scalar],
) -> Float[Array, ""]:
    """Return the squared distance of a student to its expert, relative to the expert's own.

    Plain: ``||theta_N - theta*_{t+M}||^2 / ||theta*_t - theta*_{t+M}||^2``, with the
    ``student`` theta_N, the expert's ``first`` and ``target`` parameters theta*_t and
    theta*_{t+M}. Along a segment the target is ``theta*_{t+M} + lam D`` with the expert's
    last epoch ``D = theta*_{t+M} - theta*_{t+M-1}`` (``before`` is theta*_{t+M-1}) and lam
    uniform in [a, b], above 0 beyond the target: with ``A = theta_N - theta*_{t+M}`` the
    numerator becomes ``||A||^2 - (a+b) <A, D> + (a^2+ab+b^2)/3 ||D||^2``.

    Source: docs/algorithms.md, section 4.6; the segment is proposal P2 of section 10, not
    the paper's.
    """
    residual, last = student - target, before - target
    distance = 2 * isa.segment_loss(residual[None], last[None], *segment)[0]
    return distance / jnp.sum(jnp.square(first - target))
