"""What a method is: settings that build a pair of pure functions.

A method's settings are a frozen dataclass (``FRePo(drop_easy=0.2)``); ``build`` turns them
into a :class:`Method` for one network, and ``knobs`` into the traced numbers that a step
takes. What is in the knobs never recompiles; what is not is compiled in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from isa_toolkit.networks.base import Network

__all__ = [
    "DRAWINGS",
    "Batch",
    "LabelsAsGiven",
    "Method",
    "MethodSettings",
    "Shards",
    "Traits",
    "compiled_part",
    "first_failure",
    "traced",
    "traits_of",
]

_Settings = TypeVar("_Settings")
_Knobs = TypeVar("_Knobs")

# How the target samples of a step are drawn.
DRAWINGS = ("uniform", "per_class", "none")


class Batch(NamedTuple):
    """Target samples of one step.

    images: preprocessed real images, [n, h, w, ch]; of ``"per_class"`` drawing class
        after class, the same number of each; of ``"none"`` empty.
    labels: centred one-hot, [n, c].
    extra: what ``Method.shards`` made, whole; () for a method that needs none.
    """

    images: Float[Array, "n h w ch"]
    labels: Float[Array, "n c"]
    extra: PyTree = ()


class Traits(NamedTuple):
    """What a method asks of the loop, and in which form it has the paper's two ideas.

    A settings class carries it as ``traits``; one that says nothing is like FRePo.

    drawing: one of ``DRAWINGS``: shuffled epochs of the whole training set, so many of
        each class drawn anew without replacement each step, or no real images at all.
    draws: published number of them: in all, of each class, or 0.
    network: name of the architecture it is published with.
    protocol: name of the evaluation protocol it is published with.
    crucial: what is scored and dropped.
    isa: what is averaged along a segment.
    """

    drawing: str = "uniform"
    draws: int = 1024
    network: str = "convnet"
    protocol: str = "isa"
    crucial: str = "each target sample, by the loss of its prediction"
    isa: str = "the loss of each kept sample, along its own segment"


def traits_of(settings: Any) -> Traits:
    """Return the traits of a method's settings: FRePo's where it says nothing."""
    return getattr(settings, "traits", Traits())


def compiled_part(settings: _Settings, *knobs: str) -> _Settings:
    """Return the settings with every knob at a fixed value: what is compiled in.

    Args:
        settings: a frozen dataclass with ``drop_easy``, ``drop_hard`` and ``segment``.
        knobs: names of the others that are traced; they become 0.

    Returns:
        Settings that are equal for all runs that can share one program.
    """
    made: Any = settings
    return dataclasses.replace(
        made,
        drop_easy=0.0,
        drop_hard=0.0,
        segment=(0.0, 0.0),
        **dict.fromkeys(knobs, 0.0),
    )


def traced(kind: Callable[..., _Knobs], *numbers: float) -> _Knobs:
    """Return knobs as float32 scalars.

    Args:
        kind: their named tuple.
        numbers: in its order.
    """
    return kind(*(jnp.asarray(number, jnp.float32) for number in numbers))


class LabelsAsGiven:
    """Settings of a method that starts with centred one-hot labels, not scaled."""

    def first_labels(self, labels: Float[Array, "m c"]) -> Float[Array, "m c"]:
        """Return the labels that the distilled set starts with: those given.

        Args:
            labels: centred one-hot, [m, c].

        Returns:
            The same.

        Source: algorithms 1.1 and 1.2.
        """
        return labels


class Shards(NamedTuple):
    """Data that a method makes once, keeps beside the runs and shares between them.

    kind: what it is, a word for the folder.
    description: everything that its numbers depend on, JSON-able; its hash names the
        folder.
    sizes: bytes of each shard.
    make: ``(index, heed) -> {name: array}``: a pure function of the description and the
        index. It calls ``heed`` every few seconds, which raises if it is to stop.
    gather: ``[shard, ...] -> pytree``: what goes to the device as ``Batch.extra``.
    """

    kind: str
    description: dict[str, Any]
    sizes: tuple[int, ...]
    make: Callable[[int, Callable[[], None]], dict[str, np.ndarray]]
    gather: Callable[[Sequence[dict[str, np.ndarray]]], PyTree]


def _no_numbers(state: PyTree) -> dict[str, Array]:
    del state
    return {}


class Method(NamedTuple):
    """A distillation method, ready to run.

    init: ``(key, images, labels) -> state`` from the first distilled images
        [m, h, w, ch] and labels [m, c]; the state is everything the next step needs.
    step: ``(key, state, batch, knobs) -> (state, info)``; ``info.failure`` is 0, or 1 + the
        place in ``quantities`` of the first quantity that is not finite.
    distilled: ``state -> (images, labels)``.
    quantities: what ``info.failure`` can name, in the order of computation.
    remedies: quantity -> one sentence on what to try, with settings in braces.
    learned: ``state -> {name: number}``: what belongs to the distilled set besides
        images and labels, such as a learned step size; goes into its manifest.
    shards: ``(images [n, h, w, ch], labels [n]) -> Shards`` from the whole training set
        (network inputs, class numbers), or None.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Any]]
    distilled: Callable[[PyTree], tuple[Array, Array]]
    quantities: tuple[str, ...]
    remedies: Mapping[str, str] = MappingProxyType({})
    learned: Callable[[PyTree], dict[str, Array]] = _no_numbers
    shards: Callable[..., Shards] | None = None


@runtime_checkable
class MethodSettings(Protocol):
    """What every method's settings dataclass offers."""

    @property
    def name(self) -> str:
        """Return the registered name."""
        ...

    def resolve(self, *, dataset: str, images_per_class: int, num_classes: int) -> Any:
        """Return the settings with what depends on the data set filled in."""
        ...

    def static(self) -> Any:
        """Return the settings with every knob at a fixed value: what is compiled in."""
        ...

    def build(self, network: Network) -> Method:
        """Return the method for one network."""
        ...

    def first_labels(self, labels: Array) -> Array:
        """Return the first distilled labels from centred one-hot ones."""
        ...

    def knobs(self, *, steps: int) -> PyTree:
        """Return the traced numbers of a run of ``steps`` steps."""
        ...


def first_failure(*finite: Bool[Array, ""]) -> Int[Array, ""]:
    """Return 0 if all are true, else 1 + the place of the first that is not.

    Args:
        finite: one flag per quantity, in the order of ``Method.quantities``.

    Returns:
        The code of ``info.failure``.
    """
    flags = jnp.stack(finite)
    return jnp.where(jnp.all(flags), 0, 1 + jnp.argmin(flags)).astype(jnp.int32)
