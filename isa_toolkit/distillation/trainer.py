"""The course of one run or of many at a time: chunks, events, stop.

The compiled loop knows nothing of files; everything that touches the disk, the clock or
the terminal happens here and in the ``worker``, between chunks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from isa_toolkit.distillation import distributed as processes
from isa_toolkit.distillation.checkpoints import Checkpoints
from isa_toolkit.distillation.program import Program
from isa_toolkit.distillation.progress import postfix
from isa_toolkit.distillation.run_state import DivergedError, Worker, writing
from isa_toolkit.distillation.signals import StopAsked

__all__ = ["take_course"]

# A chunk aims at this long, so that a stop request is heard soon.
_CHUNK_S = 1.0
_HEARTBEAT_S = 1.0


def take_course(
    workers: Sequence[Worker],
    load: Callable[[], Program],
    *,
    checkpoint_s: float,
    bar: Callable[[int], Any],
) -> None:
    """Bring runs from where they are to their end, or to a request to stop.

    A run that diverges takes no more steps and says why in ``Worker.failure``; the others
    go on.

    Args:
        workers: the runs, in locked folders.
        load: called once they are started; gives the compiled loop, or raises
            ``StopAsked``.
        checkpoint_s: seconds between checkpoints.
        bar: steps taken so far -> progress bar, as a context.

    Raises:
        OSError: a run folder cannot be written.
        ProcessLostError: another process of several is gone.

    Whatever a callback raises comes through as it is.
    """
    going: list[Worker] = []
    try:
        with processes.together(), contextlib.ExitStack() as stack:
            for worker in workers:
                with writing(worker.path):
                    worker.open()
                    going.append(worker)
                    folder = worker.path / "checkpoints"
                    worker.start(stack.enter_context(Checkpoints(folder)))
            try:
                program = load()
            except StopAsked:
                for worker in list(going):
                    _close(worker, going)
                return
            for worker in workers:
                if worker.is_new and not worker.is_stop_asked:
                    with writing(worker.path):
                        worker.record()
            shown = stack.enter_context(bar(sum(worker.step for worker in workers)))
            _advance(workers, going, program, checkpoint_s, shown)
    except BaseException as error:
        reason = str(error) or type(error).__name__
        for worker in going:
            # On a full disk this fails, too, and says nothing new.
            with contextlib.suppress(OSError):
                worker.status("failed", reason=reason)
        raise


def _advance(
    workers: Sequence[Worker],
    going: list[Worker],
    program: Program,
    checkpoint_s: float,
    bar: Any,
) -> None:
    """Take steps until no run is going; each leaves the list as it ends."""
    began = time.monotonic()
    for worker in workers:
        worker.saved_at = worker.told_at = began
        # Asked for while it loaded: a new run starts again from its seed, another from
        # its checkpoint.
        if worker.is_last or worker.is_stop_asked:
            _close(worker, going)
    pace = 0.0
    while going:
        # The first call compiles and tells nothing of the speed.
        paced = int(pace * _CHUNK_S) if pace else 1
        counts = [
            max(1, min(worker.room, paced)) if worker in going else 0
            for worker in workers
        ]
        began = time.monotonic()
        parts = program(counts)
        seconds = max(time.monotonic() - began, 1e-9)
        taken = [part.done for part in parts]
        pace = max(taken) / seconds
        for worker, part in zip(workers, parts, strict=True):
            if worker not in going:
                continue
            try:
                worker.take(part, seconds, share_s=seconds * part.done / sum(taken))
            except DivergedError as error:
                worker.failure = error
                going.remove(worker)
                with writing(worker.path):
                    worker.status("failed", reason=str(error), diverged=True)
                continue
            bar.update(part.done)
            _after_chunk(worker, going, checkpoint_s, bar, len(workers))


def _after_chunk(
    worker: Worker, going: list[Worker], checkpoint_s: float, bar: Any, runs: int
) -> None:
    """Do what is due at the step a run has come to."""
    with writing(worker.path):
        rows = worker.record()
    stop = worker.call_back(rows)
    stop = stop or worker.is_stop_asked
    if rows and runs == 1:
        bar.set_postfix(postfix(rows))
    now = time.monotonic()
    is_due = now - worker.saved_at > checkpoint_s
    with writing(worker.path):
        if stop or worker.is_last or worker.is_validation or is_due:
            worker.save()
            worker.saved_at = now
        if now - worker.told_at > _HEARTBEAT_S:
            worker.status("running")
            worker.told_at = now
    if stop or worker.is_last:
        _close(worker, going)
    if runs > 1:
        bar.set_postfix({"going": f"{len(going)} of {runs}"})


def _close(worker: Worker, going: list[Worker]) -> None:
    """Write the closing files of a run, or that it was stopped."""
    with writing(worker.path):
        if worker.is_last:
            worker.finish()
        else:
            worker.stop()
    going.remove(worker)
