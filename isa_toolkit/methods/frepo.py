"""FRePo with crucial samples and Infinite Semantic Augmentation (ISA).

Reads like sections 4.1, 5.1 and 6 of docs/algorithms.md: draw a network from the pool, read
real and distilled features with it, solve the ridge readout, keep the hard targets, average
the loss along a segment, step images and labels, age the network.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.annotations import check_settings
from isa_toolkit.losses import ridge
from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.losses.selection import Augmentation, Partner, target_loss
from isa_toolkit.methods.base import (
    Batch,
    Method,
    accuracy_of,
    add_flips,
    check_selection,
    dropped_fractions,
    first_failure,
    has_values,
    required,
    static,
)
from isa_toolkit.networks.base import Network, images_at_once, map_in_pieces
from isa_toolkit.networks.pool import (
    Learner,
    draw_member,
    init_pool,
    put,
    take,
    update_member,
)
from isa_toolkit.networks.precision import frozen_features
from isa_toolkit.networks.training import cosine_decay
from isa_toolkit.presets import preset, published_rows

Scalar = Float[Array, ""]

OPTIMIZERS: dict[str, Any] = {"lamb": optax.lamb, "adam": optax.adam}


class State(NamedTuple):
    """Everything a FRePo run carries from one step to the next.

    images: Distilled images in whitened space, [m, h, w, ch].
    labels: Distilled labels, [m, c].
    optimizer: Moments of (images, labels).
    pool: p stacked learners, each at its own age.
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    optimizer: PyTree
    pool: Learner


