"""One run from its first images to its result, in a folder that it owns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from isa_toolkit import checks
from isa_toolkit.distillation import distributed as processes
from isa_toolkit.distillation import loop
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.placement import place
from isa_toolkit.distillation.program import Program, assemble, follow
from isa_toolkit.distillation.progress import run_bar
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.run_state import (
    Callback,
    DivergedError,
    Progress,
    Worker,
    writing,
)
from isa_toolkit.distillation.sharding import Layout, check_layout, make_layout
from isa_toolkit.distillation.signals import StopAsked, heed_signals
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.distillation.trainer import take_course
from isa_toolkit.methods import method_of
from isa_toolkit.networks import Network, build

__all__ = [
    "LIMIT_BYTES",
    "DivergedError",
    "Progress",
    "check_prepared_size",
    "claim",
    "distill",
    "load_targets",
    "store_of",
]

# Ours: 100 published experts of CIFAR-10 are 6.5 GB, of Tiny-ImageNet 17 GB.
LIMIT_BYTES = 32 * 2**30


def distill(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint_s: float = 60.0,
    progress: bool | None = None,
    shards_limit_bytes: int = LIMIT_BYTES,
    devices: int | None = None,
    placement: str | None = None,
) -> Run:
    """Return the finished (or stopped) run of an experiment.

    The run lives in ``<out>/<dataset>-ipc<k>-<method>-<hash>/``. Started again, it goes on
    from its last checkpoint and gives the same bytes as if it had never stopped; a run
    that is done is returned as it is. A file ``STOP`` in the folder, SIGINT or SIGTERM end
    it with a checkpoint, also while it still loads or compiles; once the last step is
    taken the closing files are written first. A second signal ends it at once.

    On several devices the target batch of each step is divided among them; ranks and
    partners are those of the whole batch, and the numbers are those of one device but
    for the order in which they are added up (see ``docs/several_devices.md``). A run may
    be gone on with on another number of devices. With several processes
    (``jax.distributed``) each calls this alike; process 0 alone writes, calls back and
    shows progress, and ``out`` is a folder that all of them see.

    Args:
        experiment: what to run.
        out: folder that holds run folders; None for ``runs``.
        resume: go on if the run folder exists; False refuses.
        callbacks: called after each chunk with a ``Progress``; one that returns True
            ends the run with a checkpoint.
        checkpoint_s: seconds between checkpoints (also written at each validation).
        progress: show a progress bar; None: only on a terminal or in a notebook.
        shards_limit_bytes: most that the data a method makes first (the experts of MTT)
            may take; they lie in ``<out>/shared`` and serve every run that fits.
        devices: how many share the work; they divide the batch size. None for one, or
            with several processes for all of theirs.
        placement: where the real images lie: ``"device"``, preprocessed;
            ``"device_bytes"``, preprocessed batch by batch; ``"host"``, streamed to it
            from memory or, of a memory-mapped data set, from the disk. The batches are the
            same; preprocessing on the device rounds otherwise (1e-5). None: the first
            that takes at most 40 % of the device's memory.

    Returns:
        The run, in every process.

    Raises:
        ValueError: the experiment does not fit its data or the devices, or the folder is
            another's.
        FileExistsError: the run folder exists and ``resume`` is False.
        RunLockedError: another process is working on the run.
        DivergedError: a quantity is not finite; the sentence says which and when.
        OSError: the run folder cannot be written.
        LeaderFailedError: in the other processes, if process 0 raises any of these.
        ProcessLostError: another process of several is gone.

    Whatever a callback raises comes through as it is.
    """
    checks.check_positive("checkpoint_s", checkpoint_s)
    with heed_signals() as request, contextlib.ExitStack() as locks:
        if devices is not None:
            checks.check_integer("devices", devices)
        layout = make_layout(devices)
        resolved = experiment.resolve()
        check_layout(layout, resolved)
        placed = place(resolved, placement)
        check_prepared_size(resolved, shards_limit_bytes)
        processes.agree([resolved.hash])
        if not processes.is_leader():
            store = store_of(resolved, out)
            follow(
                [Worker(resolved, store, (), request)],
                partial(
                    load_targets,
                    resolved,
                    store.path,
                    layout=layout,
                    placement=placed,
                ),
                layout=layout,
            )
            return Run.open(store.path)
        locks.enter_context(processes.leading())
        store = claim(resolved, out, resume, locks)
        run = Run.open(store.path)
        if run.is_done:
            store.mark_done(resolved.settings.steps)
            return run
        worker = Worker(resolved, store, callbacks, request)

        def load() -> Program:
            targets = load_targets(
                resolved,
                store.path,
                progress=progress,
                is_stop_asked=lambda: worker.is_stop_asked,
                layout=layout,
                placement=placed,
            )
            return assemble([worker], targets, layout=layout)

        def bar(step: int) -> Any:
            steps = resolved.settings.steps
            return run_bar(store.path.name, step=step, steps=steps, progress=progress)

        take_course([worker], load, checkpoint_s=checkpoint_s, bar=bar)
        if worker.failure is not None:
            raise worker.failure
    return run


def store_of(resolved: ResolvedExperiment, out: str | Path | None) -> RunStore:
    """Return the folder of a run; nothing is touched.

    Args:
        resolved: the experiment.
        out: folder that holds run folders; None for ``runs``.
    """
    return RunStore(Path("runs" if out is None else out) / resolved.name)


def claim(
    resolved: ResolvedExperiment,
    out: str | Path | None,
    resume: bool,
    locks: contextlib.ExitStack,
) -> RunStore:
    """Return the folder of a run, made and locked.

    Args:
        resolved: the experiment.
        out: folder that holds run folders; None for ``runs``.
        resume: accept a folder that exists.
        locks: what frees it again.

    Raises:
        ValueError: the folder is another experiment's.
        FileExistsError: it exists and ``resume`` is False.
        RunLockedError: another process is working on it.
        OSError: it cannot be written.
    """
    store = store_of(resolved, out)
    if store.path.exists() and not resume:
        raise FileExistsError(
            f"The run folder {store.path} exists. Use resume=True to go on with it, or "
            "another out."
        )
    with writing(store.path):
        locks.enter_context(store.lock())
        store.write_experiment({**resolved.description}, resolved.hash)
    return store


def check_prepared_size(resolved: ResolvedExperiment, limit_bytes: int) -> None:
    """Refuse an experiment whose method prepares more data than allowed.

    Args:
        resolved: The experiment.
        limit_bytes: Most bytes that the data may take.

    Raises:
        ValueError: They would take more; nothing has been made or written then.
    """
    checks.check_integer("shards_limit_bytes", limit_bytes, minimum=0)
    method = method_of(resolved.method)
    if method.prepared_bytes is None:
        return
    size = method.prepared_bytes(resolved.method, _network(resolved))
    if size > limit_bytes:
        raise checks.fail(
            f"the data that method {method.name!r} prepares",
            f"take at most shards_limit_bytes = {limit_bytes:,}",
            checks.as_text(f"{size:,} bytes"),
            "Make fewer or smaller ones, or raise shards_limit_bytes.",
        )


def _network(resolved: ResolvedExperiment) -> Network:
    data = resolved.train
    return build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )


def load_targets(
    resolved: ResolvedExperiment,
    path: Path,
    *,
    progress: bool | None = False,
    is_stop_asked: Callable[[], bool] = lambda: False,
    layout: Layout | None = None,
    placement: str = "device",
) -> loop.Targets:
    """Return the real images on the device, with what else the method needs there.

    Args:
        resolved: the experiment.
        path: of its run folder; what the method prepares is kept beside it.
        progress: show a progress bar while it is made.
        is_stop_asked: looked at every few seconds while it is made.
        layout: devices on each of which all of it shall lie; None for one.
        placement: see ``distill``; of ``"host"`` there are no images.

    Raises:
        StopAsked: it said so; what was made whole is kept.
    """

    def heed() -> None:
        if is_stop_asked():
            raise StopAsked

    put: Any = jnp.asarray if layout is None else layout.everywhere
    extra: Any = ()
    data, prepare = resolved.train, method_of(resolved.method).prepare
    if prepare is not None:
        with writing(path):
            prepared = prepare(
                resolved.method,
                _network(resolved),
                data.inputs("train"),
                data.train.labels,
                path.parent / "shared",
                progress=progress,
                check_cancelled=heed,
            )
        extra = jax.tree.map(put, prepared)
    return loop.targets(
        data,
        drawing="none" if placement == "host" else resolved.drawing,
        extra=extra,
        as_bytes=placement == "device_bytes",
        put=put,
    )
