"""Where the real images are stored during a run, and their streaming to the device.

While the device works on one block of batches, a thread draws the indices of the next
block, reads its images from memory or disk and sends them as bytes. The indices are those
that the loop would draw itself, so a streamed run sees the same batches as any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.distillation.loop import MAX_CHUNK
from isa_toolkit.distillation.sampling import TrainData, first_order, sample_batch

Placement = Literal["device", "device_bytes", "host"]
"""Preprocessed on the device; as bytes on the device; in the memory or disk of the host."""

# Fraction of the device's memory that the real images may take.
_DEVICE_FRACTION = 0.4
# Size of the images of one block. Two blocks are on the device at a time.
BLOCK_BYTES = 128 * 2**20


def choose_placement(
    resolved: ResolvedExperiment, wanted: Placement | None
) -> Placement:
    """Return where to store the real images of a run: as wanted, or by their size.

    Preprocessed on the device if they take at most 40 % of its memory as float32; as
    bytes on the device if they do so as bytes; else on the host. It depends on the size
    of the device, not on what is free, so a resumed run gives the same answer.
    """
    if wanted is not None:
        checks.check_one_of("placement", wanted, get_args(Placement))
    if resolved.sampling == "none":
        return "device"
    if wanted is not None:
        return wanted
    available = _DEVICE_FRACTION * _device_bytes()
    size = resolved.train.train.images.nbytes
    if 4 * size <= available:
        return "device"
    return "device_bytes" if size <= available else "host"


class PrefetchLoader:
    """The batches of a streamed run from a step on, block after block.

    ``key`` is the root key of the order of the real images, ``data`` the training data
    without images; ``put`` moves a tree of arrays to the device or devices.
    """

    def __init__(
        self,
        resolved: ResolvedExperiment,
        key: Key[Array, ""],
        step: int,
        data: TrainData,
        *,
        put: Callable[[PyTree], PyTree],
    ) -> None:
        train, batch_size = resolved.train, resolved.batch_size
        self._images, self._labels = train.train.images, train.train.labels
        self._put, self._last = put, resolved.settings.steps
        self._data = data._replace(preprocessing=put(train.preprocessing.constants()))
        image_bytes = int(np.prod(train.image_shape))
        fitting = BLOCK_BYTES // (batch_size * image_bytes)
        self._steps = max(1, min(MAX_CHUNK, fitting))
        # The indices are drawn on the host: in an accelerator's queue they would wait for
        # the steps that they should overlap with.
        self._key, self._known = jax.device_put((key, self._labels), _cpu())
        self._static = (self._steps, resolved.sampling, batch_size, train.num_classes)
        self._order = _first_order(
            self._key, step, len(self._labels), batch_size, resolved.sampling
        )
        self._reader = ThreadPoolExecutor(1, "isa-toolkit-reader")
        # The batches of some steps, and the first step without one.
        self._block: tuple[TrainData, int] | None = None
        self._next: Future[tuple[TrainData, int]] | None = None

    def batches_from(self, step: int) -> tuple[TrainData, int]:
        """Return the batches from the next step on, and the number of steps they last for."""
        if self._block is None or step == self._block[1]:
            self._block = (self._next or self._reader.submit(self._read, step)).result()
            self._next = None
        data, stop = self._block
        if self._next is None and stop < self._last:
            self._next = self._reader.submit(self._read, stop)
        return data, stop - step

    def _read(self, start: int) -> tuple[TrainData, int]:
        self._order, chosen = _draw(
            self._key, self._order, self._known, start, *self._static
        )
        rows = np.asarray(chosen).reshape(-1)
        images, labels, first_step = self._put(
            (self._images[rows], self._labels[rows], np.int32(start))
        )
        data = self._data._replace(images=images, labels=labels, first_step=first_step)
        return jax.block_until_ready(data), start + self._steps


def _device_bytes() -> int:
    """Return the memory of the device; for a CPU that of the machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu() -> Any:
    """Return the CPU as a device, or a device of the only kind there is."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


_first_order = jax.jit(first_order, static_argnums=(2, 3, 4))


@partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _draw(
    key: Key[Array, ""],
    order: Int[Array, " n"],
    labels: Int[Array, " s"],
    start: Int[Array, ""],
    steps: int,
    sampling: str,
    batch_size: int,
    num_classes: int,
) -> tuple[Int[Array, " n"], Int[Array, "steps b"]]:
    """Return the order after some steps, and the indices of their batches."""

    def one(order: Array, step: Array) -> tuple[Array, Array]:
        indices, order = sample_batch(
            key,
            step,
            order,
            labels,
            sampling=sampling,
            batch_size=batch_size,
            num_classes=num_classes,
        )
        return order, indices

    return jax.lax.scan(one, order, start + jnp.arange(steps))
