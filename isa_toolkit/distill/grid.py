"""Many runs as one program: whatever differs only in what is traced.

Discard ratios, segment, ridge, learning rates, length and seed are arguments of the
compiled loop, so all of Figure 5 with its seeds is one call of it. Each run keeps a folder
of its own, in which nothing tells how it was made.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from isa_toolkit import checks
from isa_toolkit.distill import loop
from isa_toolkit.distill.alike import combinations, refusal, resolve_alike
from isa_toolkit.distill.bars import run_bar
from isa_toolkit.distill.course import Alone, Program, Together, take_course
from isa_toolkit.distill.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distill.memory import free_bytes, memory_estimate
from isa_toolkit.distill.result import Run
from isa_toolkit.distill.run import claim, load_targets
from isa_toolkit.distill.shards import LIMIT_BYTES, wanted_shards
from isa_toolkit.distill.signals import StopAsked, heed_signals
from isa_toolkit.distill.store import RunStore
from isa_toolkit.distill.worker import Callback, DivergedError, Worker, writing
from isa_toolkit.methods.base import Shards

__all__ = ["distill_grid"]


def distill_grid(
    experiments: Experiment | Sequence[Experiment],
    *,
    seeds: Iterable[int] | None = None,
    drop_easy: Iterable[float] | None = None,
    drop_hard: Iterable[float] | None = None,
    segment: Iterable[tuple[float, float]] | None = None,
    learning_rate: Iterable[float] | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint_s: float = 60.0,
    progress: bool | None = None,
    shards_limit_bytes: int = LIMIT_BYTES,
    memory_limit_bytes: int | None = None,
    side_by_side: bool | None = None,
) -> list[Run]:
    """Return the finished (or stopped) runs of experiments that share one program.

    Every experiment is run with every combination of the lists that are given. Folders,
    files, stop and resume are those of ``distill``: a run begun in a grid can be gone on
    with alone, and the other way round; runs that are done are left as they are, and the
    others each go on from their own step. SIGINT or SIGTERM stop all runs, a file ``STOP``
    or a callback that returns True the one it is meant for. A run that diverges leaves
    the others alone.

    On accelerators the runs are ``vmap``ped. Products of all runs then add up in another
    order than those of a single run: images differ by rounding (1e-6) after one step, and
    that grows as between two kinds of device. On the digits at scale quick it is 1 % of
    what the images moved after 100 steps and 10 % after 500 (``vmap`` on a CPU). On the
    CPU they take turns inside the one program, which is faster there, and each equals a
    single run to the bit.

    Args:
        experiments: one, or several that differ only in seed, steps and the knobs of the
            method; the data are loaded once.
        seeds: of the runs; None for each experiment's own.
        drop_easy: shares to drop from the easy end, each in [0, 1).
        drop_hard: shares to drop from the hard end, each in [0, 1).
        segment: pairs (a, b).
        learning_rate: of the method.
        out: folder that holds run folders; None for ``runs``.
        resume: go on where run folders exist; False refuses.
        callbacks: called after each chunk with the ``Progress`` of each run.
        checkpoint_s: seconds between checkpoints of a run.
        progress: show a progress bar; None: only on a terminal or in a notebook.
        shards_limit_bytes: see ``distill``.
        memory_limit_bytes: most that the program may take; None for 80 % of what the
            device has free. What does not fit at once runs in parts, one after the other;
            a warning says so.
        side_by_side: ``vmap`` the runs; None: unless the device is a CPU.

    Returns:
        The runs, in the order of the experiments; of each, the last list varies fastest
        (drop_easy, drop_hard, segment, learning_rate, seeds). Equal ones are run once.

    Raises:
        ValueError: experiments that cannot share a program; a value out of its range; a
            folder of another experiment.
        FileExistsError: a run folder exists and ``resume`` is False.
        RunLockedError: another process is working on one of the runs.
        DivergedError: after all others have ended: which runs diverged, and why.
        OSError: a run folder cannot be written.

    Example:
        Figure 5 is ``distill_grid(experiments, seeds=range(3))`` with one experiment for
        each of its seven settings.
    """
    checks.check_positive("checkpoint_s", checkpoint_s)
    if memory_limit_bytes is not None:
        checks.check_integer("memory_limit_bytes", memory_limit_bytes)
    if side_by_side is not None:
        checks.check_boolean("side_by_side", side_by_side)
    wanted = combinations(
        experiments,
        drop_easy=drop_easy,
        drop_hard=drop_hard,
        segment=segment,
        learning_rate=learning_rate,
        seeds=seeds,
    )
    with heed_signals() as request, contextlib.ExitStack() as locks:
        resolved = resolve_alike(wanted)
        distinct = list({one.hash: one for one in resolved}.values())
        shards = _shared_shards(distinct, shards_limit_bytes)
        _refuse_existing(distinct, out, resume)
        stores = {one.hash: claim(one, out, True, locks) for one in distinct}
        workers = [
            Worker(one, stores[one.hash], callbacks, request)
            for one in distinct
            if not Run.open(stores[one.hash].path).is_done
        ]
        if workers:
            _run_all(
                workers,
                shards,
                side_by_side=_is_accelerated()
                if side_by_side is None
                else side_by_side,
                memory_limit_bytes=memory_limit_bytes,
                checkpoint_s=checkpoint_s,
                progress=progress,
            )
            _tell_diverged(workers)
    return [Run.open(stores[one.hash].path) for one in resolved]


# --- what is run ------------------------------------------------------------------------


def _shared_shards(
    resolved: Sequence[ResolvedExperiment], limit_bytes: int
) -> Shards | None:
    """Return what the method makes first: the same for all."""
    found = [wanted_shards(one, limit_bytes=limit_bytes) for one in resolved]
    first = found[0]
    if first is not None:
        for other in found[1:]:
            assert other is not None
            for name, value in first.description.items():
                its = other.description[name]
                if value != its:
                    raise refusal(f"{name} of the {first.kind}", value, its)
    return first


def _refuse_existing(
    resolved: Sequence[ResolvedExperiment], out: str | Path | None, resume: bool
) -> None:
    """Refuse folders that exist before any is made."""
    if resume:
        return
    folder = Path("runs" if out is None else out)
    for one in resolved:
        path = RunStore(folder / one.name).path
        if path.exists():
            raise FileExistsError(
                f"The run folder {path} exists. Use resume=True to go on with it, or "
                "another out."
            )


# --- how it is run ----------------------------------------------------------------------


def _run_all(
    workers: Sequence[Worker],
    shards: Shards | None,
    *,
    side_by_side: bool,
    memory_limit_bytes: int | None,
    checkpoint_s: float,
    progress: bool | None,
) -> None:
    first = workers[0]
    try:
        targets = load_targets(
            first.resolved,
            first.path,
            shards,
            progress,
            lambda: all(worker.is_stop_asked for worker in workers),
        )
    except StopAsked:
        for worker in workers:
            with writing(worker.path):
                worker.stop()
        return
    lanes = _lanes(workers, targets, side_by_side, memory_limit_bytes)

    def load(part: Sequence[Worker]) -> Callable[[], Program]:
        if lanes == 1:
            return lambda: Alone(part[0], targets)
        return lambda: Together(part, targets, side_by_side=side_by_side, lanes=lanes)

    for start in range(0, len(workers), lanes):
        part = workers[start : start + lanes]
        steps = sum(worker.settings.steps for worker in part)
        told = f"{first.resolved.dataset.name}: {len(part)} runs"

        def bar(step: int, told: str = told, steps: int = steps) -> Any:
            return run_bar(told, step=step, steps=steps, progress=progress)

        take_course(part, load(part), checkpoint_s=checkpoint_s, bar=bar)


def _lanes(
    workers: Sequence[Worker],
    targets: loop.Targets,
    side_by_side: bool,
    memory_limit_bytes: int | None,
) -> int:
    """Return how many runs the program takes at once."""
    count = len(workers)
    if count == 1:
        return 1
    limit = memory_limit_bytes
    if limit is None:
        limit = int(0.8 * free_bytes())
    estimate = memory_estimate(
        workers[0].resolved, side_by_side=side_by_side, extra=targets.extra
    )
    parts = -(-count // estimate.most_runs(limit))
    lanes = -(-count // parts)
    if parts > 1:
        warnings.warn(
            f"{count} runs need about {_in_mebibytes(estimate.total(count))} of memory "
            f"and may take {_in_mebibytes(limit)}: they run in {parts} parts of at most "
            f"{lanes}.",
            stacklevel=4,
        )
    return lanes


def _in_mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _is_accelerated() -> bool:
    return jax.default_backend() != "cpu"


def _tell_diverged(workers: Sequence[Worker]) -> None:
    """Raise one error that names every run that diverged."""
    lost = [worker for worker in workers if worker.failure is not None]
    if not lost:
        return
    reasons = " ".join(f"{worker.path.name}: {worker.failure}" for worker in lost)
    raise DivergedError(
        f"{len(lost)} of {len(workers)} runs diverged, the others went on. {reasons}"
    )
