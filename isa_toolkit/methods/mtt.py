"""MTT, matching training trajectories (Cazenavette et al., 2022), with crucial samples and ISA.

Reads like section 4.6 of docs/algorithms.md: pick an expert and an epoch, train a student
from there on the distilled images for a few steps, compare where it ends with where the
expert is some epochs later, differentiate through the student's whole training, step the
images and the student's step size. Real images enter through the experts alone, see
:mod:`isa_toolkit.methods.expert_buffer`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
from isa_toolkit.losses import crucial
from isa_toolkit.losses.matching import trajectory_loss
from isa_toolkit.losses.selection import Partner
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
from isa_toolkit.methods.expert_buffer import (
    ExpertSettings,
    flat_size,
    load_or_train_experts,
    unravel_of,
)
from isa_toolkit.networks.base import Network
from isa_toolkit.networks.training import cross_entropy
from isa_toolkit.presets import preset

Scalar = Float[Array, ""]


class State(NamedTuple):
    """Everything an MTT run carries from one step to the next.

    images: Distilled images, [m, h, w, ch].
    labels: Centred one-hot labels, never changed, [m, c].
    rate: Step size of the student, always above 0, [].
    optimizer: Momentum of (images, rate).
    """

    images: Float[Array, "m h w ch"]
    labels: Float[Array, "m c"]
    rate: Scalar
    optimizer: PyTree


class Info(NamedTuple):
    """Diagnostics of one step, before its update.

    loss: Mean over the kept candidates, [].
    kept: Number of candidates kept, [].
    rate: Step size of the student, [].
    failure: 0, or 1 + the index in ``quantities`` of what is not finite, [].
    """

    loss: Scalar
    kept: Scalar
    rate: Scalar
    failure: Int[Array, ""]


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MTT:
    """Settings of MTT, with crucial samples and ISA switched on.

    ``MTT(candidates=1, drop_easy=0, segment=(0, 0))`` is MTT itself. The paper gives no
    formulas for MTT, so both forms of its ideas are our reading. *Segments* (P2): real
    samples are replaced by pieces of trajectories; several candidates are drawn, the easy
    ones dropped, and the target is averaged along the expert's last epoch. *Experts* (P1,
    the ``expert_`` names): samples are dropped, and features mixed, while the experts are
    trained.

    None in any field stands for the published value of the data set and the images per
    class (docs/algorithms.md, section 4.6, table A).

    Attributes:
        drop_easy: Fraction of the candidates to drop from the easy end (small loss), in
            [0, 1).
        drop_hard: Fraction of the candidates to drop from the hard end, in [0, 1).
        select_from: Fraction of the steps after which candidates are dropped, in [0, 1]: 0
            from the start, 1 never. Until then all are kept; the segment applies throughout.
        segment: Ends (a, b) of the target's segment in units of the expert's last epoch: 0
            is the target itself, -1 one epoch before it, above 0 beyond it.
        candidates: Number of trajectory pieces (expert and first epoch) per step; a step
            costs as many times as much.
        student_steps: Number N of unrolled steps of the student.
        target_epochs: Number M of epochs of the expert that the student is to reach.
        max_start_epoch: Number T+ of start epochs: pieces start at epoch 0 .. T+ - 1.
        student_batch_size: Number of distilled images in a step of the student; None also
            where the published value is all of them.
        student_learning_rate: First step size of the student; learned from there.
        learning_rate: Learning rate of the images.
        rate_learning_rate: Learning rate of the step size.
        momentum: Momentum of images and step size, in [0, 1).
        ops: Operations of DSA's augmentation, for student and experts; None for the
            published ones of the data set or, of an unknown one, by number of channels;
            empty for none.
        expert_count: Number of experts.
        expert_epochs: Number of epochs of each expert.
        expert_learning_rate: Learning rate of the experts' SGD.
        expert_batch_size: Number of real images in a step of an expert.
        expert_drop_easy: Fraction of each of their minibatches to drop from the easy end, in
            [0, 1).
        expert_drop_hard: Fraction of each of their minibatches to drop from the hard end, in
            [0, 1).
        expert_segment: Ends (a, b) of the segment that their loss is averaged over, in units
            of ``z_i - z_partner`` at the penultimate layer; within [-1, 0] unless partners
            have the same class, since a cross-entropy has no lower bound beyond.
        expert_partner: Partner of each kept sample of their minibatches: ``"nearest"`` by
            cosine, ``"random"``, the nearest of the ``"same_class"``, or ``"none"`` (needs
            segment (0, 0)).
        expert_seed: Seed of the experts; runs that have the same ``expert_`` settings have
            the same experts.

    Raises:
        InvalidValueError: A value out of its range, a combination that has no meaning.
        InvalidTypeError: A value of the wrong type, an unknown keyword.

    Example:
        >>> from isa_toolkit import MTT
        >>> settings = MTT(student_steps=20)
        >>> settings.resolve(
        ...     dataset="cifar10", images_per_class=1, num_classes=10
        ... ).expert_count
        100

    Source: docs/algorithms.md, section 4.6; crucial samples and ISA: section 10 (P1, P2).
    **Deviation:** the step size a is multiplied by ``exp(-rate_learning_rate v / a)``
    (v its momentum) instead of ``rate_learning_rate v`` being subtracted: equal to first
    order, and a stays positive. Pieces are drawn at random rather than expert by expert.
    A student's batches are full; what is left over of a permutation is left out.
    """

    drop_easy: float = 0.2
    drop_hard: float = 0.0
    select_from: float = 0.0
    segment: tuple[float, float] = (0.0, 0.5)
    candidates: int = static(4)
    student_steps: int | None = static(None)
    target_epochs: int | None = static(None)
    max_start_epoch: int | None = static(None)
    student_batch_size: int | None = static(None)
    student_learning_rate: float | None = None
    learning_rate: float | None = None
    rate_learning_rate: float | None = None
    momentum: float = 0.5
    ops: tuple[str, ...] | None = static(None)
    # Static: what `prepare` reads.
    expert_count: int | None = static(None)
    expert_epochs: int | None = static(None)
    expert_learning_rate: float | None = static(None)
    expert_batch_size: int | None = static(None)
    expert_drop_easy: float = static(0.0)
    expert_drop_hard: float = static(0.0)
    expert_segment: tuple[float, float] = static((0.0, 0.0))
    expert_partner: Partner = static("none")
    expert_seed: int = static(0)

    name = "mtt"
    __repr__ = checks.short_repr

    def __post_init__(self) -> None:
        if not has_values(self):
            return
        check_selection(self)
        check_selection(self, "expert_", cross_entropy=True)
        check_settings(
            self,
            fractions=("momentum",),
            positive=("student_learning_rate", "expert_learning_rate"),
        )
        if self.candidates == 1 and self.drop_easy + self.drop_hard > 0:
            raise checks.fail(
                "candidates",
                "be at least 2 where drop_easy or drop_hard is above 0",
                1,
                "Draw more, or keep everything with drop_easy=0.",
            )
        if self.ops is not None:
            # A tuple, whatever was given: static settings are keys of compiled programs.
            ops = checks.check_names("ops", self.ops, DSA_OPS)
            object.__setattr__(self, "ops", ops)
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

        Only ``ops`` may be None then. Values of no published row come with a warning.
        """
        total = images_per_class * num_classes
        filled = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.default is None and field.name != "ops"
        }
        missing = [name for name, value in filled.items() if value is None]
        if missing:
            row = preset("mtt", dataset, images_per_class)
            filled.update({name: row.get(name) for name in missing})
        batch_size = filled["student_batch_size"] or total
        filled["student_batch_size"] = min(batch_size, total)
        filled["ops"] = DSA_NAMED_OPS.get(dataset) if self.ops is None else self.ops
        return dataclasses.replace(self, **filled)


