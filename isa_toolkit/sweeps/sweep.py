"""A sweep: planned, run by an engine, and read from its folder by any process.

``<out>/sweeps/<name>/`` holds ``plan.json`` (which runs are in which groups), ``launch.json``
(how they are run) and ``groups/<group>/`` with ``job.json``, ``worker.json`` and ``log.txt``.
How far a run is stands in its own folder. A file ``STOP`` stops all runs with checkpoints,
``KILL`` ends them at once.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import html
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.distillation import Run
from isa_toolkit.distillation.api import PREPARED_LIMIT_BYTES
from isa_toolkit.distillation.run_names import differing_settings, settings_text
from isa_toolkit.distillation.signals import catch_signals
from isa_toolkit.distillation.store import is_locked, lock_folder
from isa_toolkit.errors import RunLockedError
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.engines import Engine, make_engine
from isa_toolkit.sweeps.states import (
    ALIVE,
    FINAL,
    KILL,
    STOP,
    WORKER,
    RunStatus,
    last_line,
    run_status,
)
from isa_toolkit.sweeps.worker import JOB, PLANNED, is_parent_gone, start_python

if TYPE_CHECKING:
    import pandas as pd


PLAN, LAUNCH = "plan.json", "launch.json"
_DRIVER = "import sys; from isa_toolkit.sweeps.sweep import drive; drive(sys.argv[1])"
_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: Name of the run folder.
        hash: Hash of the experiment.
        group: Name of the group that contains the run.
        description: Every choice, as in ``experiment.json``.
        where: Where the data and the run to start from are, as keyword arguments of
            ``Experiment``.
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
        step = max(status.step, self.description["start_step"] or 0)
        return self.pace[0] + (self.steps - step) * self.pace[1]


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """The runs of a sweep in groups; shows itself as a table in a notebook.

    Attributes:
        name: Name of the sweep; its folder is ``<out>/sweeps/<name>``.
        out: Path of the folder of run folders.
        runs: Each run once, in the order of the experiments.

    Example:
        >>> from isa_toolkit import Experiment, plan
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

    def run(
        self,
        engine: str = "local",
        *,
        wait: bool = True,
        progress: bool | None = None,
        checkpoint_s: float = 60.0,
        keep_checkpoints: int | None = 3,
        prepared_limit_bytes: int = PREPARED_LIMIT_BYTES,
        **options: Any,
    ) -> Sweep:
        """Run what is left of the plan; the arguments are those of ``sweep``."""
        checks.check_number("checkpoint_s", checkpoint_s, above=0)
        if keep_checkpoints is not None:
            checks.check_integer("keep_checkpoints", keep_checkpoints)
        checks.check_integer(
            "prepared_limit_bytes", prepared_limit_bytes, minimum=0, maximum=2**63 - 1
        )
        starter = make_engine(engine, options)
        settings = {
            "checkpoint_s": checkpoint_s,
            "keep_checkpoints": keep_checkpoints,
            "prepared_limit_bytes": prepared_limit_bytes,
        }
        with _locked(self.path):
            made = write(self, settings)
            last = {"engine": engine, "options": options, "settings": settings}
            write_json(made.path / LAUNCH, last)
            is_finished = all(one.state in FINAL for one in self.statuses())
            is_here = starter.outlives_us or (wait and not starter.needs_own_process)
            if is_finished or is_here:
                _drive(self, starter, progress, wait=wait)
                return made
        log = made.path / "driver.log"
        driver = start_python(["-c", _DRIVER, str(made.path)], log, tied=wait)
        if wait:
            _follow(self, progress, lambda: driver.poll() is None)
        else:
            wait_while(lambda: driver.poll() is None and not is_locked(made.path))
        if driver.poll():
            raise ChildProcessError(f"The sweep failed: {last_line(log)} See {log}.")
        return made

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
        # These have columns of their own.
        hidden = ("dataset", "images_per_class", "method", "seed", "steps")
        differing = differing_settings(
            [run.description for run in self.runs],
            alike=("dataset", "images_per_class", "method"),
            hidden=hidden,
        )
        return [settings_text(values) for values in differing]

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


