"""What a sweep would run: which runs, in which groups, how far they are, how long they take.

Nothing is compiled, written or started. A group is what one process runs: one run, or several
as one program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import Experiment, ResolvedExperiment
from isa_toolkit.distillation.param_grid import combinations, programs, resolve_alike
from isa_toolkit.files import read_json
from isa_toolkit.sweeps.states import FINAL, State, duration, run_state
from isa_toolkit.sweeps.worker import check_loadable, data_source, experiment_from

if TYPE_CHECKING:
    import pandas as pd

    from isa_toolkit.sweeps.sweep import Sweep

__all__ = ["Plan", "PlannedRun", "plan"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: Name of the run folder.
        hash: Hash of the experiment.
        group: Name of the group that contains the run.
        description: Every choice, as in ``experiment.json``.
        where: Where the data are: ``dataset``, ``source``, ``root``, ``limit``.
        differs: Settings in which the run differs from others of the plan, as text.
        state: State of the run when it was planned.
        step: Number of steps that need not be taken again.
        seconds: Estimated number of seconds that are left; None if unknown.
    """

    name: str
    hash: str
    group: str
    description: dict[str, Any]
    where: dict[str, Any]
    differs: str
    state: State = "new"
    step: int = 0
    seconds: float | None = None

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return int(self.description["steps"])

    @property
    def steps_left(self) -> int:
        """Number of steps to take."""
        return 0 if self.state in FINAL else self.steps - self.step


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """The runs of a sweep in groups; shows itself as a table in a notebook.

    Attributes:
        name: Name of the sweep; its folder is ``<out>/sweeps/<name>``.
        out: Path of the folder of run folders.
        runs: Each run once, in the order of the experiments.
    """

    name: str
    out: Path
    runs: tuple[PlannedRun, ...]

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, runs={len(self.runs)}, groups={len(self.groups)})"

    @property
    def path(self) -> Path:
        """Path of the folder of the sweep."""
        return self.out / "sweeps" / self.name

    @property
    def groups(self) -> dict[str, list[PlannedRun]]:
        """Runs of each group, by the name of the group."""
        found: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            found.setdefault(run.group, []).append(run)
        return found

    @property
    def seconds(self) -> float | None:
        """Estimated number of seconds for all runs in sequence; None if unknown."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return sum(known) if len(known) == len(self.runs) else None

    def run(self, engine: str = "local", **settings: Any) -> Sweep:
        """Run what is left of the plan, see ``sweep``.

        Args:
            engine: Name of the engine: ``"local"``, ``"ray"`` or ``"slurm"``.
            settings: Other arguments of ``sweep`` from ``wait`` on.
        """
        from isa_toolkit.sweeps.sweep import launch

        return launch(self, engine, **settings)

    def table(self) -> pd.DataFrame:
        """Return one row per run.

        Columns: run, group, state, dataset, ipc, method, differs, seed, steps, steps_left,
        seconds (NaN if unknown).
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "run": run.name,
                "group": run.group,
                "state": run.state,
                "dataset": run.where["dataset"],
                "ipc": run.description["images_per_class"],
                "method": run.description["method"]["name"],
                "differs": run.differs,
                "seed": run.description["seed"],
                "steps": run.steps,
                "steps_left": run.steps_left,
                "seconds": float("nan") if run.seconds is None else run.seconds,
            }
            for run in self.runs
        )

    @property
    def summary(self) -> str:
        """The plan in one or two sentences: the number of runs, and how long they take."""
        count, groups = len(self.runs), len(self.groups)
        done = sum(run.state == "done" for run in self.runs)
        diverged = sum(run.state == "diverged" for run in self.runs)
        text = (
            f"{count} run{'s' * (count != 1)} in {groups} group{'s' * (groups != 1)}: "
        )
        text += f"{done} done, "
        text += f"{diverged} diverged, " if diverged else ""
        text += f"{count - done - diverged} to run."
        if done + diverged == count:
            return text
        if self.seconds is None:
            return f"{text} Time: unknown until a run of each program has run here."
        return (
            f"{text} Time: about {duration(self.seconds)} in sequence, as measured in "
            f"runs of the same programs in {self.out.name}/."
        )

    def __str__(self) -> str:
        table = self._shown()
        if all(len(runs) == 1 for runs in self.groups.values()):
            del table["group"]
        return f"{table.to_string(index=False)}\n\n{self.summary}"

    def _repr_html_(self) -> str:
        markup = self._shown().to_html(index=False)
        return f"{markup}<p>{html.escape(self.summary)}</p>"

    def _shown(self) -> pd.DataFrame:
        table = self.table().drop(columns="seconds")
        table["time"] = [
            "unknown" if run.seconds is None else duration(run.seconds)
            for run in self.runs
        ]
        return table