def _ops(settings: MTT, network: Network) -> tuple[str, ...]:
    if settings.ops is None:
        return dsa_default_ops(network.image_shape)
    return settings.ops


def init(
    settings: MTT,
    network: Network,
    key: Key[Array, ""],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
) -> State:
    """Return the first state."""
    del network, key
    first = required(settings, "student_learning_rate")
    rate = jnp.full_like(images, first, shape=())
    return State(
        images, labels, rate, optax.trace(settings.momentum).init((images, rate))
    )


def step(
    settings: MTT, network: Network, key: Key[Array, ""], state: State, batch: Batch
) -> tuple[State, Info]:
    """Return the state after one outer step, and its diagnostics.

    Source: docs/algorithms.md, section 4.6, and P2 of section 10.
    """
    trajectories: Float[Array, "e s p"] = batch.extra
    ahead = required(settings, "target_epochs")
    expert_key, epoch_key, student_key = jax.random.split(key, 3)
    shape = (settings.candidates,)
    chosen = jax.random.randint(expert_key, shape, 0, trajectories.shape[0])
    epochs = jax.random.randint(
        epoch_key, shape, 0, required(settings, "max_start_epoch")
    )
    keys = jax.random.split(student_key, settings.candidates)

    def distance(learned: tuple[Array, Scalar], fixed: PyTree) -> Scalar:
        images, rate = learned
        labels, own_key, (first, before, target), segment = fixed
        end = unroll(
            network,
            first,
            images,
            labels,
            rate,
            own_key,
            steps=required(settings, "student_steps"),
            batch_size=required(settings, "student_batch_size"),
            ops=_ops(settings, network),
        )
        return trajectory_loss(end, first, before, target, segment)

    def loss_of(learned: tuple[Array, Scalar]) -> tuple[Scalar, Array]:
        def candidate(drawn: PyTree) -> Scalar:
            expert, epoch, own_key = drawn
            ends = (epoch, epoch + ahead - 1, epoch + ahead)
            points = tuple(trajectories[expert, end] for end in ends)
            fixed = (state.labels, own_key, points, settings.segment)
            return skip_unused(distance)(learned, fixed)

        if jax.default_backend() == "cpu":
            # One after the other: batched candidates mean grouped convolutions, and no
            # backward pass could be left out. (`batch_size=1` would be a `vmap`, too.)
            losses = jax.lax.map(candidate, (chosen, epochs, keys))
        else:
            losses = jax.vmap(candidate)((chosen, epochs, keys))
        easy, hard = dropped_fractions(settings, batch.progress)
        weights = crucial.select(losses, drop_easy=easy, drop_hard=hard)
        return crucial.weighted_mean(losses, weights), weights

    learned = (state.images, state.rate)
    (loss, weights), gradient = jax.value_and_grad(loss_of, has_aux=True)(learned)
    momentum: Any
    momentum, moments = optax.trace(settings.momentum).update(gradient, state.optimizer)
    images = state.images - required(settings, "learning_rate") * momentum[0]
    # To first order rate - rate_learning_rate * momentum, and never below 0.
    change = -required(settings, "rate_learning_rate") * momentum[1] / state.rate
    rate = (state.rate * jnp.exp(change)).astype(state.rate.dtype)
    info = Info(
        loss=loss,
        kept=jnp.sum(weights),
        rate=state.rate,
        failure=first_failure(
            trajectories[chosen, epochs + ahead],
            jnp.where(state.rate > 0, state.rate, jnp.nan),
            loss,
            gradient,
        ),
    )
    return State(images, state.labels, rate, moments), info


