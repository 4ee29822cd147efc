"""``distill`` and ``distill_grid``: from experiments to the runs in their folders."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text
from isa_toolkit.distillation import distributed, loop
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.param_grid import (
    Grid,
    as_experiments,
    expand_grid,
    group_by_program,
    resolve_together,
)
from isa_toolkit.distillation.prefetch import Placement, choose_placement
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.run_state import Callback, RunState, writing
from isa_toolkit.distillation.sharding import Devices, check_devices, make_mesh
from isa_toolkit.distillation.signals import catch_signals
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.distillation.trainer import Trainer
from isa_toolkit.environment import check_fits
from isa_toolkit.errors import DivergedError, RunExistsError
from isa_toolkit.methods import METHODS

# 100 published experts of CIFAR-10 are 6.5 GB, of Tiny-ImageNet 17 GB.
PREPARED_LIMIT_BYTES = 32 * 2**30
# Fewer steps than these leave FRePo's images near the real ones at the published rate.
_FEW_STEPS = 5000


@typed
def distill(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint_s: float = 60.0,
    keep_checkpoints: int | None = 3,
    progress: bool | None = None,
    prepared_limit_bytes: int = PREPARED_LIMIT_BYTES,
    devices: int | None = None,
    placement: Placement | None = None,
) -> Run:
    """Return the finished (or stopped) run of an experiment.

    The run is stored in ``<out>/<dataset>-ipc<k>-<method>-<hash>/``. Started again, it
    resumes from its last checkpoint and gives the same bytes as if it had never stopped;
    a finished run is returned as it is. A file ``STOP`` in the folder, SIGINT or SIGTERM
    end it with a checkpoint, also while it loads or compiles; after the last step the
    closing files are written first. A second signal ends it at once.

    On several devices the real batch of each step is divided over them; ranks and
    partners are those of the whole batch, and the numbers are those of one device except
    for the order of summation (see ``docs/several_devices.md``). A run can be resumed on
    another number of devices. With several processes (``jax.distributed``) each process
    calls this with the same arguments; process 0 writes, calls the callbacks and shows
    progress, and ``out`` is a folder that all of them can read.

    Args:
        experiment: What to run.
        out: Folder of run folders; None for ``runs``.
        resume: Whether to resume if the run folder exists; False refuses.
        callbacks: Functions to call with a ``Progress`` after each chunk of about a
            second; one that returns True ends the run with a checkpoint.
        checkpoint_s: Number of seconds between checkpoints (each validation also writes
            one).
        keep_checkpoints: Number of checkpoints to keep, the last ones; None for all. Runs
            can start from those that are kept (``Experiment.start_from``).
        progress: Whether to show progress, None as True: a bar on a terminal or in a
            notebook, elsewhere a line of text every few seconds.
        prepared_limit_bytes: Maximum size in bytes of precomputed data (MTT's expert
            trajectories), which are kept in ``<out>/shared`` for every run that needs
            the same.
        devices: Number of devices that divide the batch; it divides the batch size. None
            for one, or with several processes for all of theirs.
        placement: Where to store the real images: ``"device"``, preprocessed;
            ``"device_bytes"``, preprocessed batch by batch; ``"host"``, streamed from
            memory or, for a memory-mapped data set, from the disk. The batches are the
            same; preprocessing on the device rounds differently (1e-5). None: the first
            of them that takes at most 40 % of the device's memory.

    Returns:
        The run.

    Raises:
        InvalidValueError: The experiment does not fit its data or the devices, or the
            folder belongs to another experiment.
        RunExistsError: The run folder exists and ``resume`` is False.
        RunLockedError: Another process is working on the run.
        DivergedError: A quantity is not finite; the sentence says which and when.
        OSError: The run folder cannot be written.
        PeerFailedError: Another process of several failed.
        PeerLostError: Another process of several is gone.

    Whatever a callback raises is raised as it is.

    Example:
        >>> import dataclasses
        >>> import tempfile
        >>> from isa_toolkit import Experiment, FRePo, NetworkSettings, distill
        >>> experiment = Experiment(
        ...     "digits",
        ...     method=FRePo(pool_size=1),
        ...     network=NetworkSettings(width=4, depth=1),
        ...     steps=2,
        ...     batch_size=32,
        ...     selection="last",
        ... )
        >>> run = distill(experiment, out=tempfile.mkdtemp(), progress=False)
        >>> run.status["status"], run.distilled.images.shape
        ('done', (10, 8, 8, 1))

        A branch: more steps, with other settings, from the state that the run has reached.

        >>> settings = {"method": FRePo(pool_size=1, drop_easy=0), "steps": 4}
        >>> later = dataclasses.replace(experiment, start_from=run, **settings)
        >>> branch = distill(later, out=tempfile.mkdtemp(), progress=False)
        >>> branch.experiment["start_step"], branch.step, branch.checkpoints
        (2, 4, [3, 4])
    """
    if devices is not None:
        checks.check_integer("devices", devices)
    [one] = as_experiments(experiment)
    [run] = distill_grid(
        one,
        out=out,
        resume=resume,
        callbacks=callbacks,
        checkpoint_s=checkpoint_s,
        keep_checkpoints=keep_checkpoints,
        progress=progress,
        prepared_limit_bytes=prepared_limit_bytes,
        devices=devices,
        placement=placement,
    )
    return run


@typed
def distill_grid(
    experiment: Experiment | Sequence[Experiment],
    grid: Grid | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    callbacks: Sequence[Callback] = (),
    checkpoint_s: float = 60.0,
    keep_checkpoints: int | None = 3,
    progress: bool | None = None,
    prepared_limit_bytes: int = PREPARED_LIMIT_BYTES,
    vmap: bool | None = None,
    devices: Devices = None,
    placement: Placement | None = None,
) -> list[Run]:
    """Return the finished (or stopped) runs of a grid of experiments.

    Runs that differ only in seed, steps, validation and traced settings of the method
    (rates, fractions, segment) share one compiled program; other groups of runs follow
    one after the other. Folders, files, stop and resume are those of ``distill``: a run
    that was started in a grid can be resumed alone, and vice versa; finished runs are
    left as they are, and the others resume from their own step. Runs that do not fit at
    once into 80 % of the device's free memory run in groups, with a warning. SIGINT or
    SIGTERM stop all runs; a file ``STOP`` or a callback that returns True stops its own
    run. A run that diverges does not stop the others.

    On accelerators the runs are vmapped. Products of all runs then add up in another
    order than those of a single run: images differ by rounding (1e-6) after one step, and
    that grows as between two kinds of devices. On the CPU they are computed one after
    the other inside the program, which is faster there, and each run equals a single run
    bit for bit.

    Args:
        experiment: One experiment, or several.
        grid: Values by name, as in scikit-learn's ``ParameterGrid``: a dict of lists, or
            a list of such dicts. A name is a setting of the method, ``seed`` or another
            field of ``Experiment``.
        out: Folder of run folders; None for ``runs``. This and the next six arguments
            are those of ``distill``.
        resume: Whether to resume if run folders exist; False refuses.
        callbacks: Functions to call with the ``Progress`` of each run after each chunk.
        checkpoint_s: Number of seconds between checkpoints of a run.
        keep_checkpoints: Number of checkpoints of a run to keep; None for all.
        progress: Whether to show progress.
        prepared_limit_bytes: Maximum size in bytes of precomputed data.
        vmap: Whether to vmap the runs; None: unless the device is a CPU, or the batch is
            divided over devices (XLA does not divide the grouped convolutions that
            ``vmap`` makes).
        devices: Pair (r, d): the runs are divided over r groups of d devices, which
            divide the batch; a number d for one group; None for one device, or with
            several processes for all of theirs in one group.
        placement: Where to store the real images, see ``distill``; streamed runs are
            computed one after the other.

    Returns:
        The runs, in the order of the experiments and of ``ParameterGrid`` (names are
        sorted, the last one varies fastest). Equal experiments are run once.

    Raises:
        InvalidValueError: An unknown name or a value out of its range; devices that do
            not fit; a folder of another experiment.
        DivergedError: After all others have ended: which runs diverged, and why.

    The other errors are those of ``distill``.

    Example:
        >>> import tempfile
        >>> from isa_toolkit import Experiment, FRePo, NetworkSettings, distill_grid
        >>> base = Experiment(
        ...     "digits",
        ...     method=FRePo(pool_size=1),
        ...     network=NetworkSettings(width=4, depth=1),
        ...     steps=2,
        ...     batch_size=32,
        ...     selection="last",
        ... )
        >>> grid = {"drop_easy": [0, 0.2], "seed": range(2)}
        >>> runs = distill_grid(base, grid, out=tempfile.mkdtemp(), progress=False)
        >>> [run.experiment["seed"] for run in runs]
        [0, 1, 0, 1]
    """
    checks.check_number("checkpoint_s", checkpoint_s, above=0)
    if keep_checkpoints is not None:
        checks.check_integer("keep_checkpoints", keep_checkpoints)
    checks.check_integer(
        "prepared_limit_bytes", prepared_limit_bytes, minimum=0, maximum=2**63 - 1
    )
    experiments = expand_grid(experiment, grid)
    folder = Path("runs" if out is None else out)
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        rule, fix = "be a path in UTF-8", "Checkpoints need it: choose another folder."
        raise checks.fail("out", rule, str(folder), fix) from error
    with catch_signals() as request, contextlib.ExitStack() as locks:
        mesh = make_mesh(devices)
        if vmap is None:
            divided = mesh is not None and mesh.data_axis_size > 1
            vmap = jax.default_backend() != "cpu" and not divided
        hashes: dict[int, str] = {}
        runs: dict[str, RunState] = {}
        programs: list[list[RunState]] = []
        for group in group_by_program(experiments):
            resolved = resolve_together(group)
            check_devices(mesh, resolved[0])
            _check_prepared_size(resolved[0], prepared_limit_bytes)
            programs.append([])
            for unresolved, one in zip(group, resolved, strict=True):
                hashes[id(unresolved)] = one.hash
                if one.hash not in runs:
                    store = RunStore(folder / one.name)
                    runs[one.hash] = RunState(one, store, callbacks, request)
                    programs[-1].append(runs[one.hash])
            _check_state_size(programs[-1][0])
        distributed.check_same(list(runs))
        claim = partial(_claim, list(runs.values()), resume, locks)
        done = distributed.together(claim, len(runs))[0]
        finished = {one for one, flag in zip(runs, done, strict=True) if flag}
        new = [run.resolved for key, run in runs.items() if key not in finished]
        _warn_of_short_runs(new)
        for group in programs:
            unfinished = [run for run in group if run.resolved.hash not in finished]
            if unfinished:
                Trainer(
                    runs=unfinished,
                    placement=choose_placement(unfinished[0].resolved, placement),
                    vmapped=vmap,
                    mesh=mesh,
                    checkpoint_s=checkpoint_s,
                    keep_checkpoints=keep_checkpoints,
                    progress=progress,
                ).train()
        _raise_diverged(list(runs.values()))
    ordered = [runs[hashes[id(unresolved)]] for unresolved in experiments]
    return [Run(run.path, dataset=run.resolved.dataset) for run in ordered]


def _claim(
    runs: Sequence[RunState], resume: bool, locks: contextlib.ExitStack
) -> list[bool]:
    """Make and lock the run folders; return which runs are finished."""
    if not distributed.is_writer():
        return [False] * len(runs)
    for run in runs:
        if run.path.exists() and not resume:
            raise RunExistsError(
                f"The run folder {run.path} exists. Use resume=True to continue it, or "
                "another out."
            )
    finished = []
    for run in runs:
        with writing(run.path):
            locks.enter_context(run.store.lock())
            run.store.write_experiment({**run.resolved.description}, run.resolved.hash)
            finished.append(Run.open(run.path).is_done)
            if finished[-1]:
                run.store.mark_done(run.settings.steps)
    return finished


def _check_prepared_size(resolved: ResolvedExperiment, limit_bytes: int) -> None:
    """Refuse an experiment whose method prepares more data than allowed."""
    method = METHODS[resolved.method.name]
    if method.prepared_bytes is None:
        return
    size = method.prepared_bytes(resolved.method, resolved.build_network())
    if size > limit_bytes:
        raise checks.fail(
            f"the data that method {method.name!r} prepares",
            f"take at most prepared_limit_bytes = {limit_bytes:,}",
            as_text(f"{size:,} bytes"),
            "Prepare fewer or smaller ones, or raise prepared_limit_bytes.",
        )


def _check_state_size(run: RunState) -> None:
    """Refuse a run whose state alone does not fit in memory, before its folder is made."""
    count = run.settings.images_per_class * run.network.num_classes
    images = jax.ShapeDtypeStruct((count, *run.network.image_shape), np.float32)
    labels = jax.ShapeDtypeStruct((count, run.network.num_classes), np.float32)
    state = jax.eval_shape(
        partial(loop.first_state, network=run.network),
        run.method_settings,
        key=run.keys.networks,
        images=images,
        labels=labels,
    )
    leaves = jax.tree.leaves(state)
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    fix = "Take a smaller width or fewer networks (pool_size)."
    check_fits("the state of a run", size, fix)


def _warn_of_short_runs(experiments: Sequence[ResolvedExperiment]) -> None:
    """Warn of FRePo's runs that are too short for the published learning rate."""
    published = float(METHODS["frepo"].settings().learning_rate)
    steps = [
        one.settings.steps
        for one in experiments
        if one.method.name == "frepo"
        and one.method.learning_rate <= published
        and one.source is None
    ]
    if min(steps, default=_FEW_STEPS) < _FEW_STEPS:
        warnings.warn(
            f"{min(steps)} steps at the published learning rate of {published:g} change "
            f"the images little; with fewer than {_FEW_STEPS:,} steps use a larger one, "
            "such as FRePo(learning_rate=3e-3).",
            stacklevel=3,
        )


def _raise_diverged(runs: Sequence[RunState]) -> None:
    """Raise one error that names every run that diverged."""
    failures = [run for run in runs if run.failure is not None]
    if not failures:
        return
    if len(runs) == 1:
        raise DivergedError(str(failures[0].failure))
    reasons = " ".join(f"{run.path.name}: {run.failure}" for run in failures)
    raise DivergedError(
        f"{len(failures)} of {len(runs)} runs diverged, the others continued. {reasons}"
    )