@typed
class Sweep:
    """A sweep in its folder: read by any process, on any machine that sees the folder.

    Args:
        path: Path of the folder of the sweep.

    Raises:
        FileNotFoundError: There is no sweep.

    Attributes:
        path: Path of the folder of the sweep.
        name: Name of the sweep.
        plan: Its runs and groups.

    Example:
        >>> import tempfile
        >>> from isa_toolkit import Experiment, plan
        >>> out = tempfile.mkdtemp()
        >>> made = write(plan(Experiment("digits", steps=100), out=out, name="one"))
        >>> Sweep(f"{out}/sweeps/one").state
        'new'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.name = self.path.name
        stored = read_json(self.path / PLAN, PLANNED)
        if stored is None:
            raise FileNotFoundError(
                f"There is no sweep at {self.path} (no {PLAN} that can be read). Choose a "
                "folder such as runs/sweeps/<name>, or plan it anew."
            )
        names = [field.name for field in dataclasses.fields(PlannedRun)]
        runs = tuple(
            PlannedRun(**{name: run[name] for name in names}) for run in stored["runs"]
        )
        self.plan = Plan(self.name, self.path.parents[1], runs)

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {self.state})"

    def _repr_html_(self) -> str:
        table = self.plan.shown().to_html(index=False, na_rep="", float_format="%.3g")
        return f"<p>{html.escape(self.name)}: {self.state}</p>{table}"

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, in the order of the plan."""
        paths = [self.plan.out / run.name for run in self.plan.runs]
        return [Run.open(one) for one in paths if (one / "experiment.json").is_file()]

    @property
    def state(self) -> str:
        """State of the whole: new, queued, running, stopping, stopped, failed (some runs
        failed) or done (each run is done or diverged).
        """  # noqa: D205
        states = {status.state for status in self.plan.statuses()}
        if is_locked(self.path) or not states.isdisjoint(ALIVE):
            return "stopping" if (self.path / STOP).exists() else "running"
        if states <= set(FINAL):
            return "done"
        found = [one for one in ("failed", "queued") if one in states]
        return found[0] if found else "new" if states == {"new"} else "stopped"

    def status(self) -> pd.DataFrame:
        """Return one row per run, as it is now; see ``Plan.table``."""
        return self.plan.table()

    def cancel(self, *, force: bool = False) -> None:
        """Stop all runs with checkpoints, and start no more. Does not wait.

        Args:
            force: End all processes at once; what came after the last checkpoints is lost.
        """
        if self.state not in ("new", "done"):
            for name in (STOP, KILL) if force else (STOP,):
                (self.path / name).touch()

    def resume(
        self, *, wait: bool = True, progress: bool | None = None, **options: Any
    ) -> Sweep:
        """Run what is left, as it was launched last; return the sweep itself.

        Args:
            wait: Return when the runs have ended.
            progress: Show a progress bar; None for only on a terminal or in a notebook.
            options: Options of the engine to change; ``engine`` for another engine, with
                its options.

        Raises:
            RunLockedError: Another process is running the sweep.
        """
        last = _last_launch(self.path)
        engine = options.pop("engine", last["engine"])
        kept = last["options"] if engine == last["engine"] else {}
        settings = {**last["settings"], **kept, **options}
        return self.plan.run(engine, wait=wait, progress=progress, **settings)

    def wait(self, timeout_s: float | None = None) -> str:
        """Return the state when nothing runs any more.

        Args:
            timeout_s: Largest number of seconds to wait; None for any number.

        Raises:
            TimeoutError: It runs longer.
        """
        running = ("running", "stopping")
        wait_while(lambda: self.state in running, f"The sweep {self.name}", timeout_s)
        return self.state


@typed
def sweeps_in(out: str | Path) -> list[Sweep]:
    """Return all sweeps of a folder of run folders, by name; it may be missing.

    Those whose plan is damaged are left out.
    """
    found = sorted((Path(out) / "sweeps").glob(f"*/{PLAN}"))
    return [Sweep(path.parent) for path in found if read_json(path, PLANNED)]


