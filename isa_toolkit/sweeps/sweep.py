"""A sweep: planned, run by an engine, and read from its folder by any process.

``<out>/sweeps/<name>/`` holds ``plan.json`` (which runs are in which groups), ``launch.json``
(how they are run) and ``groups/<group>/`` with ``job.json``, ``result.json`` and ``log.txt``.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.distillation.api import PREPARED_LIMIT_BYTES
from isa_toolkit.distillation.param_grid import Grid
from isa_toolkit.distillation.store import is_locked, lock_folder
from isa_toolkit.errors import RunLockedError
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.engines import EngineName, make_engine
from isa_toolkit.sweeps.plan import Plan, PlannedRun, plan
from isa_toolkit.sweeps.states import (
    FINAL,
    QUEUED,
    RESULT,
    group_state,
    last_line,
    run_state,
)
from isa_toolkit.sweeps.worker import (
    JOB,
    KILL,
    STOP,
    is_parent_gone,
    signals,
    start_python,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep", "drive", "launch", "sweep", "sweeps_in", "write"]

PLAN, LAUNCH, LOG = "plan.json", "launch.json", "driver.log"
_POLL_S = 0.1
_BAR_S = 0.5
_STARTUP_S = 60.0


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
        options: Options of the engine: ``slots``, ``gpus`` and ``retries`` (local), see
            ``LocalEngine``; ``address``, ``num_gpus``, ``num_cpus``, ``max_retries`` (ray),
            see ``RayEngine``; parameters of submitit (slurm), see ``SlurmEngine``.

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
    return launch(
        planned, engine, wait=wait, progress=progress, checkpoint_s=checkpoint_s,
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
        plan: The runs, with the states that they had when they were planned.

    Example:
        >>> import tempfile
        >>> out = tempfile.mkdtemp()
        >>> made = write(plan(Experiment("digits", steps=100), out=out, name="one"))
        >>> Sweep.open(f"{out}/sweeps/one").state
        'new'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        stored = read_json(self.path / PLAN)
        if stored is None:
            raise FileNotFoundError(
                f"There is no sweep at {self.path} (no {PLAN}). Choose a folder such as "
                "runs/sweeps/<name>."
            )
        runs = tuple(PlannedRun(**run) for run in stored["runs"])
        self.plan = Plan(name=self.path.name, out=self.path.parents[1], runs=runs)

    @classmethod
    def open(cls, path: str | Path) -> Sweep:
        """Return the sweep in a folder, see the class."""
        return cls(path)

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {self.state})"

    def _repr_html_(self) -> str:
        table = self.status().to_html(
            index=False, na_rep="", float_format="{:.3g}".format
        )
        return f"<p>{html.escape(self.name)}: {self.state}</p>{table}"

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.plan.name

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, in the order of the plan."""
        paths = [self.plan.out / run.name for run in self.plan.runs]
        return [Run.open(one) for one in paths if (one / "experiment.json").is_file()]

    def group_path(self, group: str) -> Path:
        """Return the path of the folder of a group, by its name."""
        return self.path / "groups" / group

    # --- how it is -------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a process starts workers, or a worker runs, on whatever machine."""
        return is_locked(self.path) or any(
            group_state(self.group_path(group)).is_alive for group in self.plan.groups
        )

    @property
    def is_stopping(self) -> bool:
        """Whether a request to stop is not finished yet."""
        return (self.path / STOP).exists() and self.is_running

    @property
    def state(self) -> str:
        """State of the whole: new, queued, running, stopping, stopped, failed (some runs
        failed) or done (each run is done or diverged).
        """  # noqa: D205
        if self.is_running:
            return "stopping" if (self.path / STOP).exists() else "running"
        states = {row["state"] for row in self.rows()}
        if states <= set(FINAL):
            return "done"
        found = [one for one in ("failed", "queued") if one in states]
        return found[0] if found else "new" if states == {"new"} else "stopped"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what is known of each run now, as plain JSON, in the order of the plan.

        Keys: run, group, state (new, queued, running, stopped, failed, diverged, done),
        differs, seed, step, steps, steps_per_s and eta_s (None if unknown), reason.
        """
        # Slurm keeps its queue without a process of ours.
        engine = (read_json(self.path / LAUNCH) or {}).get("engine")
        is_waiting = is_locked(self.path) or engine == "slurm"
        is_waiting = is_waiting and not (self.path / STOP).exists()
        workers = {
            group: group_state(self.group_path(group)) for group in self.plan.groups
        }
        for run in self.plan.runs:
            found, worker = run_state(self.plan.out / run.name), workers[run.group]
            state, reason = str(found.state), found.reason
            if state not in (*FINAL, "running"):
                if worker.is_alive:
                    state, reason = "running", ""
                elif worker.state == "failed":
                    state, reason = "failed", worker.reason
                elif worker.state == "queued" and is_waiting:
                    state, reason = "queued", ""
            speed = found.steps_per_s if state == "running" else 0.0
            yield {
                "run": run.name,
                "group": run.group,
                "state": state,
                "differs": run.differs,
                "seed": int(run.description["seed"]),
                "step": found.step,
                "steps": run.steps,
                "steps_per_s": speed or None,
                "eta_s": (run.steps - found.step) / speed if speed else None,
                "reason": reason,
            }

    def status(self) -> pd.DataFrame:
        """Return one row per run, see ``rows``; unknown numbers are NaN."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows()))
        return frame.astype({"steps_per_s": float, "eta_s": float})

    # --- what it does ----------------------------------------------------------------

    def cancel(self, *, force: bool = False) -> None:
        """Stop all runs with checkpoints, and start no more. Does not wait.

        Args:
            force: End all processes at once; what came after the last checkpoints is lost.

        Raises:
            OSError: The folder cannot be written.
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
            OSError: The folder cannot be written.
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
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self.is_running:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"The sweep {self.name} still runs after {timeout_s:g} s."
                )
            time.sleep(_POLL_S)
        return self.state


def sweeps_in(out: str | Path) -> list[Sweep]:
    """Return all sweeps of a folder of run folders, by name; it may be missing."""
    found = sorted((Path(out) / "sweeps").glob(f"*/{PLAN}"))
    return [Sweep.open(path.parent) for path in found]


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
        if wait and not starter.needs_own_process:
            _drive(made, starter, progress)
            return made
        if starter.outlives_us:
            starter.start(_left(made))
            return made
    code = "import sys; from isa_toolkit.sweeps.sweep import drive; drive(sys.argv[1])"
    driver = start_python(["-c", code, str(made.path)], made.path / LOG, tied=wait)
    end = time.monotonic() + _STARTUP_S
    while driver.poll() is None and time.monotonic() < end and not is_locked(made.path):
        time.sleep(_POLL_S)
    if wait:
        _follow(made, progress, lambda: driver.poll() is None)
    if driver.poll():
        log = made.path / LOG
        raise ChildProcessError(f"The sweep failed: {last_line(log)} See {log}.")
    return made


def write(planned: Plan, settings: Mapping[str, Any] = MappingProxyType({})) -> Sweep:
    """Write what the workers of a plan need to know, and withdraw requests to stop.

    Args:
        planned: Plan to write; what an earlier launch has left in its folder stays.
        settings: Keyword arguments of ``distill``.

    Raises:
        OSError: The folder cannot be written.
    """
    runs = [dataclasses.asdict(run) for run in planned.runs]
    write_json(planned.path / PLAN, {"runs": runs})
    made = Sweep.open(planned.path)
    for group in planned.groups:
        mine = [run for run in runs if run["group"] == group]
        job = {"runs": mine, "settings": dict(settings)}
        write_json(made.group_path(group) / JOB, job)
    for name in (STOP, KILL):
        (made.path / name).unlink(missing_ok=True)
    return made


def drive(path: str | Path) -> None:
    """Run what is left of a sweep as it was launched last, in a process of its own."""
    made = Sweep.open(path)
    last = read_json(made.path / LAUNCH) or {}
    with _locked(made.path):
        _drive(made, make_engine(last["engine"], last["options"]), progress=False)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the folder of a sweep; wait for a process that is stopping it."""

    def refuse(holder: str) -> RunLockedError:
        return RunLockedError(
            f"The sweep {path.name} is run by {holder}. Wait for it, or stop it with: "
            f"isa-toolkit sweep cancel {path}"
        )

    wait_s = _STARTUP_S if (path / STOP).exists() else 1.0
    with lock_folder(path, refuse, wait_s=wait_s):
        yield