def unroll(
    network: Network,
    theta: Float[Array, " p"],
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    rate: Scalar,
    key: Key[Array, ""],
    *,
    steps: int,
    batch_size: int,
    ops: tuple[str, ...],
) -> Float[Array, " p"]:
    """Return the flat parameters [p] where a student ends, trained on the distilled images.

    ``theta <- theta - rate * grad CE(batch)`` under DSA, parameters drawn per image. The
    batch is everything, or consecutive pieces of reshuffled permutations; the largest entry
    of a row of labels is its class. The inside of each step is computed again in the
    backward pass, so that one parameter vector and no activations are kept per step.

    Source: docs/algorithms.md, section 4.6; rematerialisation is the remedy of section 11.
    """
    unravel, norms = unravel_of(network)
    order_key, augment_key = jax.random.split(key)
    count = images.shape[0]
    epochs = -(-steps // (count // batch_size))
    if batch_size < count:
        whole = (count // batch_size) * batch_size
        orders = jax.vmap(lambda own: jax.random.permutation(own, count)[:whole])(
            jax.random.split(order_key, epochs)
        )
        indices = orders.reshape(-1, batch_size)[:steps]
    else:
        indices = jnp.broadcast_to(jnp.arange(count), (steps, count))

    def inner(
        theta: Float[Array, " p"], drawn: tuple[Int[Array, " b"], Key[Array, ""]]
    ) -> tuple[Float[Array, " p"], None]:
        chosen, own_key = drawn
        batch = augment(own_key, images[chosen], ops=ops, kind="dsa")

        def loss_of(theta: Float[Array, " p"]) -> Scalar:
            logits = network.apply(unravel(theta), norms, batch, train=True).logits
            return jnp.mean(cross_entropy(logits, labels[chosen]))

        return theta - rate * jax.grad(loss_of)(theta), None

    # In a scan XLA cannot merge the second computation with the first.
    body = jax.checkpoint(inner, prevent_cse=False)
    keys = jax.random.split(augment_key, steps)
    return jax.lax.scan(body, theta, (indices, keys))[0]


def skip_unused(
    function: Callable[[PyTree, PyTree], Scalar],
) -> Callable[[PyTree, PyTree], Scalar]:
    """Return the same function, its backward pass left out where nothing depends on it.

    A candidate that is dropped has a cotangent of 0; going back through its student's
    training costs three times as much as going forward. Under ``vmap`` nothing is left
    out. The result is differentiable in its first argument.
    """

    @jax.custom_vjp
    def call(learned: PyTree, fixed: PyTree) -> Scalar:
        return function(learned, fixed)

    def forward(learned: PyTree, fixed: PyTree) -> tuple[Scalar, PyTree]:
        value, pull = jax.vjp(lambda own: function(own, fixed), learned)
        return value, (pull, learned)

    def backward(kept: PyTree, cotangent: Scalar) -> tuple[PyTree, None]:
        pull, learned = kept
        gradient = jax.lax.cond(
            cotangent != 0,
            lambda: pull(cotangent)[0],
            lambda: jax.tree.map(jnp.zeros_like, learned),
        )
        return gradient, None

    call.defvjp(forward, backward)
    return call


def prepared_bytes(settings: MTT, network: Network) -> int:
    """Return the size of the expert buffer on the disk, in bytes."""
    snapshots = required(settings, "expert_epochs") + 1
    return 4 * required(settings, "expert_count") * snapshots * flat_size(network)


def prepare(
    settings: MTT,
    network: Network,
    images: Float[np.ndarray, "n h w ch"],
    labels: Int[np.ndarray, " n"],
    cache_folder: Path,
    *,
    progress: bool | None = False,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "e s p"]:
    """Return the expert trajectories of a training set, trained once and cached."""
    experts = ExpertSettings(
        learning_rate=required(settings, "expert_learning_rate"),
        drop_easy=settings.expert_drop_easy,
        drop_hard=settings.expert_drop_hard,
        segment=settings.expert_segment,
        partner=settings.expert_partner,
        batch_size=required(settings, "expert_batch_size"),
        ops=_ops(settings, network),
    )
    return load_or_train_experts(
        experts,
        network,
        images,
        labels,
        cache_folder,
        count=required(settings, "expert_count"),
        epochs=required(settings, "expert_epochs"),
        # The last piece starts at T+ - 1 and ends M epochs later.
        snapshots=required(settings, "max_start_epoch")
        + required(settings, "target_epochs"),
        seed=settings.expert_seed,
        progress=progress,
        check_cancelled=check_cancelled,
    )


QUANTITIES = (
    "the experts' trajectories",
    "the student's step size",
    "the loss",
    "the gradient",
)

METHOD = Method(
    name="mtt",
    settings=MTT,
    init=init,
    step=step,
    quantities=QUANTITIES,
    sampling="none",
    batch_size=0,
    network="convnet_in",
    protocol="dsa",
    remedies={
        QUANTITIES[0]: "Lower expert_learning_rate (now {expert_learning_rate:g}).",
        QUANTITIES[1]: "Lower rate_learning_rate (now {rate_learning_rate:g}).",
        QUANTITIES[2]: "Lower student_learning_rate (now {student_learning_rate:g}) or "
        "learning_rate (now {learning_rate:g}).",
    },
    learned=lambda state: {"student_learning_rate": state.rate},
    prepare=prepare,
    prepared_bytes=prepared_bytes,
)