def wait_while(
    is_running: Callable[[], bool], name: str = "", timeout_s: float | None = None
) -> None:
    """Return when something does not run any more, or raise ``TimeoutError``."""
    end = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while is_running():
        if time.monotonic() > end:
            raise TimeoutError(f"{name} still runs after {timeout_s:g} s.")
        time.sleep(_POLL_S)


# --- launching --------------------------------------------------------------------------


@typed
def write(planned: Plan, settings: Mapping[str, Any] | None = None) -> Sweep:
    """Write what the workers of a plan need to know, and withdraw requests to stop.

    Args:
        planned: Plan to write; what an earlier launch has left in its folder stays.
        settings: Keyword arguments of ``distill``.
    """
    write_json(planned.path / PLAN, {"runs": list(map(vars, planned.runs))})
    for group, runs in planned.groups.items():
        job = {"runs": list(map(vars, runs)), "settings": dict(settings or {})}
        write_json(planned.group_path(group) / JOB, job)
    for name in (STOP, KILL):
        (planned.path / name).unlink(missing_ok=True)
    return Sweep(planned.path)


def drive(path: str) -> None:
    """Run what is left of a sweep as it was launched last, in a process of its own."""
    made = Sweep(path)
    last = _last_launch(made.path)
    with _locked(made.path):
        starter = make_engine(last["engine"], last["options"])
        _drive(made.plan, starter, progress=False, wait=True)


def _last_launch(sweep: Path) -> dict[str, Any]:
    """Return how a sweep was launched last; the usual way if that is not known."""
    schema = {"engine": str, "options": dict, "settings": dict}
    usual = {"engine": "local", "options": {}, "settings": {}}
    return read_json(sweep / LAUNCH, schema) or usual


def _locked(path: Path) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Lock the folder of a sweep; wait for a process that is stopping it."""
    return lock_folder(
        path,
        lambda holder: RunLockedError(
            f"The sweep {path.name} is run by {holder}. Wait for it, or stop it with: "
            f"isa-toolkit sweep cancel {path}"
        ),
        wait_s=60.0 if (path / STOP).exists() else 1.0,
    )


def _drive(planned: Plan, engine: Engine, progress: bool | None, *, wait: bool) -> None:
    """Start what is left, and wait until all has ended; the folder is locked."""
    table = planned.table()
    left = table.group[~table.state.isin(FINAL)].unique()
    for group in left:
        queued = {"state": "queued", "outlives_us": engine.outlives_us}
        write_json(planned.group_path(group) / WORKER, queued)
    try:
        if len(left):
            engine.start([planned.group_path(group) for group in left])
            if wait:
                _follow(planned, progress, engine.poll, engine.stop)
    except BaseException:
        (planned.path / STOP).touch()
        raise


def _follow(
    planned: Plan,
    progress: bool | None,
    poll: Callable[[], bool],
    stop: Callable[[bool], None] = lambda force: None,
) -> None:
    """Show progress and pass requests to stop on, as long as something runs or waits.

    The first SIGINT or SIGTERM writes ``STOP``, the second one ``KILL``.
    """
    import tqdm.auto

    total = sum(run.steps for run in planned.runs)
    disable = None if progress is None else not progress
    bar = tqdm.auto.tqdm(total=total, desc=planned.name, unit="step", disable=disable)
    requests = [planned.path / STOP, planned.path / KILL]
    passed, is_running = 0, True
    try:
        with catch_signals() as request, bar:
            while is_running:
                is_running = poll()
                if request.requested or is_parent_gone():
                    requests[0].touch()
                wanted = sum(path.exists() for path in requests)
                if wanted > passed:
                    passed = wanted
                    stop(wanted == 2)
                if not bar.disable:
                    statuses = planned.statuses()
                    bar.n = sum(one.step for one in statuses)
                    bar.set_postfix(collections.Counter(one.state for one in statuses))
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        requests[1].touch()
        stop(True)
        raise
