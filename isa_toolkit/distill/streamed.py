"""Real images that do not fit on the device: some steps' batches at a time.

While the device works on one block of batches, a thread draws the indices of the next,
reads its images from memory or disk and sends them, as bytes. The indices are those that
the loop would draw itself, so a streamed run sees the same batches as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from isa_toolkit.datasets.device import device_inputs
from isa_toolkit.distill import loop
from isa_toolkit.distill.drawing import Targets, draw, first_order
from isa_toolkit.distill.worker import Part, Worker

__all__ = ["BLOCK_BYTES", "Streamed", "block_steps"]

# Of one block's images. Two are on the device at a time.
BLOCK_BYTES = 128 * 2**20


class _Block(NamedTuple):
    """The batches of some steps, on the device: step ``stop`` is the first without."""

    targets: Targets
    stop: int


def block_steps(batch_size: int, image_bytes: int) -> int:
    """Return how many steps' images a block holds.

    Args:
        batch_size: images per step.
        image_bytes: of one image.
    """
    fitting = BLOCK_BYTES // (batch_size * image_bytes)
    return max(1, min(loop.RECORD_LENGTH, fitting))


class Streamed:
    """The compiled loop of one run whose real images stay on the host.

    Args:
        worker: the run, started.
        targets: without images; what else the method needs.
        prefetch: read the next block while the device works; False only to measure it.
    """

    def __init__(
        self, worker: Worker, targets: Targets, *, prefetch: bool = True
    ) -> None:
        resolved, data = worker.resolved, worker.resolved.train
        self._worker = worker
        self._images, self._labels = data.train
        self._whole = targets._replace(
            labels=jnp.asarray(self._labels), numbers=device_inputs(data.preprocessing)
        )
        self._batch_size = resolved.batch_size
        image_bytes = int(np.prod(data.image_shape))
        self._steps = block_steps(self._batch_size, image_bytes)
        self._plan = _plan(
            resolved.drawing, self._batch_size, data.num_classes, self._steps
        )
        self._order = _first_order(resolved.drawing, self._batch_size)(
            worker.keys.order, self._whole.labels, worker.step
        )
        self._chunk = loop.chunk(
            worker.static,
            worker.network,
            num_classes=data.num_classes,
            batch_size=self._batch_size,
            streamed=True,
        )
        self._reader = ThreadPoolExecutor(1, "isa-toolkit-reader")
        self._prefetch = prefetch
        self._block: _Block | None = None
        self._coming: Future[_Block] | None = None

    def __call__(self, counts: Sequence[int]) -> list[Part]:
        """Take so many steps, or as many as there are batches; return what they gave."""
        worker, [count] = self._worker, counts
        if self._block is None or worker.step == self._block.stop:
            self._block = (self._coming or self._ask(worker.step)).result()
            self._coming = None
        block = self._block
        count = min(count, block.stop - worker.step)
        state, infos, done = self._chunk(
            worker.keys, worker.state(), block.targets, worker.knobs, worker.step, count
        )
        is_end = block.stop >= worker.settings.steps
        if self._prefetch and self._coming is None and not is_end:
            self._coming = self._ask(block.stop)
        done = int(done)
        taken = jax.tree.map(lambda leaf: np.asarray(leaf[:done]), infos)
        return [Part(done, taken, bool(loop.all_finite(state)), lambda: state)]

    def _ask(self, start: int) -> Future[_Block]:
        return self._reader.submit(self._read, start)

    def _read(self, start: int) -> _Block:
        chosen, self._order = self._plan(
            self._worker.keys.order, self._order, self._whole.labels, start
        )
        rows = np.asarray(chosen).reshape(-1)
        targets = self._whole._replace(
            images=jnp.asarray(self._images[rows]),
            labels=jnp.asarray(self._labels[rows]),
            first=jnp.asarray(start, jnp.int32),
        )
        return _Block(jax.block_until_ready(targets), start + self._steps)


Plan = Callable[..., tuple[Int[Array, "k b"], Int[Array, " n"]]]


@cache
def _plan(drawing: str, batch_size: int, num_classes: int, steps: int) -> Plan:
    """Return ``(key, order, labels, start) -> (indices [k, b], order)``, compiled."""
    drawn = partial(
        draw, drawing=drawing, batch_size=batch_size, num_classes=num_classes
    )

    @jax.jit
    def plan(
        key: Array, order: Array, labels: Array, start: Array
    ) -> tuple[Array, Array]:
        def one(order: Array, step: Array) -> tuple[Array, Array]:
            chosen, order = drawn(key, step, order, labels)
            return order, chosen

        order, chosen = jax.lax.scan(one, order, start + jnp.arange(steps))
        return chosen, order

    return plan


@cache
def _first_order(drawing: str, batch_size: int) -> Callable[..., Int[Array, " n"]]:
    return jax.jit(
        lambda key, labels, step: first_order(
            key, step, labels.shape[0], batch_size, drawing
        )
    )
