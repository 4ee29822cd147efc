"""What a method is: settings that build a pair of pure functions.

A method's settings are a frozen dataclass (``FRePo(drop_easy=0.2)``); ``build`` turns them
into a :class:`Method` for one network, and ``knobs`` into the traced numbers that a step
takes. What is in the knobs never recompiles; what is not is compiled in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from isa_toolkit.networks.base import Network

__all__ = ["Batch", "Method", "MethodSettings", "first_failure"]


class Batch(NamedTuple):
    """Target samples of one step.

    images: preprocessed real images, [n, h, w, ch].
    labels: centred one-hot, [n, c].
    """

    images: Float[Array, "n h w ch"]
    labels: Float[Array, "n c"]


class Method(NamedTuple):
    """A distillation method, ready to run.

    init: ``(key, images, labels) -> state`` from the first distilled images
        [m, h, w, ch] and labels [m, c]; the state is everything the next step needs.
    step: ``(key, state, batch, knobs) -> (state, info)``; ``info.failure`` is 0, or 1 + the
        place in ``quantities`` of the first quantity that is not finite.
    distilled: ``state -> (images, labels)``.
    quantities: what ``info.failure`` can name, in the order of computation.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, Any]]
    distilled: Callable[[PyTree], tuple[Array, Array]]
    quantities: tuple[str, ...]


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
