"""What a sweep would run: which runs, in which groups, how far they are, how long they take.

Nothing is compiled, written or started. A group is what one process runs: one run, or several
as one program.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from tqdm import tqdm

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation.experiment import (
    DATA_FIELDS,
    Experiment,
    ResolvedExperiment,
)
from isa_toolkit.distillation.param_grid import Grid, expand_grid, program_key
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.files import read_json
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import static_fields
from isa_toolkit.sweeps.states import FINAL, RunStatus, run_status

if TYPE_CHECKING:
    import pandas as pd

    from isa_toolkit.sweeps.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: Name of the run folder.
        hash: Hash of the experiment.
        group: Name of the group that contains the run.
        description: Every choice, as in ``experiment.json``.
        where: Where the data are, as keyword arguments of ``Experiment``.
        pace: Seconds to start and seconds per step of earlier runs; None if unknown.
    """

    name: str
    hash: str
    group: str
    description: dict[str, Any]
    where: dict[str, Any]
    pace: Sequence[float] | None

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return int(self.description["steps"])

    def seconds_left(self, status: RunStatus) -> float:
        """Return the time that is left, at the present speed or that of earlier runs."""
        if status.state in FINAL:
            return 0.0
        if not math.isnan(status.eta_s) or self.pace is None:
            return status.eta_s
        return self.pace[0] + (self.steps - status.step) * self.pace[1]


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """The runs of a sweep in groups; shows itself as a table in a notebook.

    Attributes:
        name: Name of the sweep; its folder is ``<out>/sweeps/<name>``.
        out: Path of the folder of run folders.
        runs: Each run once, in the order of the experiments.

    Example:
        >>> planned = plan(Experiment("digits", steps=100), name="one")
        >>> len(planned.runs), planned.runs[0].steps
        (1, 100)
    """

    name: str
    out: Path
    runs: tuple[PlannedRun, ...]

    @property
    def path(self) -> Path:
        """Path of the folder of the sweep."""
        return self.out / "sweeps" / self.name

    @property
    def groups(self) -> dict[str, list[PlannedRun]]:
        """Runs of each group, by the name of the group."""
        names = dict.fromkeys(run.group for run in self.runs)
        return {name: [run for run in self.runs if run.group == name] for name in names}

    def group_path(self, group: str) -> Path:
        """Return the path of the folder of a group, by its name."""
        return self.path / "groups" / group

    def run(self, engine: str = "local", **settings: Any) -> Sweep:
        """Run what is left of the plan.

        Args:
            engine: Name of the engine: ``"local"``, ``"ray"`` or ``"slurm"``.
            settings: Other arguments of ``sweep``, from ``wait`` on.
        """
        from isa_toolkit.sweeps.sweep import launch

        return launch(self, engine, **settings)

    def statuses(self) -> list[RunStatus]:
        """Return how far each run is now."""
        return [
            run_status(self.out / run.name, self.group_path(run.group))
            for run in self.runs
        ]

    def table(self) -> pd.DataFrame:
        """Return one row per run, as it is now.

        Columns: run, group, state (new, queued, starting, running, stopping, stopped,
        failed, diverged, done), dataset, ipc, method, differs, seed, step, steps,
        steps_per_s, seconds (left), reason; unknown numbers are NaN.
        """
        import pandas as pd

        rows = [
            {
                "run": run.name, "group": run.group, "state": status.state,
                "dataset": run.where["dataset"],
                "ipc": run.description["images_per_class"],
                "method": run.description["method"]["name"], "differs": differs,
                "seed": run.description["seed"], "step": status.step, "steps": run.steps,
                "steps_per_s": status.steps_per_s or math.nan,
                "seconds": run.seconds_left(status), "reason": status.reason,
            }
            for run, status, differs in zip(
                self.runs, self.statuses(), self._differences, strict=True
            )
        ]  # fmt: skip
        return pd.DataFrame(rows)

    @functools.cached_property
    def _differences(self) -> list[str]:
        """Settings in which each run differs from similar ones of the plan, as text."""
        import pandas as pd

        descriptions = [run.description for run in self.runs]
        table = pd.json_normalize(descriptions).map(_as_text)
        # These have columns of their own, or follow from the number of steps.
        hidden = r"(dataset\.|seed$|steps$|validation_every$|log_every$)"
        shown = table.columns[~table.columns.str.match(hidden)]
        datasets = [run.where["dataset"] for run in self.runs]
        texts = pd.Series("", index=table.index)
        for _, alike in table.groupby(["method.name", "images_per_class", datasets]):
            for name in shown[alike[shown].nunique(dropna=False) > 1]:
                short = name.rpartition(".")[2] if name != "network.name" else "network"
                texts[alike.index] += f", {short}=" + alike[name]
        return [text.removeprefix(", ") for text in texts]

    @property
    def summary(self) -> str:
        """The number of runs, and how long they take, in one or two sentences."""
        table, groups = self.table(), len(self.groups)
        counts = {state: int((table.state == state).sum()) for state in FINAL}
        left = len(table) - sum(counts.values())
        diverged = f"{counts['diverged']} diverged, " if counts["diverged"] else ""
        text = (
            f"{len(table)} run{'s' * (len(table) != 1)} in {groups} "
            f"group{'s' * (groups != 1)}: {counts['done']} done, {diverged}{left} to run."
        )
        seconds = table.seconds.sum(skipna=False)
        if math.isnan(seconds):
            return f"{text} Time: unknown until a run of each program has run here."
        time = tqdm.format_interval(seconds)
        return f"{text} Time: about {time} in sequence, as measured in earlier runs."

    def shown(self) -> pd.DataFrame:
        """Return the table for people: times as text, and no columns without content."""
        table = self.table()
        times = [
            "unknown" if math.isnan(seconds) else tqdm.format_interval(seconds)
            for seconds in table.seconds
        ]
        alone = ["group"] * (len(self.groups) == len(self.runs))
        table = table.assign(left=times).drop(columns=["seconds", "reason", *alone])
        return table.dropna(axis="columns", how="all")

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, runs={len(self.runs)}, groups={len(self.groups)})"

    def __str__(self) -> str:
        return f"{self.shown().to_string(index=False)}\n\n{self.summary}"

    def _repr_html_(self) -> str:
        return f"{self.shown().to_html(index=False)}<p>{html.escape(self.summary)}</p>"


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


