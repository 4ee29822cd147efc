"""What a method is: settings, and two pure functions of them.

The settings are a frozen dataclass that is a pytree: its traced fields are leaves, so
changing one never recompiles; ``static`` marks the fields that are compiled in. ``init``
and ``step`` take the settings as their first argument.
"""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from isa_toolkit import checks
from isa_toolkit.annotations import field_types
from isa_toolkit.checks import ROUNDING

_Value = TypeVar("_Value")
_Settings = TypeVar("_Settings")

Sampling = Literal["epochs", "per_class", "none"]


class Batch(NamedTuple):
    """Input of one step.

    images: Preprocessed real images, [n, h, w, ch]; with sampling ``"per_class"`` class
        after class, the same number of each; with ``"none"`` empty.
    labels: Centred one-hot labels, [n, c].
    extra: What ``Method.prepare`` returned; () for a method without it.
    progress: Fraction of the run's steps that are done, in [0, 1], [].
    """

    images: Float[Array, "n h w ch"]
    labels: Float[Array, "n c"]
    extra: PyTree = ()
    progress: Float[Array, ""] | float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """A distillation method: one entry of ``METHODS``.

    Attributes:
        name: Registered name.
        settings: Settings dataclass. Its ``resolve(dataset=, images_per_class=,
            num_classes=)``, from the registered name of the data set and two numbers,
            returns settings in which no traced field is None.
        init: ``(settings, network, key, images, labels) -> state`` from resolved settings,
            the network of the distillation, a random key, the first distilled images
            [m, h, w, ch], class after class, and their centred one-hot labels [m, c].
        step: ``(settings, network, key, state, batch) -> (state, info)`` with the random
            key of this step. The state holds everything the next step needs;
            ``info.failure`` is 0, or 1 + the index in ``quantities`` of the first quantity
            that is not finite.
        sampling: How the real images of a step are drawn: shuffled ``"epochs"`` of the
            training set, ``"per_class"`` (so many of each class, anew each step) or
            ``"none"``.
        batch_size: Published number of real images in a step: in all, of each class, or 0.
        network: Name of the architecture that the method is published with.
        protocol: Name of the evaluation protocol that the method is published with.
        quantities: What ``info.failure`` can name, in the order of computation.
        remedies: Quantity -> one sentence on what to try, with settings in braces.
        distilled: ``state -> (images, labels)``.
        learned: ``state -> {name: number}``: what belongs to the distilled set besides
            images and labels, such as a learned step size.
        prepare: ``(settings, network, images, labels, cache_folder, *, progress,
            check_cancelled) -> Batch.extra`` from the training set (network inputs
            [n, h, w, ch] and class indices [n]), or None. The result depends on static
            settings, the network and the data only; what is written to ``cache_folder``
            is found again by every run. ``check_cancelled`` raises to end it.
        prepared_bytes: ``(settings, network) -> int``: size of what ``prepare`` writes.
    """

    name: str
    settings: type
    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Any]]
    quantities: tuple[str, ...]
    sampling: Sampling = "epochs"
    batch_size: int = 1024
    network: str = "convnet"
    protocol: str = "isa"
    remedies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    distilled: Callable[[Any], Any] = operator.attrgetter("images", "labels")
    learned: Callable[[Any], dict[str, Array]] = lambda state: {}
    prepare: Callable[..., PyTree] | None = None
    prepared_bytes: Callable[..., int] | None = None


def static(default: _Value) -> _Value:
    """Return a dataclass field that is compiled in: part of the tree's structure."""
    return dataclasses.field(default=default, metadata={"static": True})


def static_fields(settings: Any) -> dict[str, Any]:
    """Return the settings that are compiled in, by name."""
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.metadata.get("static")
    }


