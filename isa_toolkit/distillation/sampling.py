"""Which real images a step uses: shuffled epochs, some of each class, or none.

All of it is index draws on the device; ``METHODS[name].sampling`` says which of them a
method uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.networks.training import batch_indices


class TrainData(NamedTuple):
    """The real training images on the device, or the part of them that some steps use.

    images: Network inputs, or bytes to be preprocessed, [n, h, w, ch]; empty for a method
        that uses no real images.
    labels: Class indices, [n].
    extra: What the method prepared; () for nothing.
    preprocessing: ``Constants`` that preprocess bytes; () for network inputs.
    first_step: Step of the first streamed batch, []; () if nothing is streamed.
    """

    images: Float[Array, "n h w ch"] | UInt8[Array, "n h w ch"]
    labels: Int[Array, " n"]
    extra: PyTree = ()
    preprocessing: PyTree = ()
    first_step: PyTree = ()


def train_data(
    resolved: ResolvedExperiment,
    *,
    placement: str = "device",
    extra: PyTree = (),
    put: Callable[[Any], Array] = jnp.asarray,
) -> TrainData:
    """Return the training images as the loop uses them.

    With placement ``"host"``, and for a method that uses none, no image goes to the
    device; as ``"device_bytes"`` they take a quarter of the memory. ``extra`` is what the
    method prepared; ``put`` moves an array to the device or devices.
    """
    data = resolved.train
    if placement == "host" or resolved.sampling == "none":
        images = np.zeros((0, *data.image_shape), np.float32)
        return TrainData(put(images), put(np.zeros((0,), np.int32)), extra)
    labels = put(data.train.labels)
    if placement == "device_bytes":
        images = put(np.asarray(data.train.images))
        preprocessing = jax.tree.map(put, data.preprocessing.constants())
        return TrainData(images, labels, extra, preprocessing)
    return TrainData(put(data.inputs("train")), labels, extra)


def class_indices(
    key: Key[Array, ""], labels: Int[Array, " n"], *, num_classes: int, count: int
) -> Int[Array, " m"]:
    """Return ``count`` different samples of each class, class after class, as indices.

    Source: docs/algorithms.md, section 4.5.
    """
    size = labels.shape[0]
    draws = jax.random.bits(key, (size,))
    # Sorted by class and, within it, at random: the first of each class are a sample.
    _, _, order = jax.lax.sort((labels, draws, jnp.arange(size)), num_keys=2)
    sizes = jnp.bincount(labels, length=num_classes)
    starts = jnp.cumsum(sizes) - sizes
    return order[starts[:, None] + jnp.arange(count)].reshape(-1)


def first_order(
    key: Key[Array, ""], step: Int[Array, ""], size: int, batch_size: int, sampling: str
) -> Int[Array, " n"]:
    """Return the permutation that ``sample_batch`` needs at a step: that of its epoch.

    It is empty unless the sampling is ``"epochs"``.
    """
    if sampling != "epochs":
        return jnp.zeros((0,), jnp.int32)
    epoch = step // (size // batch_size)
    return jax.random.permutation(jax.random.fold_in(key, epoch), size)


def sample_batch(
    key: Key[Array, ""],
    step: Int[Array, ""],
    order: Int[Array, " n"],
    labels: Int[Array, " s"],
    *,
    sampling: str,
    batch_size: int,
    num_classes: int,
    first_step: PyTree = (),
) -> tuple[Int[Array, " b"], Int[Array, " n"]]:
    """Return the sample indices of one step, and the order for the next step.

    The order is that of ``first_order`` or of the step before, the sampling that of the
    method or ``"streamed"``: batch after batch. With ``"per_class"`` the batch size is a
    multiple of the number of classes.
    """
    if sampling == "streamed":
        return (step - first_step) * batch_size + jnp.arange(batch_size), order
    if sampling == "epochs":
        return batch_indices(key, step, order, batch_size, "shuffled")
    if sampling == "none":
        return jnp.zeros((0,), jnp.int32), order
    indices = class_indices(
        jax.random.fold_in(key, step),
        labels,
        num_classes=num_classes,
        count=batch_size // num_classes,
    )
    return indices, order
