"""FRePo with crucial samples and Infinite Semantic Augmentation: its settings.

What can be chosen, what of it is compiled in and what is traced; the step itself is
``frepo_step``'s.
"""

from __future__ import annotations

import dataclasses
import math

from jaxtyping import Array, Float

from isa_toolkit import checks
from isa_toolkit.methods import frepo_step
from isa_toolkit.methods.base import Method, compiled_part, traced
from isa_toolkit.methods.frepo_step import (
    FRePoInfo,
    FRePoKnobs,
    FRePoState,
    OuterUpdate,
    outer_update,
)
from isa_toolkit.methods.optimizers import OPTIMIZERS
from isa_toolkit.methods.outer import AUGMENTATIONS, PARTNERS, REDUCTIONS
from isa_toolkit.methods.shares import check_crucial
from isa_toolkit.networks.base import Network
from isa_toolkit.networks.precision import PRECISIONS
from isa_toolkit.presets import preset, published_rows

__all__ = [
    "FRePo",
    "FRePoInfo",
    "FRePoKnobs",
    "FRePoState",
    "OuterUpdate",
    "outer_update",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FRePo:
    """Settings of FRePo, with crucial samples and ISA switched on.

    ``FRePo(drop_easy=0, segment=(0, 0))`` is FRePo itself.

    Attributes:
        drop_easy: share of each target batch to drop from the easy end, in [0, 1).
        drop_hard: share to drop from the hard end, in [0, 1).
        segment: ends (a, b) of the ISA segment in units of ``z_i - z_partner``. (0, 0):
            no augmentation; (0, e): away from the partner (released code); (-1, 0): the
            way to the partner (the paper's text); (t, t): one mixed sample.
        augmentation: ``"segment"``, the closed-form mean over the segment (ISA);
            ``"single"``, one virtual point per sample and step, drawn from it; or
            ``"mixup"``, vanilla MixUp of target images and labels (a second feature pass
            over the batch; pairs by a random permutation whatever ``partner`` is; needs
            segment (0, 0)). The last two are our reading of the ablation of Figure 3c:
            their details are UNKNOWN.
        partner: ``"nearest"`` kept target by cosine, ``"random"`` kept target, or ``"none"``
            (no partner is looked for; needs segment (0, 0)).
        reduction: ``"half_sum"`` over classes, as FRePo, or ``"released"``, the mean over
            classes of the released ISA code: 2/C times as large against the label margin.
        ridge: relative ridge.
        flips: double the distilled set with mirrored copies in the outer loss; None for
            the published choice of the data set (for your own data: no).
        label_scale: first labels are centred one-hot divided by this; None for sqrt(C/10).
        learn_labels: step the labels, too.
        label_margin: add the label-margin hinge.
        optimizer: ``"lamb"`` or ``"adam"``, of images and labels.
        learning_rate: at step 0.
        final_learning_rate: share of it left after the cosine decay, in [0, 1].
        pool_size: number of networks.
        max_online_updates: a network whose age exceeds this is replaced.
        stagger: start the ages spread over a life (the counters only).
        online_learning_rate: Adam's, of the networks.
        online_batch_size: distilled images per online step.
        target_precision: of what reads the real batch (most of a step) and looks for the
            nearest partner: ``"default"``, the device's own (TensorFloat-32 on NVIDIA GPUs,
            float32 on the CPU); ``"float32"``; or ``"bfloat16"``, for accelerators. The
            ridge kernel and its solve stay at the highest.

    Raises:
        ValueError: a value out of its range, a combination that has no meaning.
        TypeError: a value of the wrong kind.

    Source: algorithms 4.1, 5.1 and 6 (6.3 for ``augmentation``). The defaults .2 and
    (0, .5) are the authors' README setting for CIFAR-10 at 10 images per class;
    per-data-set values are UNKNOWN.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    augmentation: str = "segment"
    partner: str = "nearest"
    reduction: str = "half_sum"
    ridge: float = 1e-6
    flips: bool | None = None
    label_scale: float | None = None
    learn_labels: bool = True
    label_margin: bool = True
    optimizer: str = "lamb"
    learning_rate: float = 3e-4
    final_learning_rate: float = 0.1
    pool_size: int = 10
    max_online_updates: int = 100
    stagger: bool = True
    online_learning_rate: float = 3e-4
    online_batch_size: int = 1000
    target_precision: str = "default"

    name = "frepo"

    def __post_init__(self) -> None:
        check_crucial(self)
        ends = self.segment
        checks.check_one_of("augmentation", self.augmentation, AUGMENTATIONS)
        if self.augmentation == "mixup" and ends != (0, 0):
            raise checks.fail(
                "segment",
                "be (0, 0) when augmentation is 'mixup'",
                ends,
                "MixUp mixes images, not along a segment of feature space.",
            )
        checks.check_one_of("partner", self.partner, PARTNERS)
        if self.partner == "none" and ends != (0, 0):
            raise checks.fail(
                "segment",
                "be (0, 0) when partner is 'none'",
                ends,
                "Use partner='nearest' for semantic augmentation.",
            )
        checks.check_one_of("reduction", self.reduction, REDUCTIONS)
        checks.check_at_least("ridge", self.ridge, 0)
        if self.flips is not None:
            checks.check_boolean("flips", self.flips)
        for name in ("learn_labels", "label_margin", "stagger"):
            checks.check_boolean(name, getattr(self, name))
        if self.label_scale is not None:
            checks.check_positive("label_scale", self.label_scale)
        checks.check_one_of("optimizer", self.optimizer, OPTIMIZERS)
        checks.check_at_least("learning_rate", self.learning_rate, 0)
        checks.check_in_range("final_learning_rate", self.final_learning_rate, 0, 1)
        checks.check_integer("pool_size", self.pool_size)
        checks.check_integer("max_online_updates", self.max_online_updates, minimum=0)
        checks.check_at_least("online_learning_rate", self.online_learning_rate, 0)
        checks.check_integer("online_batch_size", self.online_batch_size)
        checks.check_one_of("target_precision", self.target_precision, PRECISIONS)

    def resolve(
        self, *, dataset: str, images_per_class: int, num_classes: int
    ) -> FRePo:
        """Return the settings with what depends on the data set filled in.

        Args:
            dataset: registered name.
            images_per_class: IPC.
            num_classes: C.

        Returns:
            Settings in which nothing is None.
        """
        flips, scale = self.flips, self.label_scale
        if flips is None:
            is_listed = dataset in published_rows("frepo")
            flips = is_listed and preset("frepo", dataset, images_per_class)["flips"]
        if scale is None:
            scale = math.sqrt(num_classes / 10)
        return dataclasses.replace(self, flips=flips, label_scale=scale)

    def static(self) -> FRePo:
        """Return the settings with every knob at a fixed value: what is compiled in.

        Returns:
            Settings that are equal for all runs that can share one program.
        """
        return dataclasses.replace(
            compiled_part(
                self,
                "ridge",
                "learning_rate",
                "final_learning_rate",
                "online_learning_rate",
            ),
            label_scale=1.0,
        )

    def knobs(self, *, steps: int) -> FRePoKnobs:
        """Return the traced numbers of a run.

        Args:
            steps: its length, for the cosine schedule.

        Returns:
            The knobs, float32 scalars.
        """
        numbers = (
            self.drop_easy,
            self.drop_hard,
            *self.segment,
            self.ridge,
            self.learning_rate,
            self.final_learning_rate,
            steps,
            self.online_learning_rate,
        )
        return traced(FRePoKnobs, *numbers)

    def first_labels(self, labels: Float[Array, "m c"]) -> Float[Array, "m c"]:
        """Return the labels that the distilled set starts with.

        Args:
            labels: centred one-hot, [m, c].

        Returns:
            Labels divided by ``label_scale``, [m, c].

        Source: algorithms 1.1, "Synthetic init".
        """
        return labels / (self.label_scale or 1.0)

    def build(self, network: Network) -> Method:
        """Return the method for one network.

        Args:
            network: of the distillation (published: ConvNet with batch norm).

        Returns:
            ``init``, ``step`` and ``distilled``.
        """
        return frepo_step.build(self, network)