def _left(made: Sweep) -> list[Path]:
    """Return the folders of the groups that are not finished, marked as queued."""
    left = []
    for group, runs in made.plan.groups.items():
        states = {run_state(made.plan.out / run.name).state for run in runs}
        if not states <= set(FINAL):
            folder = made.group_path(group)
            (folder / RESULT).unlink(missing_ok=True)
            write_json(folder / QUEUED, {})
            left.append(folder)
    return left


def _drive(made: Sweep, engine: Any, progress: bool | None) -> None:
    """Start what is left and return when all has ended; the folder is locked."""
    left = _left(made)
    if not left:
        return
    try:
        engine.start(left)
        _follow(made, progress, engine.poll, lambda force: engine.stop(force=force))
    except BaseException:
        (made.path / STOP).touch()
        raise


def _follow(
    made: Sweep,
    progress: bool | None,
    poll: Callable[[], bool],
    stop: Callable[[bool], None] = lambda force: None,
) -> None:
    """Show progress and pass requests to stop on, as long as something runs or waits."""
    passed = 0  # requests: 1 to stop, 2 to end at once
    with signals() as received, _bar(made, progress) as update:
        while poll():
            for name in (STOP, KILL)[: len(received) + is_parent_gone()]:
                (made.path / name).touch()
            wanted = sum((made.path / name).exists() for name in (STOP, KILL))
            if wanted > passed:
                passed = wanted
                stop(wanted == 2)
            update()
            time.sleep(_POLL_S)


@contextlib.contextmanager
def _bar(made: Sweep, progress: bool | None) -> Iterator[Callable[[], None]]:
    """Show a bar of all steps; yield a function that updates it."""
    import tqdm.auto

    total, shown_at = sum(run.steps for run in made.plan.runs), -math.inf
    disable = None if progress is None else not progress
    with tqdm.auto.tqdm(
        total=total, desc=made.name, unit="step", disable=disable
    ) as bar:

        def update(every_s: float = _BAR_S) -> None:
            nonlocal shown_at
            if bar.disable or time.monotonic() - shown_at < every_s:
                return
            shown_at, rows = time.monotonic(), list(made.rows())
            counts = collections.Counter(row["state"] for row in rows)
            bar.n = sum(row["step"] for row in rows)
            bar.set_postfix_str(", ".join(f"{n} {what}" for what, n in counts.items()))

        yield update
        update(0.0)
