"""Planning: which runs a sweep has, in which groups, and how long they take.

Nothing is compiled, written or started. A group is what one process runs: one run, or several
as one program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation.api import PREPARED_LIMIT_BYTES
from isa_toolkit.distillation.experiment import (
    DATA_FIELDS,
    Experiment,
    ResolvedExperiment,
)
from isa_toolkit.distillation.param_grid import Grid, expand_grid, program_key
from isa_toolkit.distillation.store import STARTS, STATUS, read_experiment
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.files import read_json
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import static_fields
from isa_toolkit.sweeps.engines import EngineName
from isa_toolkit.sweeps.sweep import Plan, PlannedRun, Sweep


@typed
def plan(
    experiments: Experiment | Sequence[Experiment],
    grid: Grid | None = None,
    *,
    out: str | Path = "runs",
    name: str | None = None,
    pack: bool | int | None = None,
) -> Plan:
    """Return what a sweep would run; nothing is compiled, written or started.

    Args:
        experiments: One experiment or several; another process must be able to load their
            data by name.
        grid: Values by name of the setting; every experiment is run with every combination,
            as in scikit-learn's ``ParameterGrid``. Equal runs are run once.
        out: Path of the folder of run folders.
        name: Name of the sweep; None for one made from its runs.
        pack: Whether runs that can share a compiled program do: True, False, or the largest
            number of runs of one group. None: only on accelerators, because on a CPU one
            program is no faster than several processes.

    Raises:
        InvalidTypeError: The data are arrays in this process.
        InvalidValueError: A value is out of its range; a method lacks a setting.

    Example:
        >>> base = Experiment("digits", steps=100)
        >>> plan(base, grid={"drop_easy": [0, 0.2], "seed": range(3)}, name="fractions")
        Plan('fractions', runs=6, groups=6)
    """
    wanted = expand_grid(experiments, grid)
    if pack is None:
        pack = jax.default_backend() != "cpu"
    if isinstance(pack, bool):
        pack = len(wanted) if pack else 1
    most = checks.check_integer("pack", pack)
    folder = Path(out).absolute()
    if name is not None and (not name or Path(name).name != name or name == ".."):
        raise checks.fail("name", "be the name of a folder, not a path", name)

    loaded: dict[str, Dataset] = {}
    where: dict[str, dict[str, Any]] = {}  # the data of each run, by its hash
    programs: dict[str, dict[str, ResolvedExperiment]] = {}
    for one in wanted:
        source, options = _data_source(one), one.data_options()
        key = repr((source["dataset"], options))
        if key not in loaded:
            loaded[key] = one.load()
        same = programs.setdefault(program_key(one), {})
        with_data = dataclasses.replace(
            one, dataset=loaded[key], **dict.fromkeys(DATA_FIELDS)
        )
        resolved = with_data.resolve(reuse_data_from=next(iter(same.values()), None))
        same.setdefault(resolved.hash, resolved)
        where.setdefault(resolved.hash, source)

    made: dict[str, PlannedRun] = {}
    for same in programs.values():
        pace = measured_pace(next(iter(same.values())).description, folder)
        for part in np.array_split(list(same), -(-len(same) // most)):
            group = _name([same[one] for one in part])
            for one in map(str, part):
                made[one] = PlannedRun(
                    same[one].name, one, group, same[one].description, where[one], pace
                )
    runs = tuple(made[one] for one in where)
    name = name or _name(sorted(runs, key=lambda run: run.hash))
    return Plan(name, folder, runs)


@typed
def sweep(
    experiments: Experiment | Sequence[Experiment],
    grid: Grid | None = None,
    *,
    engine: EngineName = "local",
    out: str | Path = "runs",
    name: str | None = None,
    pack: bool | int | None = None,
    wait: bool = True,
    progress: bool | None = None,
    checkpoint_s: float = 60.0,
    keep_checkpoints: int | None = 3,
    prepared_limit_bytes: int = PREPARED_LIMIT_BYTES,
    **options: Any,
) -> Sweep:
    """Run experiments with every combination of settings, and return the sweep.

    Each group of runs is a process of its own. One that dies is started again and resumes
    from its checkpoints; a run that diverges stops no other. What is done is skipped, so the
    same call again resumes after any stop. SIGINT, SIGTERM or ``Sweep.cancel`` stop all runs
    with checkpoints; a second signal ends them at once. If this process is killed, its local
    workers write a checkpoint and end.

    Args:
        experiments: One experiment or several; another process must be able to load their
            data by name.
        grid: Values by name of the setting; every combination is run, as in scikit-learn's
            ``ParameterGrid``.
        engine: What starts the processes: ``"local"`` (this machine), ``"ray"`` or
            ``"slurm"``.
        out: Path of the folder of run folders.
        name: Name of the sweep; None for one made from its runs.
        pack: Whether runs that can share a compiled program do, see ``plan``.
        wait: Return when the runs have ended. False: a process that outlives this one runs
            the sweep.
        progress: Show a progress bar; None for only on a terminal or in a notebook.
        checkpoint_s: Number of seconds between checkpoints of a run.
        keep_checkpoints: Number of checkpoints of a run to keep, the last ones; None for
            all.
        prepared_limit_bytes: Maximum size in bytes of precomputed data, see ``distill``.
        options: Options of the engine: ``slots`` and, for local, ``gpus`` and ``retries``;
            for Ray ``address``, ``num_gpus``, ``num_cpus`` and ``max_retries``; for Slurm
            ``requeues``, ``setup`` and the options of ``sbatch``.

    Returns:
        The sweep. Runs that failed are in its table; they raise nothing.

    Raises:
        InvalidTypeError: The data are arrays in this process, or an argument has the wrong
            type or name.
        InvalidValueError: A value is out of its range.
        RunLockedError: Another process is running the sweep.
        ModuleNotFoundError: The library of the engine is not installed.
        OSError: The folder of the sweep cannot be written.

    Example:
        >>> base = Experiment("digits", steps=100)
        >>> grid = {"drop_easy": [0, 0.2], "seed": range(3)}
        >>> finished = sweep(base, grid, slots=2)  # doctest: +SKIP
    """
    planned = plan(experiments, grid, out=out, name=name, pack=pack)
    return planned.run(
        engine, wait=wait, progress=progress, checkpoint_s=checkpoint_s,
        keep_checkpoints=keep_checkpoints, prepared_limit_bytes=prepared_limit_bytes,
        **options,
    )  # fmt: skip


def measured_pace(
    description: Mapping[str, Any], out: Path
) -> tuple[float, float] | None:
    """Return how fast earlier runs of the same program were on this kind of device.

    A run that took n steps itself in T seconds, v steps per second in its last chunk, needed
    ``t = min(1/v, T/n)`` seconds for each step and ``T - n t`` seconds to start. Returns the
    medians of the seconds to start and per step over the runs in ``out``, or None.
    """
    device, found = jax.devices()[0], []
    here = f"{device.platform}: {device.device_kind}"
    for path in out.glob("*/experiment.json"):
        status = read_json(path.with_name("status.json"), STATUS)
        starts = read_json(path.with_name("environment.json"), STARTS)
        stored = read_experiment(path.parent)
        if status is None or starts is None or stored is None:
            continue
        step, speed = (
            status["step"] - (stored["start_step"] or 0),
            status["steps_per_s"],
        )
        if speed <= 0 or step <= 0 or starts["starts"][-1:] == []:
            continue
        if starts["starts"][-1].get("device") != here:
            continue
        if _program(stored) == _program(description):
            elapsed = status["elapsed_s"]
            each = min(1 / speed, elapsed / step)
            found.append((max(elapsed - step * each, 0.0), each))
    return tuple(np.median(found, axis=0).tolist()) if found else None


def _program(description: Mapping[str, Any]) -> list[Any]:
    """Return what decides the compiled step of a run, from its ``experiment.json``."""
    names = ("dataset", "images_per_class", "network", "batch_size")
    method = description.get("method", {})
    known = METHODS.get(method.get("name"))
    static = static_fields(known.settings()) if known else {}
    compiled = [method.get(name) for name in ("name", *static)]
    return [*compiled, *(description.get(name) for name in names)]


def _data_source(experiment: Experiment) -> dict[str, Any]:
    """Return where data and source run are, as keyword arguments of ``Experiment``."""
    if not isinstance(experiment.dataset, str):
        raise InvalidTypeError(
            "dataset must be a name for a run in a process of its own, got a Dataset "
            f"({experiment.dataset.name!r}). Save the arrays as an .npz file and give "
            "its path as root, or call distill(experiment) in this process."
        )
    fields = {name: getattr(experiment, name) for name in DATA_FIELDS}
    for name in ("root", "start_from"):
        path = getattr(experiment, name)
        fields[name] = None if path is None else str(Path(path).absolute())
    return {"dataset": experiment.dataset, **fields}


def _name(runs: Sequence[PlannedRun | ResolvedExperiment]) -> str:
    """Return the name of a group or a sweep: what the names of its runs begin with."""
    if len(runs) == 1:
        return runs[0].name
    parts = zip(*(run.name.split("-") for run in runs), strict=False)
    common = itertools.takewhile(lambda part: len(set(part)) == 1, parts)
    digest = hashlib.sha256("".join(run.hash for run in runs).encode()).hexdigest()
    return "-".join([*(part[0] for part in common), f"x{len(runs)}", digest[:8]])
