"""Real images that do not fit on the device: some steps' batches at a time.

While the device works on one block of batches, a thread draws the indices of the next,
reads its images from memory or disk and sends them, as bytes. The indices are those that
the loop would draw itself, so a streamed run sees the same batches as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from isa_toolkit.datasets.device_preprocessing import device_inputs
from isa_toolkit.distillation import loop
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.distillation.run_state import Worker
from isa_toolkit.distillation.sampling import Targets, draw, first_order

__all__ = ["BLOCK_BYTES", "Blocks", "block_steps", "is_streamed"]

# Of one block's images. Two are on the device at a time.
BLOCK_BYTES = 128 * 2**20


class _Block(NamedTuple):
    """The batches of some steps, on the device: step ``stop`` is the first without."""

    targets: Targets
    stop: int


def is_streamed(resolved: ResolvedExperiment, targets: Targets) -> bool:
    """Return whether a run's real images come block by block.

    Args:
        resolved: the experiment.
        targets: from ``load_targets``: without images, though the method draws some.
    """
    return resolved.drawing != "none" and not targets.images.shape[0]


def block_steps(batch_size: int, image_bytes: int) -> int:
    """Return how many steps' images a block holds.

    Args:
        batch_size: images per step.
        image_bytes: of one image.
    """
    fitting = BLOCK_BYTES // (batch_size * image_bytes)
    return max(1, min(loop.RECORD_LENGTH, fitting))


class Blocks:
    """The batches of a run, block after block.

    Args:
        worker: the run, at the step that comes next.
        targets: without images; what else the method needs.
        put: brings a tree of arrays to the device or devices.
        prefetch: read the next block while the device works; False only to measure it.
    """

    def __init__(
        self,
        worker: Worker,
        targets: Targets,
        *,
        put: Callable[[PyTree], PyTree],
        prefetch: bool = True,
    ) -> None:
        resolved, data = worker.resolved, worker.resolved.train
        self._images, self._labels = data.train.images, data.train.labels
        self._put, self._prefetch = put, prefetch
        self._last = worker.settings.steps
        self._rest = targets._replace(numbers=put(device_inputs(data.preprocessing)))
        size = int(np.prod(data.image_shape))
        self._steps = block_steps(resolved.batch_size, size)
        # Indices are drawn on the host: in an accelerator's queue they would wait for the
        # steps that they are to be read beside.
        self._key, self._known = jax.device_put(
            (worker.keys.order, self._labels), _host()
        )
        drawn = (resolved.drawing, resolved.batch_size)
        self._plan = _plan(*drawn, data.num_classes, self._steps)
        self._order = _first_order(*drawn)(self._key, self._known, worker.step)
        self._reader = ThreadPoolExecutor(1, "isa-toolkit-reader")
        self._block: _Block | None = None
        self._coming: Future[_Block] | None = None

    def at(self, step: int) -> tuple[Targets, int]:
        """Return the batches from a step on, and how many steps they last for.

        Args:
            step: the one after the last that was taken.
        """
        if self._block is None or step == self._block.stop:
            self._block = (self._coming or self._ask(step)).result()
            self._coming = None
        block = self._block
        if self._prefetch and self._coming is None and block.stop < self._last:
            self._coming = self._ask(block.stop)
        return block.targets, block.stop - step

    def _ask(self, start: int) -> Future[_Block]:
        return self._reader.submit(self._read, start)

    def _read(self, start: int) -> _Block:
        chosen, self._order = self._plan(self._key, self._order, self._known, start)
        rows = np.asarray(chosen).reshape(-1)
        images, labels, first = self._put(
            (self._images[rows], self._labels[rows], np.int32(start))
        )
        targets = self._rest._replace(images=images, labels=labels, first=first)
        return _Block(jax.block_until_ready(targets), start + self._steps)


def _host() -> Any:
    """Return the CPU as a device, or the only kind there is."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


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
