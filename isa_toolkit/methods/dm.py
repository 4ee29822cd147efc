"""DM, distribution matching, with crucial samples and ISA.

Reads like section 4.5 of the algorithm sheet: a fresh network, real and distilled images
of each class under one Siamese augmentation, the squared distance of their mean features,
one step of SGD with momentum on the images. The labels are hard and stay.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from isa_toolkit import checks
from isa_toolkit.datasets.augmentation import DSA_OPS, dsa_augment, dsa_default_ops
from isa_toolkit.losses.matching import MATCHING_PARTNERS, MeanTerms, class_mean_loss
from isa_toolkit.methods.base import (
    Batch,
    LabelsAsGiven,
    Method,
    Traits,
    compiled_part,
    first_failure,
    traced,
)
from isa_toolkit.methods.shares import check_crucial
from isa_toolkit.networks.base import Network
from isa_toolkit.presets import preset

__all__ = ["DM", "DMInfo", "DMKnobs", "DMState"]

Scalar = Float[Array, ""]


class DMState(NamedTuple):
    """Everything a DM run carries from one step to the next.

    images: distilled images, class after class, [m, h, w, ch].
    labels: centred one-hot, never changed, [m, c].
    velocity: of the images, [m, h, w, ch].
    step: outer steps taken, [].
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    velocity: Float[Array, "m h w ch"]
    step: Int[Array, ""]


