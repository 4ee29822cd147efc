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
import html
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.distillation.api import PREPARED_LIMIT_BYTES
from isa_toolkit.distillation.param_grid import Grid
from isa_toolkit.distillation.signals import catch_signals
from isa_toolkit.distillation.store import is_locked, lock_folder
from isa_toolkit.errors import RunLockedError
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.engines import Engine, EngineName, make_engine
from isa_toolkit.sweeps.plan import Plan, PlannedRun, plan
from isa_toolkit.sweeps.states import ALIVE, FINAL, KILL, STOP, WORKER, last_line
from isa_toolkit.sweeps.worker import JOB, is_parent_gone, start_python

if TYPE_CHECKING:
    import pandas as pd


PLAN, LAUNCH = "plan.json", "launch.json"
_POLL_S = 0.2


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
        prepared_limit_bytes: Maximum size in bytes of precomputed data, see ``distill``.
        options: Options of the engine: ``slots`` and, for local, ``gpus`` and ``retries``;
            for Ray ``address``, ``num_gpus``, ``num_cpus`` and ``max_retries``; for Slurm
            ``cluster``, ``max_num_timeout`` and parameters of submitit.

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
        prepared_limit_bytes=prepared_limit_bytes, **options,
    )  # fmt: skip


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
        >>> out = tempfile.mkdtemp()
        >>> made = write(plan(Experiment("digits", steps=100), out=out, name="one"))
        >>> Sweep(f"{out}/sweeps/one").state
        'new'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.name = self.path.name
        stored = read_json(self.path / PLAN)
        if stored is None:
            raise FileNotFoundError(
                f"There is no sweep at {self.path} (no {PLAN}). Choose a folder such as "
                "runs/sweeps/<name>."
            )
        runs = tuple(PlannedRun(**run) for run in stored["runs"])
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
        last = read_json(self.path / LAUNCH) or {"engine": "local", "options": {}}
        engine = options.pop("engine", last["engine"])
        kept = last["options"] if engine == last["engine"] else {}
        settings = {**last.get("settings", {}), **kept, **options}
        return launch(self.plan, engine, wait=wait, progress=progress, **settings)

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


def sweeps_in(out: str | Path) -> list[Sweep]:
    """Return all sweeps of a folder of run folders, by name; it may be missing."""
    found = sorted((Path(out) / "sweeps").glob(f"*/{PLAN}"))
    return [Sweep(path.parent) for path in found]


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


def launch(
    planned: Plan,
    engine: str = "local",
    *,
    wait: bool = True,
    progress: bool | None = None,
    checkpoint_s: float = 60.0,
    prepared_limit_bytes: int = PREPARED_LIMIT_BYTES,
    **options: Any,
) -> Sweep:
    """Run what is left of a plan, see ``sweep`` for the arguments."""
    checks.check_positive("checkpoint_s", checkpoint_s)
    checks.check_integer("prepared_limit_bytes", prepared_limit_bytes, minimum=0)
    starter = make_engine(engine, options)
    settings = {
        "checkpoint_s": checkpoint_s,
        "prepared_limit_bytes": prepared_limit_bytes,
    }
    with _locked(planned.path):
        made = write(planned, settings)
        last = {"engine": engine, "options": options, "settings": settings}
        write_json(made.path / LAUNCH, last)
        if starter.outlives_us or (wait and not starter.needs_own_process):
            _drive(planned, starter, progress, wait=wait)
            return made
    code = "import sys; from isa_toolkit.sweeps.sweep import drive; drive(sys.argv[1])"
    log = made.path / "driver.log"
    driver = start_python(["-c", code, str(made.path)], log, tied=wait)
    if wait:
        _follow(planned, progress, lambda: driver.poll() is None)
    else:
        wait_while(lambda: driver.poll() is None and not is_locked(made.path))
    if driver.poll():
        raise ChildProcessError(f"The sweep failed: {last_line(log)} See {log}.")
    return made


def write(planned: Plan, settings: Mapping[str, Any] | None = None) -> Sweep:
    """Write what the workers of a plan need to know, and withdraw requests to stop.

    Args:
        planned: Plan to write; what an earlier launch has left in its folder stays.
        settings: Keyword arguments of ``distill``.
    """
    described = [dataclasses.asdict(run) for run in planned.runs]
    write_json(planned.path / PLAN, {"runs": described})
    for group in planned.groups:
        mine = [run for run in described if run["group"] == group]
        job = {"runs": mine, "settings": dict(settings or {})}
        write_json(planned.group_path(group) / JOB, job)
    for name in (STOP, KILL):
        (planned.path / name).unlink(missing_ok=True)
    return Sweep(planned.path)


def drive(path: str) -> None:
    """Run what is left of a sweep as it was launched last, in a process of its own."""
    made = Sweep(path)
    last = read_json(made.path / LAUNCH) or {}
    with _locked(made.path):
        starter = make_engine(last["engine"], last["options"])
        _drive(made.plan, starter, progress=False, wait=True)


def _locked(path: Path) -> contextlib.AbstractContextManager[None]:
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
