"""MTT, matching training trajectories, with crucial samples and ISA.

Reads like section 4.6 of the algorithm sheet: pick an expert and an epoch, train a student
from there on the distilled images for a few steps, compare where it ends with where the
expert is some epochs later, differentiate through the student's whole training, step the
images and the student's step size. Real images enter through the experts alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from isa_toolkit import checks
from isa_toolkit.datasets.augmentation import DSA_OPS, dsa_default_ops
from isa_toolkit.losses.matching import MATCHING_PARTNERS
from isa_toolkit.methods.base import (
    Batch,
    LabelsAsGiven,
    Method,
    Shards,
    Traits,
    compiled_part,
    traced,
)
from isa_toolkit.methods.expert_buffer import ExpertKnobs, expert_shards
from isa_toolkit.methods.mtt_step import (
    QUANTITIES,
    REMEDIES,
    MTTInfo,
    MTTKnobs,
    MTTState,
    mtt_step,
    resolved,
)
from isa_toolkit.methods.shares import check_crucial
from isa_toolkit.networks.base import Network
from isa_toolkit.presets import preset

__all__ = ["MTT", "MTTInfo", "MTTKnobs", "MTTState"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MTT(LabelsAsGiven):
    """Settings of MTT, with crucial samples and ISA switched on.

    ``MTT(candidates=1, drop_easy=0, segment=(0, 0))`` is MTT itself. The paper gives no
    formulas for MTT, so both forms of its ideas are our reading. *Segments* (P2): real
    samples are replaced by pieces of trajectories; several candidates are drawn, the easy
    ones dropped, and the target is averaged along the expert's last epoch. *Experts* (P1,
    the ``expert_`` names): samples are dropped, and features mixed, while the experts are
    trained.

    None in any field stands for the published value of the data set and the images per
    class (table A of algorithms 4.6).

    Attributes:
        drop_easy: share of the candidates to drop from the easy end (small loss), in
            [0, 1).
        drop_hard: share to drop from the hard end, in [0, 1).
        segment: ends (a, b) of the target's segment, in units of the expert's last
            epoch: 0 is the target itself, -1 one epoch before it, above 0 beyond it.
        candidates: trajectory pieces (expert and first epoch) per step; a step costs as
            many times as much.
        student_steps: N, unrolled steps of the student.
        target_epochs: M, epochs of the expert that the student is to reach.
        max_start_epoch: T+; pieces start at epoch 0 .. T+ - 1.
        student_batch_size: distilled images in a student's step; None also where the
            published value is all of them.
        student_learning_rate: its step size at first; learned from there.
        learning_rate: of the images.
        rate_learning_rate: of the step size.
        momentum: of both, in [0, 1).
        ops: ops of DSA's augmentation, for student and experts; None for the published
            ones by number of channels, empty for none.
        expert_count: experts.
        expert_epochs: epochs of each.
        expert_learning_rate: of their SGD.
        expert_batch_size: real images in one of their steps.
        expert_drop_easy: share of each of their minibatches dropped from the easy end.
        expert_drop_hard: share dropped from the hard end.
        expert_segment: ends of the segment that their loss is averaged over, in units of
            ``z_i - z_partner`` at the penultimate layer; within [-1, 0] unless partners
            share a class, since cross-entropy has no lower bound beyond.
        expert_partner: ``"nearest"`` kept sample of the minibatch by cosine,
            ``"random"``, ``"same_class"``, or ``"none"`` (needs segment (0, 0)).
        expert_seed: of the experts; runs that share all of this share them.

    Raises:
        ValueError: a value out of its range, a combination that has no meaning.

    Source: algorithms 4.6; crucial samples and ISA 10 (P1, P2).
    **Deviation:** the step size a is multiplied by ``exp(-rate_learning_rate v / a)``
    (v its velocity) instead of ``rate_learning_rate v`` being subtracted: equal to first
    order, and a stays positive. Pieces are drawn at random rather than expert by expert.
    A student's batches are full; what is left over of a permutation is left out.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    candidates: int = 4
    student_steps: int | None = None
    target_epochs: int | None = None
    max_start_epoch: int | None = None
    student_batch_size: int | None = None
    student_learning_rate: float | None = None
    learning_rate: float | None = None
    rate_learning_rate: float | None = None
    momentum: float = 0.5
    ops: tuple[str, ...] | None = None
    expert_count: int | None = None
    expert_epochs: int | None = None
    expert_learning_rate: float | None = None
    expert_batch_size: int | None = None
    expert_drop_easy: float = 0.0
    expert_drop_hard: float = 0.0
    expert_segment: tuple[float, float] = (0.0, 0.0)
    expert_partner: str = "none"
    expert_seed: int = 0

    name = "mtt"
    traits = Traits(
        drawing="none",
        draws=0,
        network="convnet_in",
        protocol="dsa",
        crucial="pieces of trajectories by their loss, or the experts' minibatches",
        isa="the target parameters along an epoch, or the experts' features",
    )

    def __post_init__(self) -> None:
        check_crucial(self)
        check_crucial(self, "expert_")
        checks.check_integer("candidates", self.candidates)
        if self.candidates == 1 and self.drop_easy + self.drop_hard > 0:
            raise checks.fail(
                "candidates",
                "be at least 2 where drop_easy or drop_hard is above 0",
                1,
                "Draw more, or keep everything with drop_easy=0.",
            )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None:
                checks.check_integer(name, value)
        for name in ("student_learning_rate", "expert_learning_rate"):
            value = getattr(self, name)
            if value is not None:
                checks.check_positive(name, value)
        for name in ("learning_rate", "rate_learning_rate"):
            value = getattr(self, name)
            if value is not None:
                checks.check_at_least(name, value, 0)
        checks.check_fraction("momentum", self.momentum)
        checks.check_integer("expert_seed", self.expert_seed, minimum=0)
        if self.ops is not None:
            # A tuple, whatever was given: settings are keys of compiled programs.
            ops = checks.check_names("ops", self.ops, DSA_OPS)
            object.__setattr__(self, "ops", ops)
        self._check_expert_segment()
        self._check_epochs()

    def _check_expert_segment(self) -> None:
        checks.check_one_of("expert_partner", self.expert_partner, MATCHING_PARTNERS)
        ends = self.expert_segment
        if self.expert_partner == "none" and ends != (0, 0):
            raise checks.fail(
                "expert_segment",
                "be (0, 0) when expert_partner is 'none'",
                ends,
                "Use expert_partner='nearest' for semantic augmentation of the experts.",
            )
        inside = all(-1 <= end <= 0 for end in ends)
        if self.expert_partner in ("nearest", "random") and not inside:
            raise checks.fail(
                "expert_segment",
                "lie within [-1, 0] for method 'mtt'",
                ends,
                "Cross-entropy has no lower bound beyond the sample; walk to the partner "
                "with (-1, 0), or use expert_partner='same_class'.",
            )

    def _check_epochs(self) -> None:
        """Refuse pieces that end after their expert."""
        start, ahead = self.max_start_epoch, self.target_epochs
        if start is None or ahead is None or self.expert_epochs is None:
            return
        if start - 1 + ahead > self.expert_epochs:
            raise checks.fail(
                "max_start_epoch - 1 + target_epochs",
                f"be at most expert_epochs = {self.expert_epochs}",
                start - 1 + ahead,
                "Train the experts for longer, or start earlier.",
            )

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> MTT:
        """Return the settings with what depends on the data set filled in.

        Args:
            dataset: registered name.
            images_per_class: IPC.
            num_classes: C.

        Returns:
            Settings in which nothing but ``ops`` is None.

        Raises:
            ValueError: the filled-in values do not fit together.

        Warns:
            UserWarning: no published row gives them.
        """
        total = images_per_class * num_classes
        missing = [name for name in _PUBLISHED if getattr(self, name) is None]
        filled: dict[str, Any] = {}
        if missing:
            row = preset("mtt", dataset, images_per_class)
            filled = {name: row.get(name) for name in missing}
        batch = filled.get("student_batch_size", self.student_batch_size) or total
        filled["student_batch_size"] = min(batch, total)
        return dataclasses.replace(self, **filled)

    def static(self) -> MTT:
        """Return the settings with every knob at a fixed value: what is compiled in.

        Returns:
            Settings that are equal for all runs that can share one program; experts
            are data, so how they were made is left out.
        """
        experts_fields = {
            field.name: field.default
            for field in dataclasses.fields(self)
            if field.name.startswith("expert_")
        }
        return dataclasses.replace(
            compiled_part(self, "learning_rate", "rate_learning_rate", "momentum"),
            **experts_fields,
        )

    def knobs(self, *, steps: int) -> MTTKnobs:
        """Return the traced numbers of a run.

        Args:
            steps: its length; MTT's learning rates do not depend on it.

        Returns:
            The knobs, float32 scalars.

        Raises:
            ValueError: the settings are not resolved.
        """
        del steps
        numbers = (
            self.drop_easy,
            self.drop_hard,
            *self.segment,
            resolved(self, "learning_rate"),
            resolved(self, "rate_learning_rate"),
            self.momentum,
        )
        return traced(MTTKnobs, *numbers)

    def build(self, network: Network) -> Method:
        """Return the method for one network.

        Args:
            network: of student and experts (published: ConvNet with instance norm).

        Returns:
            ``init``, ``step``, ``distilled`` and the experts as ``shards``.

        Raises:
            ValueError: the settings are not resolved.
        """
        first_rate = resolved(self, "student_learning_rate")

        def init(
            key: Key[Array, ""],
            images: Float[Array, "m h w ch"],
            labels: Float[Array, "m c"],
        ) -> MTTState:
            del key
            rate = jnp.asarray(first_rate, images.dtype)
            return MTTState(
                images,
                labels,
                jnp.zeros_like(images),
                rate,
                jnp.zeros_like(rate),
                jnp.zeros((), jnp.int32),
            )

        def step(
            key: Key[Array, ""], state: MTTState, batch: Batch, knobs: MTTKnobs
        ) -> tuple[MTTState, MTTInfo]:
            return mtt_step(self, network, key, state, batch, knobs)

        def distilled(state: MTTState) -> tuple[Array, Array]:
            return state.images, state.labels

        return Method(
            init,
            step,
            distilled,
            QUANTITIES,
            REMEDIES,
            learned=lambda state: {"student_learning_rate": state.rate},
            shards=lambda images, labels: _experts(self, network, images, labels),
        )