class DMInfo(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: summed over classes and features, [].
    kept: number of real images kept, [].
    failure: 0, or 1 + the place in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    kept: Scalar
    failure: Int[Array, ""]


class DMKnobs(NamedTuple):
    """The traced numbers of a run: changing one never recompiles.

    drop_easy: share of each class dropped from the easy end, [].
    drop_hard: share dropped from the hard end, [].
    segment_start: one end of the segment, [].
    segment_stop: the other, [].
    learning_rate: of the images, [].
    momentum: of the images, [].
    """

    drop_easy: Scalar
    drop_hard: Scalar
    segment_start: Scalar
    segment_stop: Scalar
    learning_rate: Scalar
    momentum: Scalar


@dataclasses.dataclass(frozen=True, kw_only=True)
class DM(LabelsAsGiven):
    """Settings of DM, with crucial samples and ISA switched on.

    ``DM(drop_easy=0, segment=(0, 0))`` is DM itself. Crucial samples and ISA on DM are our
    reading; the paper gives no formulas for it.

    Attributes:
        drop_easy: share of each class of the real batch to drop from the easy end (small
            distance to the distilled mean of its class), in [0, 1).
        drop_hard: share to drop from the hard end, in [0, 1).
        segment: ends (a, b) of the ISA segment in units of ``z_i - z_partner``; (0, 0):
            no augmentation.
        partner: ``"nearest"`` kept image of any class by cosine, ``"random"``,
            ``"same_class"`` (the nearest of its own), or ``"none"`` (needs segment
            (0, 0)).
        ops: ops of the Siamese augmentation; None for the published ones by number of
            channels, empty for none.
        learning_rate: of the images; None for the published one (1; 10 for CIFAR-10 at
            100 images per class and more).
        momentum: of the images, in [0, 1).

    Raises:
        ValueError: a value out of its range, a combination that has no meaning.

    Source: algorithms 4.5; crucial samples and ISA 10.
    **Deviation:** a class with fewer real images than are asked for gives as many of each
    class as the smallest has.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    partner: str = "nearest"
    ops: tuple[str, ...] | None = None
    learning_rate: float | None = None
    momentum: float = 0.5

    name = "dm"
    traits = Traits(
        drawing="per_class",
        draws=256,
        network="convnet_in",
        protocol="dsa",
        crucial="each real image within its class, by the distance to the class mean",
        isa="the distance of the class means, along the mean segment of each class",
    )

    def __post_init__(self) -> None:
        check_crucial(self)
        checks.check_one_of("partner", self.partner, MATCHING_PARTNERS)
        if self.partner == "none" and self.segment != (0, 0):
            raise checks.fail(
                "segment",
                "be (0, 0) when partner is 'none'",
                self.segment,
                "Use partner='nearest' for semantic augmentation.",
            )
        if self.ops is not None:
            # A tuple, whatever was given: settings are keys of compiled programs.
            ops = checks.check_names("ops", self.ops, DSA_OPS)
            object.__setattr__(self, "ops", ops)
        if self.learning_rate is not None:
            checks.check_at_least("learning_rate", self.learning_rate, 0)
        checks.check_fraction("momentum", self.momentum)

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> DM:
        """Return the settings with what depends on the data set filled in.

        Args:
            dataset: registered name.
            images_per_class: IPC.
            num_classes: C.

        Returns:
            Settings in which nothing but ``ops`` is None.

        Warns:
            UserWarning: no published row gives the learning rate.
        """
        del num_classes
        rate = self.learning_rate
        if rate is None:
            rate = preset("dm", dataset, images_per_class)["learning_rate"]
        return dataclasses.replace(self, learning_rate=rate)

    def static(self) -> DM:
        """Return the settings with every knob at a fixed value: what is compiled in.

        Returns:
            Settings that are equal for all runs that can share one program.
        """
        return compiled_part(self, "learning_rate", "momentum")

    def knobs(self, *, steps: int) -> DMKnobs:
        """Return the traced numbers of a run.

        Args:
            steps: its length; DM's learning rate does not depend on it.

        Returns:
            The knobs, float32 scalars.

        Raises:
            ValueError: the settings are not resolved.
        """
        del steps
        if self.learning_rate is None:
            raise checks.fail(
                "learning_rate", "be resolved", None, "Call resolve first."
            )
        numbers = (
            self.drop_easy,
            self.drop_hard,
            *self.segment,
            self.learning_rate,
            self.momentum,
        )
        return traced(DMKnobs, *numbers)

    def build(self, network: Network) -> Method:
        """Return the method for one network.

        Args:
            network: of the distillation (published: ConvNet with instance norm).

        Returns:
            ``init``, ``step`` and ``distilled``.
        """

        def init(
            key: Key[Array, ""],
            images: Float[Array, "m h w ch"],
            labels: Float[Array, "m c"],
        ) -> DMState:
            del key
            still = jnp.zeros_like(images)
            return DMState(images, labels, still, jnp.zeros((), jnp.int32))

        def step(
            key: Key[Array, ""], state: DMState, batch: Batch, knobs: DMKnobs
        ) -> tuple[DMState, DMInfo]:
            return _step(self, network, key, state, batch, knobs)

        def distilled(state: DMState) -> tuple[Array, Array]:
            return state.images, state.labels

        return Method(init, step, distilled, QUANTITIES)


QUANTITIES = ("the target features", "the loss", "the gradient")


def _step(
    settings: DM,
    network: Network,
    key: Key[Array, ""],
    state: DMState,
    batch: Batch,
    knobs: DMKnobs,
) -> tuple[DMState, DMInfo]:
    network_key, augment_key, partner_key = jax.random.split(key, 3)
    params, norms = network.init(network_key)
    ops = settings.ops
    if ops is None:
        ops = dsa_default_ops(network.image_shape)
    # One draw for each class; real and distilled images of it share the key.
    class_keys = jax.random.split(augment_key, network.num_classes)

    def features(images: Float[Array, "n h w ch"]) -> Float[Array, "c k d"]:
        by_class = images.reshape(network.num_classes, -1, *images.shape[1:])
        changed = jax.vmap(
            lambda class_key, own: dsa_augment(class_key, own, ops=ops, siamese=True)
        )(class_keys, by_class)
        # All classes in one pass, which is what batch norm would need; with instance
        # norm `train` changes nothing.
        seen = network.apply(params, norms, changed.reshape(images.shape), train=True)
        return seen.features.reshape(*by_class.shape[:2], -1)

    target_features = jax.lax.stop_gradient(features(batch.images))

    def loss_of(images: Float[Array, "m h w ch"]) -> tuple[Scalar, MeanTerms]:
        terms = class_mean_loss(
            target_features,
            jnp.mean(features(images), axis=1),
            drop_easy=knobs.drop_easy,
            drop_hard=knobs.drop_hard,
            segment=(knobs.segment_start, knobs.segment_stop),
            partner=settings.partner,
            key=partner_key,
        )
        return terms.loss, terms

    (loss, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.images)
    velocity = knobs.momentum * state.velocity + gradient
    info = DMInfo(
        loss=loss,
        kept=jnp.sum(terms.weights),
        failure=first_failure(
            jnp.isfinite(jnp.sum(target_features)),
            jnp.isfinite(loss),
            jnp.isfinite(jnp.sum(gradient)),
        ),
    )
    following = DMState(
        state.images - knobs.learning_rate * velocity,
        state.labels,
        velocity,
        state.step + 1,
    )
    return following, info