class Info(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: Whole loss, [].
    target_loss: Term of the target batch (kept samples, segment), [].
    label_loss: Label-margin term, [].
    target_accuracy: Fraction of the whole target batch that the readout classifies, [].
    kept: Number of targets kept, [].
    ridge_factor: What the ridge was multiplied by for an accurate readout, [].
    member: Index of the network of the pool that was used, [].
    age: Age of that network, [].
    failure: 0, or 1 + the index in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_loss: Scalar
    label_loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    ridge_factor: Scalar
    member: Int[Array, ""]
    age: Int[Array, ""]
    failure: Int[Array, ""]


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class FRePo:
    """Settings of FRePo, with crucial samples and ISA switched on.

    ``FRePo(drop_easy=0, segment=(0, 0))`` is FRePo itself.

    Attributes:
        drop_easy: Fraction of each target batch to drop from the easy end, in [0, 1).
        drop_hard: Fraction of each target batch to drop from the hard end, in [0, 1).
        select_from: Fraction of the steps after which samples are dropped, in [0, 1]: 0 from
            the start, 1 never. Until then all are kept; the segment applies throughout.
        select_from_accuracy: Accuracy of the predictor on the batch of a step
            (``target_accuracy``) from which on samples are dropped, in [0, 1].
        segment: Ends (a, b) of the ISA segment in units of ``z_i - z_partner``. (0, 0): no
            augmentation; (0, e): away from the partner (released code); (-1, 0): the way to
            the partner (the paper's text); (t, t): one mixed sample.
        augmentation: Kind of augmentation: ``"segment"``, the closed-form mean over the
            segment (ISA); ``"single"``, one virtual point per sample and step, drawn from
            it; or ``"mixup"``, vanilla MixUp of target images and labels (a second feature
            pass over the batch; pairs by a random permutation whatever ``partner`` is;
            needs segment (0, 0)). The last two are our reading of the ablation of Figure
            3c, of which the paper gives no details.
        partner: Partner of each kept target: the ``"nearest"`` kept target by cosine, a
            ``"random"`` kept target, the nearest of the ``"same_class"``, or ``"none"``
            (needs segment (0, 0)).
        reduction: Reduction over classes: ``"half_sum"``, as FRePo, or ``"released"``, the
            mean over classes of the released ISA code: 2/C times as large against the label
            margin.
        ridge: Relative ridge, a fraction of the mean diagonal of the kernel.
        flips: Whether to double the distilled set with horizontal flips in the outer loss;
            None for the published choice of the data set (for your own data: no).
        label_scale: Number that the first, centred one-hot labels are divided by; None for
            sqrt(C/10).
        learn_labels: Whether to learn the labels, too.
        label_margin: Whether to add the label-margin hinge.
        optimizer: Optimizer of images and labels: ``"lamb"`` or ``"adam"``.
        learning_rate: Learning rate of images and labels at step 0.
        final_learning_rate: Fraction of the learning rate left after the cosine decay, in
            [0, 1].
        pool_size: Number of networks in the pool.
        max_online_updates: Number of online steps after which a network is replaced.
        stagger: Whether the counters of online steps start evenly spread; all networks
            start untrained.
        online_learning_rate: Learning rate of the networks, which Adam trains.
        online_batch_size: Number of distilled images per online step.
        target_precision: Precision of the features of the real batch (most of a step) and
            of the search for the nearest partner: ``"default"``, the device's own
            (TensorFloat-32 on NVIDIA GPUs, float32 on the CPU); ``"float32"``; or
            ``"bfloat16"``, for accelerators. The ridge kernel and its solve always use the
            highest precision.

    Raises:
        InvalidValueError: A value out of its range, a combination that has no meaning.
        InvalidTypeError: A value of the wrong type, an unknown keyword.

    Example:
        >>> from isa_toolkit import FRePo
        >>> FRePo(drop_easy=0, segment=(0, 0)).segment
        (0.0, 0.0)
        >>> FRePo().resolve(
        ...     dataset="cifar10", images_per_class=10, num_classes=10
        ... ).flips
        True

    Source: docs/algorithms.md, sections 4.1, 5.1 and 6 (6.3 for ``augmentation``). The
    defaults .2 and (0, .5) are the authors' README setting for CIFAR-10 at 10 images per
    class; per-data-set values are UNKNOWN.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    select_from: float = 0.0
    select_from_accuracy: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    augmentation: Augmentation = static("segment")
    partner: Partner = static("nearest")
    reduction: Literal["half_sum", "released"] = static("half_sum")
    ridge: float = 1e-6
    flips: bool | None = static(None)
    label_scale: float | None = None
    learn_labels: bool = static(True)
    label_margin: bool = static(True)
    optimizer: Literal["lamb", "adam"] = static("lamb")
    learning_rate: float = 3e-4
    final_learning_rate: float = 0.1
    pool_size: int = static(10)
    max_online_updates: int = static(100)
    stagger: bool = static(True)
    online_learning_rate: float = 3e-4
    online_batch_size: int = static(1000)
    target_precision: Literal["default", "float32", "bfloat16"] = static("default")

    name = "frepo"
    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        if not has_values(self):
            return
        check_selection(self)
        check_settings(
            self, positive=("label_scale",), from_zero=("max_online_updates",)
        )
        checks.check_number(
            "final_learning_rate", self.final_learning_rate, at_least=0, at_most=1
        )
        if self.augmentation == "mixup" and self.segment != (0, 0):
            raise checks.fail(
                "segment",
                "be (0, 0) when augmentation is 'mixup'",
                self.segment,
                "MixUp mixes images, not along a segment of feature space.",
            )

    def resolve(
        self, *, dataset: str, images_per_class: int, num_classes: int
    ) -> FRePo:
        """Return the settings with what depends on the data set filled in."""
        flips, scale = self.flips, self.label_scale
        if flips is None:
            is_listed = dataset in published_rows("frepo")
            flips = is_listed and preset("frepo", dataset, images_per_class)["flips"]
        if scale is None:
            scale = math.sqrt(num_classes / 10)
        return dataclasses.replace(self, flips=flips, label_scale=scale)


def init(
    settings: FRePo,
    network: Network,
    key: Key[Array, ""],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
) -> State:
    """Return the first state; the labels are divided by ``label_scale``.

    Source: docs/algorithms.md, section 1.1, "Initial distilled set".
    """
    labels = labels / required(settings, "label_scale")
    pool = init_pool(
        key,
        network,
        size=settings.pool_size,
        max_age=settings.max_online_updates,
        stagger=settings.stagger,
    )
    optimizer = OPTIMIZERS[settings.optimizer](settings.learning_rate)
    return State(images, labels, optimizer.init((images, labels)), pool)


def step(
    settings: FRePo, network: Network, key: Key[Array, ""], state: State, batch: Batch
) -> tuple[State, Info]:
    """Return the state after one outer step, and its diagnostics.

    ``P = F_T W`` with the ridge readout W of the distilled features; the loss of P on the
    target batch plus the label margin is differentiated. Images and labels are two leaves
    of one optimizer.

    Source: docs/algorithms.md, sections 4.1, 5.1 and 6.
    """
    member_key, partner_key, online_key = jax.random.split(key, 3)
    member = draw_member(member_key, state.pool)
    learner = take(state.pool, member)

    def read_targets(images: Float[Array, "n h w ch"]) -> Float[Array, "n d"]:
        return frozen_features(
            network, learner.params, learner.state, images, settings.target_precision
        )

    with jax.named_scope("target_features"):
        target_features = read_targets(batch.images)

    def read_distilled(images: Float[Array, "n h w ch"]) -> Float[Array, "n d"]:
        def read(some: Float[Array, "n h w ch"]) -> Float[Array, "n d"]:
            return network.apply(learner.params, learner.state, some).features

        at_once = images_at_once(network, learner.params)
        if images.shape[0] <= at_once:
            return read(images)
        # Feature maps are computed again for the gradient rather than kept: 4 GB in place
        # of 13 for 5,000 images of 32 pixels at width 128.
        return map_in_pieces(jax.checkpoint(read), images, -(-at_once // 8))

    def loss_of(distilled: tuple[Array, Array]) -> tuple[Scalar, PyTree]:
        images, labels = support = distilled
        if settings.flips:
            support = add_flips(images, labels)
        with jax.named_scope("distilled_features"):
            features = read_distilled(support[0])
        with jax.named_scope("ridge"):
            readout = ridge.readout(features, support[1], settings.ridge)
            prediction = ridge.predict(target_features, readout.weights)

        def mixed_prediction(chosen: Array, t: Array | float) -> Array:
            mixed = (1 - t) * batch.images + t * batch.images[chosen]
            return ridge.predict(read_targets(mixed), readout.weights)

        with jax.named_scope("selection"):
            accuracy = accuracy_of(prediction, batch.labels)
            easy, hard = dropped_fractions(settings, batch.progress, accuracy)
            target = target_loss(
                prediction,
                batch.labels,
                target_features,
                drop_easy=easy,
                drop_hard=hard,
                segment=settings.segment,
                partner=settings.partner,
                key=partner_key,
                augmentation=settings.augmentation,
                mixed_prediction=mixed_prediction,
                precision=settings.target_precision,
            )
        if settings.reduction == "released":
            target = target._replace(loss=target.loss * (2 / labels.shape[-1]))
        margin = jnp.zeros_like(target.loss)
        if settings.label_margin:
            margin = label_margin_loss(labels)
        loss = target.loss + margin
        return loss, (target, margin, accuracy, features, readout)

    distilled = (state.images, state.labels)
    (loss, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(distilled)
    target, margin, accuracy, features, readout = terms
    if not settings.learn_labels:
        gradient = (gradient[0], jnp.zeros_like(gradient[1]))
    with jax.named_scope("optimizer"):
        rate = cosine_decay(
            batch.progress,
            peak=settings.learning_rate,
            final=settings.final_learning_rate,
        )
        optimizer = OPTIMIZERS[settings.optimizer](rate)
        updates, moments = optimizer.update(gradient, state.optimizer, distilled)
        images, labels = jax.tree.map(jnp.add, distilled, updates)
    with jax.named_scope("online_update"):
        aged = update_member(
            online_key,
            network,
            learner,
            images,
            labels,
            learning_rate=settings.online_learning_rate,
            max_age=settings.max_online_updates,
            batch_size=settings.online_batch_size,
        )
    info = Info(
        loss=loss,
        target_loss=target.loss,
        label_loss=margin,
        target_accuracy=accuracy,
        kept=jnp.sum(target.weights),
        ridge_factor=readout.ridge_factor,
        member=member,
        age=learner.age,
        failure=first_failure(
            target_features, features, readout.weights, loss, gradient
        ),
    )
    return State(images, labels, moments, put(state.pool, member, aged)), info


QUANTITIES = (
    "the target features",
    "the distilled features",
    "the ridge readout (Cholesky solve)",
    "the loss",
    "the gradient",
)

METHOD = Method(
    name="frepo",
    settings=FRePo,
    init=init,
    step=step,
    quantities=QUANTITIES,
    remedies={QUANTITIES[2]: "Raise ridge (now {ridge:g}) or lower learning_rate."},
)
