"""RCIG with crucial samples and Infinite Semantic Augmentation: what can be chosen.

Its outer step is in :mod:`isa_toolkit.methods.rcig_step`, its inner problem in
:mod:`isa_toolkit.methods.implicit_gradient`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from isa_toolkit import checks
from isa_toolkit.methods.base import (
    Batch,
    LabelsAsGiven,
    Method,
    Traits,
    compiled_part,
    traced,
)
from isa_toolkit.methods.implicit_gradient import head_place
from isa_toolkit.methods.optimizers import OPTIMIZERS
from isa_toolkit.methods.rcig_state import (
    QUANTITIES,
    REMEDIES,
    Rates,
    RCIGInfo,
    RCIGKnobs,
    RCIGState,
    averaged,
)
from isa_toolkit.methods.rcig_step import rcig_step
from isa_toolkit.methods.target_loss import TargetLossSettings
from isa_toolkit.networks import Network
from isa_toolkit.networks.pool import init_pool
from isa_toolkit.presets import preset, published_rows

__all__ = ["RCIG"]

# Of every released configuration but depth 5 (.05).
_RIDGE, _LEARNING_RATE = 5e-4, 3e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class RCIG(TargetLossSettings, LabelsAsGiven):
    """Settings of RCIG, with crucial samples and ISA switched on.

    ``RCIG(drop_easy=0, segment=(0, 0))`` is RCIG itself. Its network is the ConvNet with
    a smooth ReLU and no norm (``NetworkSettings(name="convnet_smooth")``), taken where an
    experiment names none.

    Attributes:
        loss: ``"cross_entropy"`` at a learned temperature, or ``"mse"``, half the sum of
            squares over classes.
        drop_easy: share of each target batch to drop from the easy end, in [0, 1).
        drop_hard: share to drop from the hard end, in [0, 1).
        segment: ends (a, b) of the ISA segment in units of ``z_i - z_partner``, within
            [-1, 0] for the cross-entropy. None for (-1, 0) with the cross-entropy and
            (0, .5) with the squared error; (0, 0) without a partner.
        partner: ``"nearest"`` kept target by cosine of the features, ``"random"`` kept
            target, or ``"none"`` (needs segment (0, 0)).
        ridge: absolute, per distilled image: ``l2 = ridge IPC C``; None for the published
            one (5e-4, at depth 5 .05).
        flips: double the distilled set with mirrored copies; None for the published
            choice of the data set (for your own data: no).
        learn_labels: step the labels, too.
        label_margin: add the label-margin hinge, here up to 1/(2C).
        learning_rate: AdaBelief's, of images and labels; None for the published 3e-3 (for
            digits our own).
        temperature_learning_rate: AdaBelief's, of the log temperature.
        average_decay: of the running mean that is the result, in [0, 1).
        inner_steps: Adam steps of the inner problem, and as many of the
            inverse-Hessian-vector product.
        inner_learning_rate: of the former at step 0.
        solve_learning_rate: of the latter at step 0.
        tune: let both rates grow at step 0 until a run fails to fall at every step, and
            the inner one follow every 50 steps; False keeps them.
        distilled_subset: random distilled images, mirrored ones included, that carry a
            gradient in one step; 0 for all, None for the published number.
        target_subset: random real images that do; 0 for all, None for the published
            number.
        pool_size: number of networks.
        max_online_updates: a network that has reached this age is replaced.
        most_online_steps: a network takes 1 to so many steps when it was used.
        online_learning_rate: Adam's, of the networks.

    Raises:
        ValueError: a value out of its range, a combination that has no meaning.

    Source: algorithms 4.3, 5.2 and 8; crucial samples and ISA on it are the proposal of
    section 10, the paper's own form is UNKNOWN. That sub-sampled gradients are not scaled
    up, and that an age counts Adam steps, is our reading.
    **Deviation:** the loss of the pool is not divided by C, which Adam does not notice;
    the dense kernel has no tangent at all (section 8 tells of a leak). What the "two
    partial backward passes" of one released configuration are is UNKNOWN to us; if they are
    the sum over two disjoint subsets of rows, one pass over both (``distilled_subset``
    twice as large) is the same, and only takes more memory.
    """

    loss: str = "cross_entropy"
    drop_easy: float = 0.2
    drop_hard: float = 0.0
    segment: tuple[float, float] | None = None
    partner: str = "nearest"
    ridge: float | None = None
    flips: bool | None = None
    learn_labels: bool = True
    label_margin: bool = True
    learning_rate: float | None = None
    temperature_learning_rate: float = 3e-2
    average_decay: float = 0.99
    inner_steps: int = 20
    inner_learning_rate: float = 1e-5
    solve_learning_rate: float = 5e-5
    tune: bool = True
    distilled_subset: int | None = None
    target_subset: int | None = None
    pool_size: int = 30
    max_online_updates: int = 100
    most_online_steps: int = 15
    online_learning_rate: float = 5e-5

    name = "rcig"
    # Algorithms 2.1 and 4.3.
    traits = Traits(network="convnet_smooth", protocol="rcig")

    def __post_init__(self) -> None:
        self._check_target_loss()
        for name in ("ridge", "learning_rate"):
            if getattr(self, name) is not None:
                checks.check_at_least(name, getattr(self, name), 0)
        for name in (
            "temperature_learning_rate",
            "inner_learning_rate",
            "solve_learning_rate",
            "online_learning_rate",
        ):
            checks.check_at_least(name, getattr(self, name), 0)
        for name in ("learn_labels", "label_margin", "tune"):
            checks.check_boolean(name, getattr(self, name))
        if self.flips is not None:
            checks.check_boolean("flips", self.flips)
        checks.check_fraction("average_decay", self.average_decay)
        for name in ("inner_steps", "pool_size", "most_online_steps"):
            checks.check_integer(name, getattr(self, name))
        checks.check_integer("max_online_updates", self.max_online_updates)
        for name in ("distilled_subset", "target_subset"):
            if getattr(self, name) is not None:
                checks.check_integer(name, getattr(self, name), minimum=0)

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> RCIG:
        """Return the settings with what depends on the data set filled in.

        Args:
            dataset: registered name.
            images_per_class: IPC.
            num_classes: C; nothing depends on it.

        Returns:
            Settings in which nothing is None.
        """
        del num_classes
        names = ("ridge", "flips", "learning_rate", "distilled_subset", "target_subset")
        open_ones = [name for name in names if getattr(self, name) is None]
        chosen = {
            "ridge": _RIDGE,
            "flips": False,
            "learning_rate": _LEARNING_RATE,
            "distilled_subset": 0,
            "target_subset": 0,
        }
        if open_ones and dataset in published_rows("rcig"):
            chosen |= preset("rcig", dataset, images_per_class)
        return dataclasses.replace(
            self,
            segment=self.chosen_segment,
            **{name: chosen[name] for name in open_ones},
        )

    def static(self) -> RCIG:
        """Return the settings with every knob at a fixed value: what is compiled in.

        Returns:
            Settings that are equal for all runs that can share one program.
        """
        return compiled_part(
            self,
            "ridge",
            "learning_rate",
            "temperature_learning_rate",
            "inner_learning_rate",
            "solve_learning_rate",
            "online_learning_rate",
        )

    def knobs(self, *, steps: int) -> RCIGKnobs:
        """Return the traced numbers of a run.

        Args:
            steps: its length; nothing depends on it, the learning rates are constant.

        Returns:
            The knobs, float32 scalars.
        """
        del steps
        numbers = (
            self.drop_easy,
            self.drop_hard,
            *self.chosen_segment,
            _RIDGE if self.ridge is None else self.ridge,
            _LEARNING_RATE if self.learning_rate is None else self.learning_rate,
            self.temperature_learning_rate,
            self.inner_learning_rate,
            self.solve_learning_rate,
            self.online_learning_rate,
        )
        return traced(RCIGKnobs, *numbers)

    def build(self, network: Network) -> Method:
        """Return the method for one network.

        Args:
            network: of the pool.

        Returns:
            ``init``, ``step`` and ``distilled``.

        Raises:
            ValueError: the network has no dense layer on its features.
        """
        head = head_place(network)

        def init(
            key: Key[Array, ""],
            images: Float[Array, "m h w ch"],
            labels: Float[Array, "m c"],
        ) -> RCIGState:
            learned = (images, labels, jnp.zeros((), images.dtype))
            none = jnp.zeros((), jnp.int32)
            return RCIGState(
                *learned,
                optimizer=OPTIMIZERS["adabelief"].init(learned),
                average=jax.tree.map(jnp.zeros_like, learned),
                pool=init_pool(
                    key,
                    network,
                    size=self.pool_size,
                    max_age=self.max_online_updates,
                    stagger=False,
                ),
                # Replaced by the knobs at step 0.
                rates=Rates(
                    jnp.zeros((), images.dtype),
                    jnp.zeros((), images.dtype),
                    none,
                    none,
                ),
                step=none,
            )

        def step(
            key: Key[Array, ""], state: RCIGState, batch: Batch, knobs: RCIGKnobs
        ) -> tuple[RCIGState, RCIGInfo]:
            return rcig_step(self, network, head, key, state, batch, knobs)

        def distilled(state: RCIGState) -> tuple[Array, Array]:
            return averaged(state, self.average_decay)

        return Method(init, step, distilled, QUANTITIES, REMEDIES)
