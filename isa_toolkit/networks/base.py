"""What a network is to the rest of the toolkit: two pure functions.

``init(key) -> (params, state)`` and
``apply(params, state, images, train=False) -> (logits, features, state)``. Flax Linen sits
underneath: a pool of networks is one stacked pytree under ``vmap``, and Linen's plain
nested dictionaries stack, index and save without a split/merge step (with NNX every
member of the pool would have to be split into a graph definition and a state first).
Which architecture to build is :mod:`isa_toolkit.networks.registry`'s choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

__all__ = ["Network", "NetworkOutput", "count_parameters", "from_module", "make_norm"]

Params = Mapping[str, Any]
State = Mapping[str, Any]


class NetworkOutput(NamedTuple):
    """What a forward pass gives.

    logits: class scores, [n, c].
    features: input of the last dense layer, flattened, not normalised, [n, d].
    state: normalisation statistics after the pass; unchanged unless ``train``.
    """

    logits: Float[Array, "n c"]
    features: Float[Array, "n d"]
    state: PyTree


class Network(NamedTuple):
    """A network for one image shape and class count, ready to run.

    name: the architecture's registered name.
    init: ``(key) -> (params, state)``, a freshly drawn network.
    apply: ``(params, state, images, train=False) -> NetworkOutput``.
    image_shape: (height, width, channels) it was built for.
    num_classes: length of the logits.
    """

    name: str
    init: Callable[[Key[Array, ""]], tuple[PyTree, PyTree]]
    apply: Callable[..., NetworkOutput]
    image_shape: tuple[int, int, int]
    num_classes: int


def from_module(
    name: str, module: nn.Module, *, image_shape: tuple[int, int, int], num_classes: int
) -> Network:
    """Wrap a Linen module whose call gives ``(logits, features)``.

    Args:
        name: the architecture's registered name.
        module: takes ``(images [n,h,w,ch], train: bool)``, keeps its running
            statistics, if any, in the ``batch_stats`` collection.
        image_shape: (height, width, channels).
        num_classes: length of the logits.

    Returns:
        The network.
    """

    def init(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        blank = jnp.zeros((1, *image_shape), jnp.float32)
        variables = dict(module.init(key, blank, train=False))
        params = variables.pop("params")
        return params, variables.get("batch_stats", {})

    def apply(
        params: PyTree,
        state: PyTree,
        images: Float[Array, "n h w ch"],
        train: bool = False,
    ) -> NetworkOutput:
        variables = {"params": params}
        if state:
            variables["batch_stats"] = state
        if train and state:
            (logits, features), updated = module.apply(
                variables, images, train=True, mutable=["batch_stats"]
            )
            return NetworkOutput(logits, features, updated["batch_stats"])
        logits, features = module.apply(variables, images, train=train)
        return NetworkOutput(logits, features, state)

    return Network(name, init, apply, tuple(image_shape), num_classes)


def make_norm(
    norm: str, train: bool, *, decay: float = 0.1
) -> Callable[[Array], Array]:
    """Return the normalisation layer named ``norm``, for use inside a compact module.

    Args:
        norm: ``"batch"`` (epsilon 1e-5, affine), ``"instance"`` (group norm with one
            channel per group, epsilon 1e-5, affine) or ``"none"``.
        train: batch norm uses the statistics of the batch and updates its own.
        decay: weight of the *old* statistics of batch norm, running <- decay running +
            (1 - decay) batch. The default .1 is that of the released ConvNet; the rival
            networks pass .9, which PyTorch calls momentum .1.

    Returns:
        The layer, a function of feature maps [n, h, w, k].

    Source: algorithms 2.1 and 2.3.
    """
    if norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=decay, epsilon=1e-5)
    if norm == "instance":
        return nn.GroupNorm(num_groups=None, group_size=1, epsilon=1e-5)
    return lambda maps: maps


def count_parameters(params: PyTree) -> int:
    """Return the number of trained numbers in ``params``."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