def measured_pace(
    description: Mapping[str, Any], out: Path
) -> tuple[float, float] | None:
    """Return how fast earlier runs of the same program were on this kind of device.

    A run that took n steps in T seconds, v steps per second in its last chunk, needed
    ``t = min(1/v, T/n)`` seconds for each step and ``T - n t`` seconds to start. Returns the
    medians of the seconds to start and per step over the runs in ``out``, or None.
    """
    device, found = jax.devices()[0], []
    here = f"{device.platform}: {device.device_kind}"
    for path in out.glob("*/experiment.json"):
        status = read_json(path.with_name("status.json")) or {}
        starts = (read_json(path.with_name("environment.json")) or {}).get("starts")
        step, speed = int(status.get("step", 0)), float(status.get("steps_per_s", 0))
        # The first step compiles and says nothing about the speed.
        if step < 2 or not speed or not starts or starts[-1].get("device") != here:
            continue
        if _program(read_json(path) or {}) == _program(description):
            elapsed = float(status["elapsed_s"])
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
    """Return where the data of an experiment are, as keyword arguments of ``Experiment``."""
    if not isinstance(experiment.dataset, str):
        raise InvalidTypeError(
            "dataset must be a name for a run in a process of its own, got a Dataset "
            f"({experiment.dataset.name!r}). Save the arrays as an .npz file and give "
            "its path as root, or call distill(experiment) in this process."
        )
    root = None if experiment.root is None else str(Path(experiment.root).absolute())
    fields = {name: getattr(experiment, name) for name in DATA_FIELDS}
    return {"dataset": experiment.dataset, **fields, "root": root}


def _name(runs: Sequence[PlannedRun | ResolvedExperiment]) -> str:
    """Return the name of a group or a sweep: what the names of its runs begin with."""
    if len(runs) == 1:
        return runs[0].name
    parts = zip(*(run.name.split("-") for run in runs), strict=False)
    common = itertools.takewhile(lambda part: len(set(part)) == 1, parts)
    digest = hashlib.sha256("".join(run.hash for run in runs).encode()).hexdigest()
    return "-".join([*(part[0] for part in common), f"x{len(runs)}", digest[:8]])


def _as_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else str(value)