# What a published row gives, by the same names.
_COUNTS = (
    "student_steps",
    "target_epochs",
    "max_start_epoch",
    "student_batch_size",
    "expert_count",
    "expert_epochs",
    "expert_batch_size",
)
_PUBLISHED = (
    *_COUNTS,
    "student_learning_rate",
    "learning_rate",
    "rate_learning_rate",
    "expert_learning_rate",
)


def _experts(settings: MTT, network: Network, images: Any, labels: Any) -> Shards:
    """Return the experts of a training set."""
    ops = settings.ops
    if ops is None:
        ops = dsa_default_ops(network.image_shape)
    return expert_shards(
        network,
        images,
        labels,
        count=resolved(settings, "expert_count"),
        epochs=resolved(settings, "expert_epochs"),
        # The last piece starts at T+ - 1 and ends M epochs later.
        needed=resolved(settings, "max_start_epoch")
        + resolved(settings, "target_epochs"),
        batch_size=resolved(settings, "expert_batch_size"),
        ops=ops,
        partner=settings.expert_partner,
        seed=settings.expert_seed,
        knobs=ExpertKnobs(
            resolved(settings, "expert_learning_rate"),
            settings.expert_drop_easy,
            settings.expert_drop_hard,
            *settings.expert_segment,
        ),
    )
