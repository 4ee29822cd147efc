"""DM, distribution matching (Zhao & Bilen, 2023), with crucial samples and ISA.

Reads like section 4.5 of docs/algorithms.md: a fresh network, real and distilled images of
each class under one Siamese augmentation, the squared distance of their mean features, one
step of SGD with momentum on the images. The labels are hard and do not change.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.annotations import check_settings
from isa_toolkit.datasets.augmentation import (
    DSA_NAMED_OPS,
    DSA_OPS,
    augment,
    dsa_default_ops,
)
from isa_toolkit.losses.matching import class_mean_loss, nearest_mean_accuracy
from isa_toolkit.losses.selection import Partner, TargetTerms
from isa_toolkit.methods.base import (
    Batch,
    Method,
    check_selection,
    dropped_fractions,
    first_failure,
    has_values,
    required,
    static,
)
from isa_toolkit.networks.base import Network, images_at_once, map_in_pieces
from isa_toolkit.presets import preset

Scalar = Float[Array, ""]


class State(NamedTuple):
    """Everything a DM run carries from one step to the next.

    images: Distilled images, class after class, [m, h, w, ch].
    labels: Centred one-hot labels, never changed, [m, c].
    optimizer: Momentum of the images.
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    optimizer: PyTree


class Info(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: Loss, summed over classes and features, [].
    target_accuracy: Fraction of the whole real batch that is nearest to the distilled mean
        of its own class, [].
    kept: Number of real images kept, [].
    failure: 0, or 1 + the index in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    target_accuracy: Scalar
    kept: Scalar
    failure: Int[Array, ""]


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DM:
    """Settings of DM, with crucial samples and ISA switched on.

    ``DM(drop_easy=0, segment=(0, 0))`` is DM itself. Crucial samples and ISA on DM are our
    reading; the paper gives no formulas for it: each real image is scored within its class
    by its distance to the distilled class mean, and the distance of the class means is
    averaged along the mean segment of each class.

    Attributes:
        drop_easy: Fraction of each class of the real batch to drop from the easy end (small
            distance to the distilled mean of its class), in [0, 1).
        drop_hard: Fraction of each class of the real batch to drop from the hard end, in
            [0, 1).
        select_from: Fraction of the steps after which samples are dropped, in [0, 1]: 0 from
            the start, 1 never. Until then all are kept; the segment applies throughout.
        select_from_accuracy: Accuracy on the real batch of a step (``target_accuracy``, of the
            nearest distilled class mean) from which on samples are dropped, in [0, 1].
        segment: Ends (a, b) of the ISA segment in units of ``z_i - z_partner``; (0, 0) for
            no augmentation.
        partner: Partner of each kept image: the ``"nearest"`` kept image of any class by
            cosine, a ``"random"`` one, the nearest of the ``"same_class"``, or ``"none"``
            (needs segment (0, 0)).
        ops: Operations of the Siamese augmentation; None for the published ones of the
            data set or, of an unknown one, by number of channels; empty for none.
        learning_rate: Learning rate of the images; None for the published one (1; 10 for
            CIFAR-10 at 100 images per class and more).
        momentum: Momentum of the images, in [0, 1).

    Raises:
        InvalidValueError: A value out of its range, a combination that has no meaning.
        InvalidTypeError: A value of the wrong type, an unknown keyword.

    Example:
        >>> from isa_toolkit import DM
        >>> settings = DM(drop_easy=0.1)
        >>> settings.resolve(
        ...     dataset="cifar10", images_per_class=10, num_classes=10
        ... ).learning_rate
        1.0

    Source: docs/algorithms.md, section 4.5; crucial samples and ISA: section 10.
    **Deviation:** a class with fewer real images than are asked for gives as many of each
    class as the smallest has.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    select_from: float = 0.0
    select_from_accuracy: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    partner: Partner = static("nearest")
    ops: tuple[str, ...] | None = static(None)
    learning_rate: float | None = None
    momentum: float = 0.5

    name = "dm"
    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        if not has_values(self):
            return
        check_selection(self)
        check_settings(self, fractions=("momentum",))
        if self.ops is not None:
            # A tuple, whatever was given: static settings are keys of compiled programs.
            ops = checks.check_names("ops", self.ops, DSA_OPS)
            object.__setattr__(self, "ops", ops)

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> DM:
        """Return the settings with what depends on the data set filled in.

        Only ``ops`` may be None then. Values of no published row come with a warning.
        """
        del num_classes
        rate = self.learning_rate
        if rate is None:
            rate = preset("dm", dataset, images_per_class)["learning_rate"]
        ops = DSA_NAMED_OPS.get(dataset) if self.ops is None else self.ops
        return dataclasses.replace(self, learning_rate=rate, ops=ops)


def _optimizer(settings: DM) -> Any:
    return optax.sgd(required(settings, "learning_rate"), settings.momentum)


def init(
    settings: DM,
    network: Network,
    key: Key[Array, ""],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
) -> State:
    """Return the first state."""
    del network, key
    return State(images, labels, _optimizer(settings).init(images))


def step(
    settings: DM, network: Network, key: Key[Array, ""], state: State, batch: Batch
) -> tuple[State, Info]:
    """Return the state after one step, and its diagnostics.

    Source: docs/algorithms.md, section 4.5.
    """
    network_key, augment_key, partner_key = jax.random.split(key, 3)
    params, norms = network.init(network_key)
    ops = settings.ops
    if ops is None:
        ops = dsa_default_ops(network.image_shape)
    # One draw for each class; real and distilled images of it share the key.
    class_keys = jax.random.split(augment_key, network.num_classes)

    def features_of(
        one: tuple[Key[Array, " c"], Float[Array, "c k h w ch"]],
    ) -> Float[Array, "c k d"]:
        own_keys, by_class = one
        changed = jax.vmap(
            lambda class_key, own: augment(
                class_key, own, ops=ops, kind="dsa", siamese=True
            )
        )(own_keys, by_class)
        # With instance norm `train` changes nothing.
        seen = network.apply(
            params, norms, changed.reshape(-1, *by_class.shape[2:]), train=True
        )
        return seen.features.reshape(*by_class.shape[:2], -1)

    def by_class(images: Float[Array, "n h w ch"]) -> Float[Array, "c k h w ch"]:
        return images.reshape(network.num_classes, -1, *images.shape[1:])

    targets = (class_keys, by_class(batch.images))
    # Batch norm needs all classes in one pass; otherwise they may come in pieces.
    classes_at_once = network.num_classes
    if not jax.tree.leaves(norms):
        per_class = targets[1].shape[1]
        images = images_at_once(network, params, frozen=True)
        classes_at_once = max(1, images // per_class)
    target_features = jax.lax.stop_gradient(
        map_in_pieces(features_of, targets, classes_at_once)
    )

    def loss_of(
        images: Float[Array, "m h w ch"],
    ) -> tuple[Scalar, tuple[TargetTerms, Scalar]]:
        means = jnp.mean(features_of((class_keys, by_class(images))), axis=1)
        accuracy = nearest_mean_accuracy(target_features, means)
        easy, hard = dropped_fractions(settings, batch.progress, accuracy)
        terms = class_mean_loss(
            target_features,
            means,
            drop_easy=easy,
            drop_hard=hard,
            segment=settings.segment,
            partner=settings.partner,
            key=partner_key,
        )
        return terms.loss, (terms, accuracy)

    (loss, aux), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.images)
    terms, accuracy = aux
    updates, moments = _optimizer(settings).update(gradient, state.optimizer)
    images = state.images + updates
    failure = first_failure(target_features, loss, gradient)
    info = Info(loss, accuracy, jnp.sum(terms.weights), failure)
    return State(images, state.labels, moments), info


METHOD = Method(
    name="dm",
    settings=DM,
    init=init,
    step=step,
    quantities=("the target features", "the loss", "the gradient"),
    sampling="per_class",
    batch_size=256,
    network="convnet_in",
    protocol="dsa",
)
