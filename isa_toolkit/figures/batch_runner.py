"""Running a batch: many items on a few threads, or many runs as vmapped programs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from isa_toolkit.distillation import Experiment, Progress, distill_grid
from isa_toolkit.distillation.param_grid import group_by_program
from isa_toolkit.errors import CancelledError

T = TypeVar("T")
_OnProgress = Callable[[str, int, int], Any] | None


def parallel_map(
    function: Callable[[Any], T],
    items: Iterable[Any],
    description: str,
    *,
    workers: int,
    progress: bool | None,
    on_progress: _OnProgress,
    cancel: threading.Event,
) -> list[T]:
    """Return ``function`` of each item, computed on threads under a progress bar.

    ``on_progress`` is called with (description, number done, number of items), first with
    none done. ``cancel`` cancels the items that have not started with a
    ``CancelledError``; it is also set while a failure, or Ctrl-C, waits for the items in
    progress. ``progress`` None shows the bar on terminals and in notebooks.
    """
    import tqdm.auto

    items = list(items)

    def call(item: Any) -> T:
        if cancel.is_set():
            raise CancelledError(f"Cancelled before the end of {description}.")
        return function(item)

    def report(done: int) -> None:
        if on_progress is not None:
            on_progress(description, done, len(items))

    report(0)
    disable = None if progress is None else not progress
    with (
        tqdm.auto.tqdm(
            total=len(items), desc=description, disable=disable, leave=False
        ) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        futures = [pool.submit(call, item) for item in items]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                bar.update()
                report(done)
        except BaseException:
            cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            cancel.clear()
            raise
    return [future.result() for future in futures]


def distill_batched(
    experiments: Sequence[Experiment],
    description: str,
    *,
    folder: Path,
    on_progress: _OnProgress,
    cancel: threading.Event,
    keep_checkpoints: int | None,
) -> None:
    """Distil what is missing; runs that differ only in traced values share a program.

    Progress and cancellation are those of :func:`parallel_map`; each cancelled run has a
    checkpoint. If some runs diverge, the other runs of the program are done.
    """
    missing = [
        one
        for one in experiments
        if not (folder / one.resolve().name / "distilled.safetensors").is_file()
    ]
    ended = set[Path]()

    def report() -> None:
        if on_progress is not None:
            done = len(experiments) - len(missing) + len(ended)
            on_progress(description, done, len(experiments))

    def after_chunk(chunk: Progress) -> bool:
        if chunk.step == chunk.steps:
            ended.add(chunk.path)
            report()
        return cancel.is_set()

    report()
    try:
        for group in group_by_program(missing):
            for run in distill_grid(
                group,
                out=folder,
                progress=False,
                callbacks=[after_chunk],
                keep_checkpoints=keep_checkpoints,
            ):
                if not run.is_done:
                    raise CancelledError(f"Cancelled at step {run.step} of {run.path}.")
    finally:
        cancel.clear()
