"""Which real images a step sees: shuffled epochs, so many of each class, or none.

All of it is index draws on the device; what a method asks for stands in its
:class:`~isa_toolkit.methods.base.Method`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from isa_toolkit.datasets import Dataset
from isa_toolkit.datasets.device_preprocessing import device_inputs
from isa_toolkit.networks.training import batch_indices

__all__ = ["Targets", "class_indices", "draw", "first_order", "targets"]


class Targets(NamedTuple):
    """The real training set, on the device, or the part of it that some steps see.

    images: preprocessed, or as bytes, [n, h, w, ch]; empty for a method that looks at
        none.
    labels: class numbers, [n].
    extra: what else the method needs; () if nothing.
    numbers: ``DeviceInputs``, which bytes are preprocessed with; () for floats.
    first: of a part: the step that its first images are of, []; () for the whole.
    """

    images: Float[Array, "n h w ch"] | UInt8[Array, "n h w ch"]
    labels: Int[Array, " n"]
    extra: PyTree = ()
    numbers: PyTree = ()
    first: PyTree = ()


def targets(
    data: Dataset,
    *,
    drawing: str,
    extra: PyTree = (),
    as_bytes: bool = False,
    put: Callable[[Any], Array] = jnp.asarray,
) -> Targets:
    """Return the training set of a data set as the loop takes it.

    Args:
        data: its training images.
        drawing: of the method; of ``"none"`` no image goes to the device.
        extra: what else the method needs.
        as_bytes: let the images lie there as bytes and preprocess each batch: a quarter
            of the memory.
        put: brings an array to where it shall lie.

    Returns:
        The targets, on the device.
    """
    if drawing == "none":
        images = np.zeros((0, *data.image_shape), np.float32)
        return Targets(put(images), put(np.zeros((0,), np.int32)), extra)
    labels = put(data.train.labels)
    if as_bytes:
        images = put(np.asarray(data.train.images))
        numbers = jax.tree.map(put, device_inputs(data.preprocessing))
        return Targets(images, labels, extra, numbers)
    return Targets(put(data.inputs("train")), labels, extra)


def class_indices(
    key: Key[Array, ""], labels: Int[Array, " n"], *, num_classes: int, count: int
) -> Int[Array, " m"]:
    """Return ``count`` different samples of each class, class after class.

    Args:
        key: consumed.
        labels: class numbers, [n].
        num_classes: c.
        count: of each class; at most the size of the smallest class.

    Returns:
        Indices, [c * count].

    Source: algorithms 4.5, "256 random real images" of each class.
    """
    size = labels.shape[0]
    draws = jax.random.bits(key, (size,))
    # Sorted by class and, within it, at random: the first of each class are a sample.
    _, _, order = jax.lax.sort((labels, draws, jnp.arange(size)), num_keys=2)
    sizes = jnp.bincount(labels, length=num_classes)
    starts = jnp.cumsum(sizes) - sizes
    return order[starts[:, None] + jnp.arange(count)].reshape(-1)


def first_order(
    key: Key[Array, ""], step: Int[Array, ""], size: int, batch_size: int, drawing: str
) -> Int[Array, " n"]:
    """Return what ``draw`` takes at ``step``: the permutation of its epoch.

    Args:
        key: the root of all orders.
        step: that comes next.
        size: of the training set.
        batch_size: targets per step.
        drawing: the method's ``sampling``.

    Returns:
        A permutation [n]; empty unless it is ``"epochs"``.
    """
    if drawing != "epochs":
        return jnp.zeros((0,), jnp.int32)
    epoch = step // (size // batch_size)
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def draw(
    key: Key[Array, ""],
    step: Int[Array, ""],
    order: Int[Array, " n"],
    labels: Int[Array, " s"],
    *,
    drawing: str,
    batch_size: int,
    num_classes: int,
    first: PyTree = (),
) -> tuple[Int[Array, " b"], Int[Array, " n"]]:
    """Return the samples of one step, and the order to pass on.

    Args:
        key: the root of all orders.
        step: steps taken, [].
        order: from ``first_order`` or the step before.
        labels: class numbers of the training set, [s].
        drawing: the method's ``sampling``, or ``"streamed"``: batch after batch.
        batch_size: b; of per-class drawing a multiple of the number of classes.
        num_classes: c.
        first: of ``"streamed"``: the step of the first batch, [].

    Returns:
        Indices [b], and the order.
    """
    if drawing == "streamed":
        return (step - first) * batch_size + jnp.arange(batch_size), order
    if drawing == "epochs":
        return batch_indices(key, step, order, batch_size, "shuffled")
    if drawing == "none":
        return jnp.zeros((0,), jnp.int32), order
    chosen = class_indices(
        jax.random.fold_in(key, step),
        labels,
        num_classes=num_classes,
        count=batch_size // num_classes,
    )
    return chosen, order
