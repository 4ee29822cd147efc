"""The runs of a grid as programs: how many at a time, and part after part."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax

from isa_toolkit.distillation import loop
from isa_toolkit.distillation.memory import free_bytes, memory_estimate
from isa_toolkit.distillation.prefetch import is_streamed
from isa_toolkit.distillation.program import assemble
from isa_toolkit.distillation.progress import run_bar
from isa_toolkit.distillation.run_state import Worker, writing
from isa_toolkit.distillation.sharding import Layout
from isa_toolkit.distillation.signals import StopAsked
from isa_toolkit.distillation.trainer import take_course

__all__ = ["run_all", "takes_side_by_side"]


def takes_side_by_side(asked: bool | None, layout: Layout | None) -> bool:
    """Return whether the runs of a row are ``vmap``ped.

    Args:
        asked: what the user wants; None if it is left to us.
        layout: of the devices; None for one.
    """
    if asked is not None:
        return asked
    divides = layout is not None and layout.columns > 1
    return jax.default_backend() != "cpu" and not divides


def run_all(
    workers: Sequence[Worker],
    load: Callable[..., loop.Targets],
    *,
    side_by_side: bool,
    layout: Layout | None,
    memory_limit_bytes: int | None,
    checkpoint_s: float,
    progress: bool | None,
) -> None:
    """Bring runs to their end or to a request to stop, as many at a time as fit.

    Args:
        workers: the runs, in locked folders; there may be none.
        load: for their real images.
        side_by_side: see ``loop.grid_chunk``.
        layout: of the devices; None for one.
        memory_limit_bytes: see ``distill_grid``.
        checkpoint_s: seconds between checkpoints of a run.
        progress: see ``distill_grid``.
    """
    if not workers:
        return
    first = workers[0]
    try:
        targets = load(
            progress=progress,
            is_stop_asked=lambda: all(worker.is_stop_asked for worker in workers),
        )
    except StopAsked:
        for worker in workers:
            with writing(worker.path):
                worker.stop()
        return
    lanes = _lanes(workers, targets, side_by_side, layout, memory_limit_bytes)
    made = partial(
        assemble,
        targets=targets,
        side_by_side=side_by_side,
        lanes=lanes,
        layout=layout,
    )
    for start in range(0, len(workers), lanes):
        part = workers[start : start + lanes]
        steps = sum(worker.settings.steps for worker in part)
        told = f"{first.resolved.dataset.name}: {len(part)} runs"

        def bar(step: int, told: str = told, steps: int = steps) -> Any:
            return run_bar(told, step=step, steps=steps, progress=progress)

        take_course(part, partial(made, part), checkpoint_s=checkpoint_s, bar=bar)


def _lanes(
    workers: Sequence[Worker],
    targets: loop.Targets,
    side_by_side: bool,
    layout: Layout | None,
    memory_limit_bytes: int | None,
) -> int:
    """Return how many runs the program takes at once, a multiple of the rows."""
    count, rows, here = len(workers), 1, 1
    if layout is not None:
        rows, here = layout.rows, layout.here
    if count == 1 or is_streamed(workers[0].resolved, targets):
        return 1
    limit = memory_limit_bytes
    if limit is None:
        limit = int(0.8 * free_bytes(here))
    estimate = memory_estimate(
        workers[0].resolved,
        side_by_side=side_by_side,
        extra=targets.extra,
        image_bytes=targets.images.nbytes,
    )
    most = rows * estimate.most_runs(limit)
    parts = -(-count // most)
    lanes = -(-count // (parts * rows)) * rows
    if parts > 1:
        each, on = -(-count // rows), "on each device " if rows > 1 else ""
        warnings.warn(
            f"{count} runs need about {_in_mebibytes(estimate.total(each))} of memory "
            f"{on}and may take {_in_mebibytes(limit)}: they run in {parts} parts of at most "
            f"{lanes}.",
            stacklevel=4,
        )
    return lanes


def _in_mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