def as_arrays(settings: _Settings) -> _Settings:
    """Return resolved settings with each traced number as a float32 array."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), settings)


def required(settings: Any, name: str) -> Any:
    """Return a setting that ``resolve`` fills in."""
    value = getattr(settings, name)
    if value is None:
        raise checks.fail(name, "be resolved", None, "Call resolve first.")
    return value


def first_failure(*quantities: PyTree) -> Int[Array, ""]:
    """Return 0 if all quantities are finite, else 1 + the index of the first that is not.

    The quantities are trees of arrays, in the order of ``Method.quantities``.
    """
    sums = [sum(map(jnp.sum, jax.tree.leaves(quantity))) for quantity in quantities]
    flags = jnp.stack([jnp.isfinite(jnp.asarray(total)) for total in sums])
    return jnp.where(jnp.all(flags), 0, 1 + jnp.argmin(flags)).astype(jnp.int32)


def accuracy_of(
    prediction: Float[Array, "n c"], labels: Float[Array, "n c"]
) -> Float[Array, ""]:
    """Return the fraction of samples whose class has the largest prediction."""
    right = jnp.argmax(prediction, -1) == jnp.argmax(labels, -1)
    return jnp.mean(right.astype(jnp.float32))


def dropped_fractions(
    settings: Any,
    progress: Float[Array, ""] | float,
    accuracy: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return ``drop_easy`` and ``drop_hard`` of a step: 0 until the selection sets in.

    It does from the fraction ``select_from`` of the steps on, and where the ``accuracy`` of
    the predictor on the batch, which not every method has, is at least
    ``select_from_accuracy``.

    Source: docs/algorithms.md, section 6.5.
    """
    sets_in = progress >= settings.select_from * (1 - ROUNDING)
    if accuracy is not None:
        sets_in &= accuracy >= settings.select_from_accuracy * (1 - ROUNDING)
    easy = jnp.where(sets_in, settings.drop_easy, 0.0)
    return easy, jnp.where(sets_in, settings.drop_hard, 0.0)


def add_flips(
    images: Float[Array, "m h w ch"], labels: Float[Array, "m c"]
) -> tuple[Float[Array, "2*m h w ch"], Float[Array, "2*m c"]]:
    """Return a set followed by its horizontal flips, under the same labels."""
    return jnp.concatenate([images, images[:, :, ::-1]]), jnp.concatenate([labels] * 2)


def has_values(settings: Any) -> bool:
    """Return whether the traced fields hold what a user gives, so that it can be checked.

    JAX rebuilds settings with tracers, arrays and placeholders in place of numbers, and
    ``__post_init__`` runs then, too.
    """
    return all(isinstance(leaf, Real | str) for leaf in jax.tree.leaves(settings))


def default_segment(loss: str, partner: str) -> tuple[float, float]:
    """Return the segment that a loss is averaged over where none is chosen.

    (0, .5) for the squared error, as the released ISA code. (0, 0), no augmentation, for
    the cross-entropy: all segments on which it is bounded lie towards the partner, and that
    is the opposite regulariser of (0, .5), not measured to help. (0, 0) without a partner.

    Source: docs/algorithms.md, section 6.1, "Sign", and section 10.
    """
    is_plain = partner == "none" or loss == "cross_entropy"
    return (0.0, 0.0) if is_plain else (0.0, 0.5)


def check_selection(
    settings: Any, prefix: str = "", *, cross_entropy: bool = False
) -> None:
    """Refuse a selection or segment without a meaning; make the segment two floats.

    The settings have ``drop_easy`` and ``drop_hard`` and may have ``select_from``,
    ``select_from_accuracy``, ``segment`` and ``partner``, all after ``prefix``. A segment of
    None is left to ``resolve``. One that a ``cross_entropy`` is averaged along has to lie in
    [-1, 0].
    """
    easy, hard = f"{prefix}drop_easy", f"{prefix}drop_hard"
    dropped = sum(
        checks.check_number(name, getattr(settings, name), at_least=0, below=1)
        for name in (easy, hard)
    )
    if dropped >= 1:
        raise checks.fail(
            f"{easy} + {hard}", "be below 1", dropped, "Keep at least some samples."
        )
    for name in (f"{prefix}select_from", f"{prefix}select_from_accuracy"):
        if hasattr(settings, name):
            checks.check_number(name, getattr(settings, name), at_least=0, at_most=1)
    name = f"{prefix}segment"
    hint = field_types(type(settings)).get(name)
    if hint is None:
        return
    segment = getattr(settings, name)
    if segment is None and types.NoneType in typing.get_args(hint):
        return
    if not isinstance(segment, tuple | list) or len(segment) != 2:
        raise checks.fail(name, "be a pair (start, stop)", segment)
    ends = tuple(checks.check_number(name, end) for end in segment)
    object.__setattr__(settings, name, ends)
    partner = getattr(settings, f"{prefix}partner", None)
    if isinstance(partner, str) and partner == "none" and ends != (0, 0):
        raise checks.fail(
            name,
            f"be (0, 0) when {prefix}partner is 'none'",
            ends,
            f"Use {prefix}partner='nearest' for semantic augmentation.",
        )
    inside = all(-1 <= end <= 0 for end in ends)
    if cross_entropy and not inside and partner != "same_class":
        raise checks.fail(
            name,
            "lie in [-1, 0] for a cross-entropy",
            ends,
            "Beyond it a virtual label weighs another class negatively, so the "
            "cross-entropy is unbounded below. Use (0, 0), no augmentation, or (-1, 0), the "
            "whole way to the partner.",
        )
