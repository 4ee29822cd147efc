"""What a sweep would run: which runs, in which groups, how far they are, what they cost.

Nothing is compiled, written or started. A group is what one process runs: one run, or
several as one program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.param_grid import combinations, programs, resolve_alike
from isa_toolkit.sweeps import cost
from isa_toolkit.sweeps.command import check_loadable, where_of
from isa_toolkit.sweeps.plans import Plan, PlannedRun
from isa_toolkit.sweeps.states import FINAL, run_state

__all__ = ["plan"]


def plan(
    experiments: Experiment | Sequence[Experiment],
    *,
    seeds: Iterable[int] | None = None,
    drop_easy: Iterable[float] | None = None,
    drop_hard: Iterable[float] | None = None,
    segment: Iterable[tuple[float, float]] | None = None,
    learning_rate: Iterable[float] | None = None,
    out: str | Path = "runs",
    name: str | None = None,
    pack: bool | int | None = None,
) -> Plan:
    """Return what a sweep would run and cost; nothing is compiled, written or started.

    Every experiment is run with every combination of the lists that are given; of equal
    ones each is run once. Runs that differ only in what is traced can be packed into one
    program, see ``distill_grid``; others always are processes of their own.

    Args:
        experiments: one, or several of any kinds; their data must have names that another
            process can load.
        seeds: of the runs; None for each experiment's own.
        drop_easy: shares to drop from the easy end, each in [0, 1).
        drop_hard: shares to drop from the hard end, each in [0, 1).
        segment: pairs (a, b).
        learning_rate: of the method.
        out: folder of run folders.
        name: of the sweep; None for one made from its runs.
        pack: whether runs are packed: True, False, or the most of one group (so that several
            GPUs share a program's runs). None: on accelerators; on a CPU one program is no
            faster than processes.

    Raises:
        TypeError: data that are arrays in this process.
        ValueError: a value out of its range; a setting that a method lacks.
    """
    wanted = combinations(
        experiments,
        drop_easy=drop_easy,
        drop_hard=drop_hard,
        segment=segment,
        learning_rate=learning_rate,
        seeds=seeds,
    )
    for one in wanted:
        check_loadable(one)
    most = _most(pack, len(wanted))
    folder = Path(out).absolute()
    if name is not None and (not name or Path(name).name != name or name == ".."):
        raise checks.fail("name", "be the name of a folder, no path", name)
    runs: dict[str, PlannedRun] = {}
    memory: dict[str, int] = {}
    loaded: dict[str, Any] = {}
    hashes: dict[int, str] = {}
    for alike in programs(wanted):
        resolved = {}
        for asked, one in zip(alike, _resolved(alike, loaded), strict=True):
            hashes[id(asked)] = one.hash
            resolved[one.hash] = (one, where_of(asked))
        parts = _parts(list(resolved.values()), most)
        first = parts[0][0][0]
        step = cost.trace(first)
        pace = cost.measured_pace(first, folder)
        if pace is None and step is not None:
            pace = cost.estimated_pace(step, alike[0].method.name)
        estimate = cost.memory_of(first, step, side_by_side=_is_accelerated())
        for part in parts:
            group = _group_name([one for one, _ in part])
            if estimate is not None:
                memory[group] = estimate.total(len(part))
            for one, where in part:
                runs[one.hash] = _planned(one, where, group, folder, pace)
    order = dict.fromkeys(hashes[id(asked)] for asked in wanted)
    listed = _with_differences([runs[one] for one in order])
    return Plan(
        name=name or _name(listed),
        out=folder,
        runs=tuple(listed),
        memory_bytes=memory,
        device=jax.default_backend(),
    )


# --- pieces -----------------------------------------------------------------------------


def _most(pack: bool | int | None, count: int) -> int:
    """Return the most runs of a group."""
    if pack is None:
        pack = _is_accelerated()
    if isinstance(pack, bool):
        return count if pack else 1
    return checks.check_integer("pack", pack)


def _is_accelerated() -> bool:
    return jax.default_backend() != "cpu"


def _resolved(
    alike: Sequence[Experiment], loaded: dict[str, Any]
) -> list[ResolvedExperiment]:
    """Return experiments resolved; the data of each name are loaded once."""
    key = json.dumps(where_of(alike[0]), sort_keys=True)
    if key not in loaded:
        loaded[key] = alike[0].load()
    return resolve_alike(
        [
            dataclasses.replace(
                one, dataset=loaded[key], source=None, root=None, limit=None
            )
            for one in alike
        ]
    )


def _parts(runs: list[Any], most: int) -> list[list[Any]]:
    """Return runs in parts of at most so many, as equal as can be."""
    count = -(-len(runs) // most)
    size = -(-len(runs) // count)
    return [runs[start : start + size] for start in range(0, len(runs), size)]


def _planned(
    one: ResolvedExperiment,
    where: dict[str, Any],
    group: str,
    out: Path,
    pace: cost.Pace | None,
) -> PlannedRun:
    found = run_state(out / one.name)
    is_final = found.state in FINAL
    left = 0 if is_final else one.settings.steps - found.step
    return PlannedRun(
        name=one.name,
        hash=one.hash,
        group=group,
        description=one.description,
        where=where,
        differs="",
        state=found.state,
        step=found.step,
        seconds=(0.0, 0.0) if is_final else pace.seconds(left) if pace else None,
        basis="" if is_final else pace.basis if pace else "unknown until one has run",
    )


def _group_name(part: Sequence[ResolvedExperiment]) -> str:
    first = part[0].name
    if len(part) == 1:
        return first
    digest = hashlib.sha256("".join(one.hash for one in part).encode()).hexdigest()
    return f"{first.rpartition('-')[0]}-x{len(part)}-{digest[:8]}"


def _name(runs: Sequence[PlannedRun]) -> str:
    text = "".join(sorted(run.hash for run in runs))
    datasets = "-".join(dict.fromkeys(str(run.where["dataset"]) for run in runs))
    return f"{datasets}-x{len(runs)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _with_differences(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs, each with what differs from others that it could be taken for."""
    made = []
    for run in runs:
        mine = _flat(run.description)
        others = [_flat(one.description) for one in runs if _kind(one) == _kind(run)]
        differing = [
            f"{name}={_shown(value)}"
            for name, value in mine.items()
            if any(other[name] != value for other in others)
        ]
        made.append(dataclasses.replace(run, differs=", ".join(differing)))
    return made


def _kind(run: PlannedRun) -> tuple[Any, ...]:
    """Return what the columns of a table tell of a run before its settings."""
    described = run.description
    ipc, method = described["images_per_class"], described["method"]["name"]
    return run.where["dataset"], ipc, method


def _flat(description: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that have no column of their own, by short name."""
    own = ("dataset", "images_per_class", "seed", "steps", "method", "network")
    # They follow from the length of a run.
    own += ("validation_every", "log_every")
    flat = {name: value for name, value in description.items() if name not in own}
    method = {
        name: value for name, value in description["method"].items() if name != "name"
    }
    network = {
        "network" if name == "name" else name: value
        for name, value in description["network"].items()
    }
    return {**method, **network, **flat}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(str, value))})"
    return str(value)
