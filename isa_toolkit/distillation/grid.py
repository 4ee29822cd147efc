"""Many runs as one program: whatever differs only in what is traced.

Discard ratios, segment, ridge, learning rates, length and seed are arguments of the
compiled loop, so all of Figure 5 with its seeds is one call of it. Each run keeps a folder
of its own, in which nothing tells how it was made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from isa_toolkit import checks
from isa_toolkit.distillation import distributed as processes
from isa_toolkit.distillation.api import (
    LIMIT_BYTES,
    check_prepared_size,
    claim,
    load_targets,
    store_of,
)
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.lanes import run_all, takes_side_by_side
from isa_toolkit.distillation.param_grid import combinations, resolve_alike
from isa_toolkit.distillation.placement import place
from isa_toolkit.distillation.program import follow
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.run_state import Callback, DivergedError, Worker
from isa_toolkit.distillation.sharding import Devices, check_layout, make_layout
from isa_toolkit.distillation.signals import heed_signals

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
    placement: str | None = None,
    devices: Devices = None,
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

    On several devices, rows of them divide the runs and columns the target batch of each
    run; runs of one row are computed side by side or take turns. Several processes: see
    ``distill``.

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
            device has free (of each, if there are several). What does not fit at once
            runs in parts, one after the other; a warning says so.
        side_by_side: ``vmap`` the runs; None: unless the device is a CPU, or the target
            batch is divided (XLA does not divide the grouped convolutions that ``vmap``
            makes: each device then sees the whole batch in some layers).
        placement: see ``distill``; streamed runs go one after the other.
        devices: a pair (r, d): r rows of d devices; a number for one row; None for one
            device, or with several processes for all of theirs in one row. Rows that no
            run is left for stay idle.

    Returns:
        The runs, in the order of the experiments; of each, the last list varies fastest
        (drop_easy, drop_hard, segment, learning_rate, seeds). Equal ones are run once.

    Raises:
        ValueError: experiments that cannot share a program; a value out of its range;
            devices that do not fit; a folder of another experiment.
        FileExistsError: a run folder exists and ``resume`` is False.
        RunLockedError: another process is working on one of the runs.
        DivergedError: after all others have ended: which runs diverged, and why.
        OSError: a run folder cannot be written.
        LeaderFailedError: in the other processes, if process 0 raises any of these.
        ProcessLostError: another process of several is gone.

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
        layout = make_layout(devices)
        vmapped = takes_side_by_side(side_by_side, layout)
        resolved = resolve_alike(wanted)
        check_layout(layout, resolved[0])
        distinct = list({one.hash: one for one in resolved}.values())
        placed = place(distinct[0], placement)
        for one in distinct:
            check_prepared_size(one, shards_limit_bytes)
        stores = {one.hash: store_of(one, out) for one in distinct}
        workers = [
            Worker(one, stores[one.hash], callbacks, request) for one in distinct
        ]
        load = partial(
            load_targets,
            distinct[0],
            workers[0].path,
            layout=layout,
            placement=placed,
        )
        processes.agree(list(stores))
        if processes.is_leader():
            locks.enter_context(processes.leading())
            _refuse_existing(distinct, out, resume)
            for one in distinct:
                claim(one, out, True, locks)
            going = []
            for worker in workers:
                if Run.open(worker.path).is_done:
                    worker.store.mark_done(worker.settings.steps)
                else:
                    going.append(worker)
            workers = going
            run_all(
                workers,
                load,
                side_by_side=vmapped,
                layout=layout,
                memory_limit_bytes=memory_limit_bytes,
                checkpoint_s=checkpoint_s,
                progress=progress,
            )
            _tell_diverged(workers)
        else:
            follow(workers, load, side_by_side=vmapped, layout=layout)
    return [Run.open(stores[one.hash].path) for one in resolved]


# --- what is run ------------------------------------------------------------------------


def _refuse_existing(
    resolved: Sequence[ResolvedExperiment], out: str | Path | None, resume: bool
) -> None:
    """Refuse folders that exist before any is made."""
    if resume:
        return
    for one in resolved:
        path = store_of(one, out).path
        if path.exists():
            raise FileExistsError(
                f"The run folder {path} exists. Use resume=True to go on with it, or "
                "another out."
            )


def _tell_diverged(workers: Sequence[Worker]) -> None:
    """Raise one error that names every run that diverged."""
    lost = [worker for worker in workers if worker.failure is not None]
    if not lost:
        return
    reasons = " ".join(f"{worker.path.name}: {worker.failure}" for worker in lost)
    raise DivergedError(
        f"{len(lost)} of {len(workers)} runs diverged, the others went on. {reasons}"
    )
