"""Where the real images are stored during a run, and their streaming to the device.

While the device works on one block of batches, a thread draws the indices of the next
block, reads its images from memory or disk and sends them as bytes. The indices are those
that the loop would draw itself, so a streamed run sees the same batches as any other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.datasets.device_preprocessing import device_inputs
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.distillation.loop import MAX_CHUNK
from isa_toolkit.distillation.sampling import TrainData, first_order, sample_batch

__all__ = [
    "BLOCK_BYTES",
    "Placement",
    "PrefetchLoader",
    "choose_placement",
]

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


class _Block(NamedTuple):
    """The batches of some steps, on the device: ``stop`` is the first step without one."""

    data: TrainData
    stop: int


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
        self._data = data._replace(
            preprocessing=put(device_inputs(train.preprocessing))
        )
        image_bytes = int(np.prod(train.image_shape))
        fitting = BLOCK_BYTES // (batch_size * image_bytes)
        self._steps = max(1, min(MAX_CHUNK, fitting))
        # The indices are drawn on the host: in an accelerator's queue they would wait for
        # the steps that they should overlap with.
        self._key, self._known = jax.device_put((key, self._labels), _cpu())
        order, self._draw = _samplers(
            resolved.sampling, batch_size, train.num_classes, self._steps
        )
        self._order = order(self._key, self._known, step)
        self._reader = ThreadPoolExecutor(1, "isa-toolkit-reader")
        self._block: _Block | None = None
        self._next: Future[_Block] | None = None

    def batches_from(self, step: int) -> tuple[TrainData, int]:
        """Return the batches from the next step on, and the number of steps they last for."""
        if self._block is None or step == self._block.stop:
            self._block = (self._next or self._request(step)).result()
            self._next = None
        block = self._block
        if self._next is None and block.stop < self._last:
            self._next = self._request(block.stop)
        return block.data, block.stop - step

    def _request(self, start: int) -> Future[_Block]:
        return self._reader.submit(self._read, start)

    def _read(self, start: int) -> _Block:
        chosen, self._order = self._draw(self._key, self._order, self._known, start)
        rows = np.asarray(chosen).reshape(-1)
        images, labels, first_step = self._put(
            (self._images[rows], self._labels[rows], np.int32(start))
        )
        data = self._data._replace(images=images, labels=labels, first_step=first_step)
        return _Block(jax.block_until_ready(data), start + self._steps)


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


@cache
def _samplers(
    sampling: str, batch_size: int, num_classes: int, steps: int
) -> tuple[Callable[..., Int[Array, " n"]], Callable[..., tuple[Array, Array]]]:
    """Return two compiled functions: the first order, and the indices of a block.

    ``(key, labels, step) -> order`` and ``(key, order, labels, start) -> (indices
    [steps, batch_size], order)``.
    """
    sample = partial(
        sample_batch,
        sampling=sampling,
        batch_size=batch_size,
        num_classes=num_classes,
    )

    @jax.jit
    def order_at(key: Array, labels: Array, step: Array) -> Array:
        return first_order(key, step, labels.shape[0], batch_size, sampling)

    @jax.jit
    def draw(
        key: Array, order: Array, labels: Array, start: Array
    ) -> tuple[Array, Array]:
        def one(order: Array, step: Array) -> tuple[Array, Array]:
            indices, order = sample(key, step, order, labels)
            return order, indices

        order, indices = jax.lax.scan(one, order, start + jnp.arange(steps))
        return indices, order

    return order_at, draw
