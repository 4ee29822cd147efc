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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from tqdm import tqdm

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import (
    DATA_FIELDS,
    Experiment,
    ResolvedExperiment,
)
from isa_toolkit.distillation.param_grid import (
    Grid,
    expand_grid,
    group_by_program,
    resolve_together,
)
from isa_toolkit.files import read_json
from isa_toolkit.sweeps.states import FINAL, State, run_state
from isa_toolkit.sweeps.worker import data_source

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
        differs: Settings in which the run differs from similar ones of the plan, as text.
        state: State of the run when it was planned.
        step: Number of steps that need not be taken again.
        seconds: Estimated number of seconds that are left; None if unknown.
    """

    name: str
    hash: str
    group: str
    description: dict[str, Any]
    where: dict[str, Any]
    differs: str = ""
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

    @property
    def time(self) -> str:
        """Estimated time that is left, as text."""
        return "unknown" if self.seconds is None else tqdm.format_interval(self.seconds)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
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
        found: dict[str, list[PlannedRun]] = {}
        for run in self.runs:
            found.setdefault(run.group, []).append(run)
        return found

    @property
    def seconds(self) -> float | None:
        """Estimated number of seconds for all runs in sequence; None if unknown."""
        known = [run.seconds for run in self.runs if run.seconds is not None]
        return sum(known) if len(known) == len(self.runs) else None

    @property
    def summary(self) -> str:
        """The number of runs, and how long they take, in one or two sentences."""
        states = [run.state for run in self.runs]
        left = len(states) - states.count("done") - states.count("diverged")
        text = f"{len(states)} run{'s' * (len(states) != 1)} in {len(self.groups)} "
        text += f"group{'s' * (len(self.groups) != 1)}: {states.count('done')} done, "
        text += f"{states.count('diverged')} diverged, " if "diverged" in states else ""
        text += f"{left} to run."
        if self.seconds is None:
            return f"{text} Time: unknown until a run of each program has run here."
        seconds = tqdm.format_interval(self.seconds)
        return f"{text} Time: about {seconds} in sequence, as measured in earlier runs."

    def run(self, engine: str = "local", **settings: Any) -> Sweep:
        """Run what is left of the plan.

        Args:
            engine: Name of the engine: ``"local"``, ``"ray"`` or ``"slurm"``.
            settings: Other arguments of ``sweep``, from ``wait`` on.
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

    def __repr__(self) -> str:
        return f"Plan({self.name!r}, runs={len(self.runs)}, groups={len(self.groups)})"

    def __str__(self) -> str:
        return f"{self._shown().to_string(index=False)}\n\n{self.summary}"

    def _repr_html_(self) -> str:
        return f"{self._shown().to_html(index=False)}<p>{html.escape(self.summary)}</p>"

    def _shown(self) -> pd.DataFrame:
        table = self.table().assign(seconds=[run.time for run in self.runs])
        hidden = ["group"] * (len(self.groups) == len(self.runs))
        return table.rename(columns={"seconds": "time"}).drop(columns=hidden)


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
    sources = [data_source(one) for one in wanted]
    if pack is None:
        pack = jax.default_backend() != "cpu"
    if isinstance(pack, bool):
        pack = len(wanted) if pack else 1
    most = checks.check_integer("pack", pack)
    folder = Path(out).absolute()
    if name is not None and (not name or Path(name).name != name or name == ".."):
        raise checks.fail("name", "be the name of a folder, not a path", name)

    loaded: dict[str, Any] = {}  # the data of each name, once
    made: dict[int, PlannedRun] = {}
    where = {id(one): source for one, source in zip(wanted, sources, strict=True)}
    for alike in group_by_program(wanted):
        key = json.dumps(where[id(alike[0])], sort_keys=True)
        data = loaded.setdefault(key, None) or alike[0].load()
        loaded[key] = data
        bare = {"dataset": data, **dict.fromkeys(DATA_FIELDS)}
        resolved = resolve_together([dataclasses.replace(one, **bare) for one in alike])
        distinct = list({one.hash: one for one in resolved}.values())
        pace = measured_pace(distinct[0], folder)
        groups = {}
        for part in _parts(distinct, most):
            groups |= dict.fromkeys([one.hash for one in part], _group_name(part))
        for one, its in zip(alike, resolved, strict=True):
            group = groups[its.hash]
            made[id(one)] = _planned(its, where[id(one)], group, folder, pace)
    runs = list({made[id(one)].hash: made[id(one)] for one in wanted}.values())
    differences = _differences(runs)
    runs = [
        dataclasses.replace(run, differs=differs)
        for run, differs in zip(runs, differences, strict=True)
    ]
    return Plan(name=name or _sweep_name(runs), out=folder, runs=tuple(runs))


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
    seconds = None
    if found.state in FINAL:
        seconds = 0.0
    elif pace is not None:
        seconds = pace[0] + (one.settings.steps - found.step) * pace[1]
    return PlannedRun(
        name=one.name, hash=one.hash, group=group, description=one.description,
        where=where, state=found.state, step=found.step, seconds=seconds,
    )  # fmt: skip


def _is_same_program(resolved: ResolvedExperiment, described: dict[str, Any]) -> bool:
    """Return whether an earlier run compiled to the same step."""
    if described.get("dataset") != resolved.description["dataset"]:
        return False
    try:
        earlier = Experiment.from_description(described)
    except (KeyError, TypeError, ValueError):
        return False  # written by another version
    names = ("images_per_class", "network", "batch_size", "method")
    step = {name: getattr(earlier, name) for name in names}
    mine = resolved.settings
    return len(group_by_program([mine, dataclasses.replace(mine, **step)])) == 1


def _group_name(part: Sequence[ResolvedExperiment]) -> str:
    if len(part) == 1:
        return part[0].name
    digest = hashlib.sha256("".join(one.hash for one in part).encode()).hexdigest()
    return f"{part[0].name.rpartition('-')[0]}-x{len(part)}-{digest[:8]}"


def _sweep_name(runs: Sequence[PlannedRun]) -> str:
    if len(runs) == 1:
        return runs[0].name
    text = "".join(sorted(run.hash for run in runs))
    datasets = "-".join(dict.fromkeys(str(run.where["dataset"]) for run in runs))
    return f"{datasets}-x{len(runs)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _differences(runs: Sequence[PlannedRun]) -> list[str]:
    """Return, for each run, the settings in which it differs from runs of its kind."""
    import pandas as pd

    # These have columns of their own, or follow from the number of steps.
    hidden = ("dataset", "seed", "steps", "validation_every", "log_every")
    shown = [
        {name: part for name, part in run.description.items() if name not in hidden}
        for run in runs
    ]
    table = pd.json_normalize(shown).map(_as_text)
    kinds = ["method.name", "images_per_class"]
    texts = pd.Series("", index=table.index)
    for _, alike in table.groupby([*kinds, [run.where["dataset"] for run in runs]]):
        for name in alike.columns[alike.nunique(dropna=False) > 1]:
            short = name.rpartition(".")[2] if name != "network.name" else "network"
            texts[alike.index] += f", {short}=" + alike[name]
    return [text.removeprefix(", ") for text in texts]


def _as_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else str(value)