def plan(
    experiments: Experiment | Sequence[Experiment],
    grid: Mapping[str, Iterable[Any]] | None = None,
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
        >>> base = Experiment(dataset="digits", steps=100)
        >>> plan(base, grid={"drop_easy": [0, 0.2], "seed": range(3)}, name="shares")
        Plan('shares', runs=6, groups=6)
    """
    wanted = expand(experiments, grid)
    for one in wanted:
        check_loadable(one)
    most = _most(pack, len(wanted))
    folder = Path(out).absolute()
    if name is not None and (not name or Path(name).name != name or name == ".."):
        raise checks.fail("name", "be the name of a folder, not a path", name)
    runs: dict[str, PlannedRun] = {}
    loaded: dict[str, Any] = {}
    hashes: dict[int, str] = {}
    for alike in programs(wanted):
        resolved = {}
        for one, its in zip(alike, _resolved(alike, loaded), strict=True):
            hashes[id(one)] = its.hash
            resolved[its.hash] = (its, data_source(one))
        pace = measured_pace(next(iter(resolved.values()))[0], folder)
        for part in _parts(list(resolved.values()), most):
            group = _group_name([one for one, _ in part])
            for one, where in part:
                runs[one.hash] = _planned(one, where, group, folder, pace)
    order = dict.fromkeys(hashes[id(one)] for one in wanted)
    listed = _with_differences([runs[one] for one in order])
    return Plan(name=name or _name(listed), out=folder, runs=tuple(listed))


def expand(
    experiments: Experiment | Sequence[Experiment],
    grid: Mapping[str, Iterable[Any]] | None,
) -> list[Experiment]:
    """Return every experiment with every combination of the values of a grid.

    Args:
        experiments: One experiment or several.
        grid: Values by name of the setting; None for the experiments as they are.
    """
    lists = {"seeds" if name == "seed" else name: grid[name] for name in grid or {}}
    return combinations(experiments, **lists)


def measured_pace(
    resolved: ResolvedExperiment, out: Path
) -> tuple[float, float] | None:
    """Return how fast earlier runs of the same program were on this kind of device.

    A run that took n steps in T seconds, v steps per second in its last chunk, needed
    ``t = min(1/v, T/n)`` seconds for each step and ``T - n t`` seconds to start.

    Args:
        resolved: An experiment of the program.
        out: Path of the folder of run folders.

    Returns:
        Medians of the seconds to start and of the seconds per step; None without such runs.
    """
    device = jax.devices()[0]
    here = f"{device.platform}: {device.device_kind}"
    found: list[tuple[float, float]] = []
    for path in sorted(out.glob("*/experiment.json")):
        status = read_json(path.with_name("status.json")) or {}
        starts = (read_json(path.with_name("environment.json")) or {}).get("starts")
        step, speed = int(status.get("step", 0)), float(status.get("steps_per_s", 0))
        # The first step compiles and says nothing about the speed.
        if step < 2 or not speed or not starts or starts[-1].get("device") != here:
            continue
        if _is_same_program(resolved, read_json(path) or {}):
            elapsed = float(status["elapsed_s"])
            each = min(1 / speed, elapsed / step)
            found.append((max(elapsed - step * each, 0.0), each))
    if not found:
        return None
    begin, each = zip(*found, strict=True)
    return statistics.median(begin), statistics.median(each)


# --- pieces -----------------------------------------------------------------------------


def _most(pack: bool | int | None, count: int) -> int:
    """Return the largest number of runs of a group."""
    if pack is None:
        pack = jax.default_backend() != "cpu"
    if isinstance(pack, bool):
        return count if pack else 1
    return checks.check_integer("pack", pack)


def _resolved(
    alike: Sequence[Experiment], loaded: dict[str, Any]
) -> list[ResolvedExperiment]:
    """Return experiments resolved; the data of each name are loaded once."""
    key = json.dumps(data_source(alike[0]), sort_keys=True)
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
    pace: tuple[float, float] | None,
) -> PlannedRun:
    found = run_state(out / one.name)
    left = one.settings.steps - found.step
    seconds = None if pace is None else pace[0] + left * pace[1]
    return PlannedRun(
        name=one.name,
        hash=one.hash,
        group=group,
        description=one.description,
        where=where,
        differs="",
        state=found.state,
        step=found.step,
        seconds=0.0 if found.state in FINAL else seconds,
    )


def _is_same_program(resolved: ResolvedExperiment, described: dict[str, Any]) -> bool:
    """Return whether an earlier run compiled to the same step."""
    if described.get("dataset") != resolved.description["dataset"]:
        return False
    try:
        earlier = experiment_from(described)
    except (KeyError, TypeError, ValueError):
        return False  # written by another version
    names = ("dataset", "images_per_class", "network", "batch_size", "method")
    step = {name: getattr(earlier, name) for name in names}
    step["dataset"] = resolved.settings.dataset
    return (
        len(
            programs(
                [resolved.settings, dataclasses.replace(resolved.settings, **step)]
            )
        )
        == 1
    )


def _group_name(part: Sequence[ResolvedExperiment]) -> str:
    first = part[0].name
    if len(part) == 1:
        return first
    digest = hashlib.sha256("".join(one.hash for one in part).encode()).hexdigest()
    return f"{first.rpartition('-')[0]}-x{len(part)}-{digest[:8]}"


def _name(runs: Sequence[PlannedRun]) -> str:
    if len(runs) == 1:
        return runs[0].name
    text = "".join(sorted(run.hash for run in runs))
    datasets = "-".join(dict.fromkeys(str(run.where["dataset"]) for run in runs))
    return f"{datasets}-x{len(runs)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _with_differences(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs, each with the settings that tell it from similar ones."""

    def kind(run: PlannedRun) -> tuple[Any, ...]:
        described = run.description
        method = described["method"]["name"]
        return run.where["dataset"], described["images_per_class"], method

    made = []
    for run in runs:
        mine = _flat(run.description)
        others = [_flat(one.description) for one in runs if kind(one) == kind(run)]
        differing = [
            f"{name}={_shown(value)}"
            for name, value in mine.items()
            if any(other[name] != value for other in others)
        ]
        made.append(dataclasses.replace(run, differs=", ".join(differing)))
    return made


def _flat(description: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that have no column of their own, by short name."""
    own = ("dataset", "images_per_class", "seed", "steps", "method", "network")
    # These follow from the number of steps.
    own += ("validation_every", "log_every", "hash")
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
