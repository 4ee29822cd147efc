"""FRePo with crucial samples and Infinite Semantic Augmentation: its step.

Reads like sections 4.1, 5.1 and 6 of the algorithm sheet: draw a network from the pool,
read real and distilled features with it, solve the ridge readout, keep the hard targets,
average the loss along a segment, step images and labels, age the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.methods.base import Batch, Method, first_failure
from isa_toolkit.methods.optimizers import OPTIMIZERS, cosine_decay
from isa_toolkit.methods.outer import OuterTerms, outer_loss
from isa_toolkit.networks.base import Network
from isa_toolkit.networks.pool import (
    Learner,
    draw_member,
    init_pool,
    put_member,
    take_member,
    update_member,
)
from isa_toolkit.networks.precision import frozen_features

if TYPE_CHECKING:
    from isa_toolkit.methods.frepo import FRePo

__all__ = [
    "QUANTITIES",
    "FRePoInfo",
    "FRePoKnobs",
    "FRePoState",
    "OuterUpdate",
    "build",
    "outer_update",
]

Scalar = Float[Array, ""]

QUANTITIES = (
    "the target features",
    "the distilled features",
    "the ridge readout (Cholesky solve)",
    "the loss",
    "the gradient",
)
REMEDIES = {QUANTITIES[2]: "Raise ridge (now {ridge:g}) or lower learning_rate."}


class FRePoState(NamedTuple):
    """Everything a FRePo run carries from one step to the next.

    images: distilled images in whitened space, [m, h, w, ch].
    labels: distilled labels, [m, c].
    optimizer: moments of (images, labels).
    pool: p stacked learners, each at its own age.
    step: outer steps taken, [].
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    optimizer: PyTree
    pool: Learner
    step: Int[Array, ""]


class FRePoInfo(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: the whole loss, [].
    target_loss: the term of the target batch (kept samples, segment), [].
    label_loss: the label-margin term, [].
    target_accuracy: share of the whole target batch that the readout classifies, [].
    kept: number of targets kept, [].
    member: which network of the pool was used, [].
    age: its age, [].
    failure: 0, or 1 + the place in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_loss: Scalar
    label_loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    member: Int[Array, ""]
    age: Int[Array, ""]
    failure: Int[Array, ""]


class FRePoKnobs(NamedTuple):
    """The traced numbers of a run: changing one never recompiles.

    drop_easy: share of the batch dropped from the easy end, [].
    drop_hard: share dropped from the hard end, [].
    segment_start: one end of the segment, [].
    segment_stop: the other, [].
    ridge: relative ridge, [].
    learning_rate: at step 0, of images and labels, [].
    final_learning_rate: share of it that is left at the last step, [].
    steps: length of the cosine schedule, [].
    online_learning_rate: Adam's, of the pool, [].
    """

    drop_easy: Scalar
    drop_hard: Scalar
    segment_start: Scalar
    segment_stop: Scalar
    ridge: Scalar
    learning_rate: Scalar
    final_learning_rate: Scalar
    steps: Scalar
    online_learning_rate: Scalar


def build(settings: FRePo, network: Network) -> Method:
    """Return FRePo for one network.

    Args:
        settings: of the method.
        network: of the distillation.

    Returns:
        ``init``, ``step`` and ``distilled``.
    """
    optimizer = OPTIMIZERS[settings.optimizer]

    def init(
        key: Key[Array, ""],
        images: Float[Array, "m h w ch"],
        labels: Float[Array, "m c"],
    ) -> FRePoState:
        pool = init_pool(
            key,
            network,
            size=settings.pool_size,
            max_age=settings.max_online_updates,
            stagger=settings.stagger,
        )
        moments = optimizer.init((images, labels))
        return FRePoState(images, labels, moments, pool, jnp.zeros((), jnp.int32))

    def step(
        key: Key[Array, ""], state: FRePoState, batch: Batch, knobs: FRePoKnobs
    ) -> tuple[FRePoState, FRePoInfo]:
        return _step(settings, network, key, state, batch, knobs)

    def distilled(state: FRePoState) -> tuple[Array, Array]:
        return state.images, state.labels

    return Method(init, step, distilled, QUANTITIES, REMEDIES)


class OuterUpdate(NamedTuple):
    """What one outer update gives.

    images: distilled images after it, [m, h, w, ch].
    labels: distilled labels after it, [m, c].
    optimizer: moments after it.
    terms: the loss before it.
    gradient: of (images, labels).
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    optimizer: PyTree
    terms: OuterTerms
    gradient: tuple[Array, Array]


def outer_update(
    settings: FRePo,
    network: Network,
    learner: Learner,
    state: FRePoState,
    target_features: Float[Array, "n d"],
    target_labels: Float[Array, "n c"],
    knobs: FRePoKnobs,
    key: Key[Array, ""],
    target_images: Float[Array, "n h w ch"] | None = None,
) -> OuterUpdate:
    """Return images and labels one optimiser step further, through one network.

    Args:
        settings: of the method.
        network: the learner's architecture.
        learner: the network that is looked through.
        state: images, labels, moments and step are read.
        target_features: of the real batch, without gradient, [n, d].
        target_labels: centred one-hot, [n, c].
        knobs: the traced numbers.
        key: for what the augmentation draws.
        target_images: preprocessed; for augmentation ``"mixup"`` alone, [n, h, w, ch].

    Returns:
        The update.

    Raises:
        ValueError: augmentation ``"mixup"`` without ``target_images``.

    Source: algorithms 4.1: images and labels are two leaves of one optimiser.
    """

    def mixed_features(chosen: Array, share: Array | float) -> Array:
        assert target_images is not None
        mixed = (1 - share) * target_images + share * target_images[chosen]
        return frozen_features(
            network, learner.params, learner.state, mixed, settings.target_precision
        )

    def loss_of(distilled: tuple[Array, Array]) -> tuple[Scalar, OuterTerms]:
        images, labels = distilled
        support, support_labels = images, labels
        if settings.flips:
            support = jnp.concatenate([images, images[:, :, ::-1]])
            support_labels = jnp.concatenate([labels, labels])
        features = network.apply(learner.params, learner.state, support).features
        terms = outer_loss(
            features,
            support_labels,
            target_features,
            target_labels,
            drop_easy=knobs.drop_easy,
            drop_hard=knobs.drop_hard,
            segment=(knobs.segment_start, knobs.segment_stop),
            ridge=knobs.ridge,
            partner=settings.partner,
            reduction=settings.reduction,
            key=key,
            augmentation=settings.augmentation,
            mixed_features=None if target_images is None else mixed_features,
            partner_precision=settings.target_precision,
        )
        if settings.label_margin:
            margin = label_margin_loss(labels)
            terms = terms._replace(loss=terms.loss + margin, label_loss=margin)
        return terms.loss, terms

    distilled = (state.images, state.labels)
    (_, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(distilled)
    if not settings.learn_labels:
        gradient = (gradient[0], jnp.zeros_like(gradient[1]))
    updates, moments = OPTIMIZERS[settings.optimizer].update(
        gradient, state.optimizer, distilled
    )
    rate = cosine_decay(
        state.step,
        peak=knobs.learning_rate,
        final=knobs.final_learning_rate,
        steps=knobs.steps,
    )
    images, labels = jax.tree.map(
        lambda value, update: value - rate * update, distilled, updates
    )
    return OuterUpdate(images, labels, moments, terms, gradient)


def _step(
    settings: FRePo,
    network: Network,
    key: Key[Array, ""],
    state: FRePoState,
    batch: Batch,
    knobs: FRePoKnobs,
) -> tuple[FRePoState, FRePoInfo]:
    member_key, partner_key, online_key = jax.random.split(key, 3)
    member = draw_member(member_key, state.pool)
    learner = take_member(state.pool, member)
    target_features = frozen_features(
        network,
        learner.params,
        learner.state,
        batch.images,
        settings.target_precision,
    )
    update = outer_update(
        settings,
        network,
        learner,
        state,
        target_features,
        batch.labels,
        knobs,
        partner_key,
        batch.images,
    )
    aged = update_member(
        online_key,
        network,
        learner,
        update.images,
        update.labels,
        learning_rate=knobs.online_learning_rate,
        max_age=settings.max_online_updates,
        batch_size=settings.online_batch_size,
    )
    terms = update.terms
    right = jnp.argmax(terms.prediction, -1) == jnp.argmax(batch.labels, -1)
    info = FRePoInfo(
        loss=terms.loss,
        target_loss=terms.target_loss,
        label_loss=terms.label_loss,
        target_accuracy=jnp.mean(right.astype(jnp.float32)),
        kept=jnp.sum(terms.weights),
        member=member,
        age=learner.age,
        failure=first_failure(
            jnp.isfinite(jnp.sum(target_features)),
            jnp.isfinite(jnp.sum(terms.distilled_features)),
            jnp.isfinite(jnp.sum(terms.readout)),
            jnp.isfinite(terms.loss),
            jnp.isfinite(jnp.sum(update.gradient[0]) + jnp.sum(update.gradient[1])),
        ),
    )
    following = FRePoState(
        update.images,
        update.labels,
        update.optimizer,
        put_member(state.pool, member, aged),
        state.step + 1,
    )
    return following, info
