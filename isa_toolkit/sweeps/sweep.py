"""A sweep: planned, run by an engine, and read from its folder by any process.

``<out>/sweeps/<name>/`` holds ``plan.json`` (which runs are in which groups), ``launch.json``
(how they are run) and ``groups/<group>/`` with ``job.json``, ``result.json`` and ``log.txt``.
How far a run is stands in its own folder. A file ``STOP`` stops all runs with checkpoints,
``KILL`` ends them at once.
"""

from __future__ import annotations

import contextlib
import html
import math
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from isa_toolkit import checks
from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.distillation.api import LIMIT_BYTES
from isa_toolkit.distillation.store import is_held
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.engines import EngineName, make_engine
from isa_toolkit.sweeps.plan import Plan, plan
from isa_toolkit.sweeps.states import (
    FINAL,
    QUEUED,
    RESULT,
    START_MARK,
    group_state,
    run_state,
)
from isa_toolkit.sweeps.worker import (
    JOB,
    KILL,
    STOP,
    is_parent_gone,
    lock,
    start_process,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep", "drive", "launch", "sweep", "sweeps_in"]

PLAN, LAUNCH, LOG = "plan.json", "launch.json", "driver.log"
_POLL_S = 0.1
_STARTUP_S = 60.0


def sweep(
    experiments: Experiment | Sequence[Experiment],
    grid: Mapping[str, Iterable[Any]] | None = None,
    *,
    engine: EngineName = "local",
    out: str | Path = "runs",
    name: str | None = None,
    pack: bool | int | None = None,
    wait: bool = True,
    progress: bool | None = None,
    checkpoint_s: float = 60.0,
    shards_limit_bytes: int = LIMIT_BYTES,
    **options: Any,
) -> Sweep:
    """Run experiments with every combination of settings, and return the sweep.

    Each group of runs is a process of its own. One that dies is started again and goes on
    from its checkpoints; a run that diverges stops no other. What is done is skipped, so the
    same call again goes on after any stop. SIGINT or SIGTERM, or ``Sweep.cancel``, stop all
    runs with checkpoints; a second one ends them at once. If this process is killed, its
    local workers write a checkpoint and end.

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
        shards_limit_bytes: See ``distill``.
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
        >>> from isa_toolkit.sweeps import plan
        >>> base = Experiment(dataset="digits", steps=100)
        >>> planned = plan(base, grid={"drop_easy": [0, 0.2]}, name="two")
        >>> finished = planned.run("local", slots=2)  # doctest: +SKIP
    """
    planned = plan(experiments, grid, out=out, name=name, pack=pack)
    return launch(
        planned,
        engine,
        wait=wait,
        progress=progress,
        checkpoint_s=checkpoint_s,
        shards_limit_bytes=shards_limit_bytes,
        **options,
    )


class Sweep:
    """A sweep in its folder: read by any process, on any machine that sees the folder.

    Args:
        path: Path of the folder of the sweep.

    Raises:
        FileNotFoundError: There is no sweep.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        stored = read_json(self.path / PLAN)
        if stored is None:
            raise FileNotFoundError(
                f"There is no sweep at {self.path} (no {PLAN}). Choose a folder such as "
                "runs/sweeps/<name>."
            )
        self._planned: list[dict[str, Any]] = stored["runs"]

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {self.state})"

    def _repr_html_(self) -> str:
        table = self.status().to_html(
            index=False, na_rep="", float_format="{:.3g}".format
        )
        return f"<p>{html.escape(self.name)}: {self.state}</p>{table}"

    @classmethod
    def open(cls, path: str | Path) -> Sweep:
        """Return the sweep in a folder.

        Args:
            path: Path of the folder of the sweep.

        Raises:
            FileNotFoundError: There is no sweep.
        """
        return cls(path)

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.path.name

    @property
    def out(self) -> Path:
        """Path of the folder of its run folders."""
        return self.path.parents[1]

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, in the order of the plan."""
        paths = [self.out / run["name"] for run in self._planned]
        return [Run.open(one) for one in paths if (one / "experiment.json").is_file()]

    @property
    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The planned runs of each group, by the name of the group."""
        found: dict[str, list[dict[str, Any]]] = {}
        for run in self._planned:
            found.setdefault(run["group"], []).append(run)
        return found

    def group_path(self, group: str) -> Path:
        """Return the path of the folder of a group.

        Args:
            group: Name of the group.
        """
        return self.path / "groups" / group

    # --- how it is -------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether a process starts workers, or a worker runs, on whatever machine."""
        return is_held(self.path) or any(
            group_state(self.group_path(group)).is_alive for group in self.groups
        )

    @property
    def is_stopping(self) -> bool:
        """Whether a request to stop is not finished yet."""
        return (self.path / STOP).exists() and self.is_running

    @property
    def state(self) -> str:
        """``"new"``, ``"queued"``, ``"running"``, ``"stopping"``, ``"stopped"``, ``"failed"``
        (some runs failed) or ``"done"`` (each run is done or diverged).
        """  # noqa: D205
        if self.is_running:
            return "stopping" if (self.path / STOP).exists() else "running"
        states = {row["state"] for row in self.rows()}
        if states <= set(FINAL):
            return "done"
        for state in ("failed", "queued", "stopped"):
            if state in states:
                return state
        return "stopped" if states != {"new"} else "new"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what is known of each run now, as plain JSON, in the order of the plan.

        Keys: run, group, state (new, queued, running, stopped, failed, diverged, done),
        differs, seed, step, steps, steps_per_s and eta_s (None if unknown), reason.
        """
        # Slurm keeps its queue without a process of ours.
        engine = (read_json(self.path / LAUNCH) or {}).get("engine")
        is_waiting = is_held(self.path) or engine == "slurm"
        is_waiting = is_waiting and not (self.path / STOP).exists()
        for group, runs in self.groups.items():
            worker = group_state(self.group_path(group))
            for run in runs:
                found = run_state(self.out / run["name"])
                state, reason = str(found.state), found.reason
                if state not in (*FINAL, "running"):
                    if worker.is_alive:
                        state, reason = "running", ""
                    elif worker.state == "failed":
                        state, reason = "failed", worker.reason
                    elif worker.state == "queued" and is_waiting:
                        state, reason = "queued", ""
                steps = int(run["description"]["steps"])
                speed = found.steps_per_s if state == "running" else 0.0
                yield {
                    "run": run["name"],
                    "group": group,
                    "state": state,
                    "differs": run["differs"],
                    "seed": int(run["description"]["seed"]),
                    "step": found.step,
                    "steps": steps,
                    "steps_per_s": speed or None,
                    "eta_s": (steps - found.step) / speed if speed else None,
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
        if self.state in ("new", "done"):
            return
        (self.path / STOP).touch()
        if force:
            (self.path / KILL).touch()

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
        return launch(self, engine, wait=wait, progress=progress, **settings)

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
    """Return all sweeps of a folder of run folders, by name.

    Args:
        out: Path of the folder, which may be missing.
    """
    found = sorted((Path(out) / "sweeps").glob(f"*/{PLAN}"))
    return [Sweep.open(path.parent) for path in found]


# --- launching --------------------------------------------------------------------------


def launch(
    planned: Plan | Sweep,
    engine: str = "local",
    *,
    wait: bool = True,
    progress: bool | None = None,
    checkpoint_s: float = 60.0,
    shards_limit_bytes: int = LIMIT_BYTES,
    **options: Any,
) -> Sweep:
    """Run what is left of a plan or of a sweep, see ``sweep`` for the arguments."""
    checks.check_positive("checkpoint_s", checkpoint_s)
    checks.check_integer("shards_limit_bytes", shards_limit_bytes, minimum=0)
    starter = make_engine(engine, options)
    with _locked(planned.path):
        if isinstance(planned, Plan):
            write_plan(planned)
        made = Sweep.open(planned.path)
        settings = {
            "checkpoint_s": checkpoint_s,
            "shards_limit_bytes": shards_limit_bytes,
        }
        write_json(
            made.path / LAUNCH,
            {"engine": engine, "options": options, "settings": settings},
        )
        write_jobs(made, settings)
        for name in (STOP, KILL):
            (made.path / name).unlink(missing_ok=True)
        if wait and not starter.needs_own_process:
            _drive(made, starter, progress)
            return made
        if starter.outlives_us:
            starter.start(_left(made))
            return made
    driver = _start_driver(made, tied=wait)
    if wait:
        _watch(made, driver, progress)
    return made


def write_plan(plan: Plan) -> None:
    """Write a plan into its folder; what an earlier launch has left there stays.

    Args:
        plan: Plan to write.

    Raises:
        OSError: The folder cannot be written.
    """
    names = ("name", "hash", "group", "where", "differs", "description")
    runs = [{name: getattr(run, name) for name in names} for run in plan.runs]
    write_json(plan.path / PLAN, {"name": plan.name, "runs": runs})


def write_jobs(made: Sweep, settings: Mapping[str, Any]) -> None:
    """Write what each worker needs to know.

    Args:
        made: Sweep, its plan written.
        settings: Keyword arguments of ``distill``.

    Raises:
        OSError: The folder cannot be written.
    """
    names = ("name", "hash", "where", "description")
    for group, runs in made.groups.items():
        job = [{name: run[name] for name in names} for run in runs]
        write_json(
            made.group_path(group) / JOB, {"runs": job, "settings": dict(settings)}
        )


def drive(path: str | Path) -> None:
    """Run what is left of a sweep as it was launched last; a process of its own does this.

    Args:
        path: Path of the folder of the sweep.
    """
    made = Sweep.open(path)
    last = read_json(made.path / LAUNCH) or {}
    with _locked(made.path):
        _drive(made, make_engine(last["engine"], last["options"]), progress=False)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the folder of a sweep; wait for a process that is stopping it."""
    refusal = (
        f"The sweep {path.name} is run by {{holder}}. Wait for it, or stop it with: "
        f"isa-toolkit sweep cancel {path}"
    )
    wait_s = _STARTUP_S if (path / STOP).exists() else 1.0
    with lock(path, refusal, wait_s=wait_s):
        yield


def _left(made: Sweep) -> list[Path]:
    """Return the folders of the groups that are not finished, marked as queued."""
    left = []
    for group, runs in made.groups.items():
        states = [run_state(made.out / run["name"]).state for run in runs]
        if not set(states) <= set(FINAL):
            folder = made.group_path(group)
            (folder / RESULT).unlink(missing_ok=True)
            write_json(folder / QUEUED, {})
            left.append(folder)
    return left


def _drive(made: Sweep, engine: Any, progress: bool | None) -> None:
    """Start what is left and return when all has ended; the folder is locked."""
    is_cancelled = is_killed = False
    try:
        with _signals() as received, _bar(made, progress) as update:
            engine.start(_left(made))
            while engine.poll():
                _request(made, len(received) + is_parent_gone())
                if (made.path / KILL).exists() and not is_killed:
                    is_killed = True
                    engine.stop(force=True)
                elif (made.path / STOP).exists() and not is_cancelled:
                    is_cancelled = True
                    engine.stop(force=False)
                update()
                time.sleep(_POLL_S)
    except BaseException:
        (made.path / STOP).touch()
        engine.stop(force=False)
        raise


def _watch(made: Sweep, driver: subprocess.Popen[bytes], progress: bool | None) -> None:
    """Show progress until the driver ends; pass requests to stop on to it."""
    with _signals() as received, _bar(made, progress) as update:
        while driver.poll() is None:
            _request(made, len(received))
            update()
            time.sleep(_POLL_S)
    if driver.returncode:
        raise _driver_error(made)


def _request(made: Sweep, count: int) -> None:
    """Write the files that stop or kill the sweep, after so many requests."""
    if count >= 1 and not (made.path / STOP).exists():
        (made.path / STOP).touch()
    if count >= 2:
        (made.path / KILL).touch()


def _start_driver(made: Sweep, *, tied: bool) -> subprocess.Popen[bytes]:
    """Start a process that drives the sweep; return when it has begun."""
    code = "import sys; from isa_toolkit.sweeps.sweep import drive; drive(sys.argv[1])"
    log = made.path / LOG
    driver = start_process(["-c", code, str(made.path)], log, tied=tied)
    end = time.monotonic() + _STARTUP_S
    while not is_held(made.path) and time.monotonic() < end:
        if driver.poll() is not None:
            if driver.returncode:
                raise _driver_error(made)
            break  # nothing was left to do
        time.sleep(_POLL_S)
    return driver


def _driver_error(made: Sweep) -> ChildProcessError:
    log = made.path / LOG
    lines = log.read_text().rpartition(START_MARK)[2].strip().splitlines()
    return ChildProcessError(f"The sweep {made.name} failed: {lines[-1]} See {log}.")


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of acting on them; yield the list."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def collect(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, collect) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _bar(made: Sweep, progress: bool | None) -> Iterator[Any]:
    """Show a bar of all steps; yield a function that updates it."""
    import tqdm.auto

    steps = sum(int(run["description"]["steps"]) for run in made._planned)
    disable = None if progress is None else not progress
    with tqdm.auto.tqdm(
        total=steps, desc=made.name, unit="step", disable=disable
    ) as bar:
        shown_at = -math.inf

        def update(*, is_last: bool = False) -> None:
            nonlocal shown_at
            if bar.disable or (time.monotonic() - shown_at < 0.5 and not is_last):
                return
            shown_at = time.monotonic()
            rows = list(made.rows())
            counts: dict[str, int] = {}
            for row in rows:
                counts[row["state"]] = counts.get(row["state"], 0) + 1
            bar.n = sum(row["step"] for row in rows)
            bar.set_postfix_str(", ".join(f"{n} {what}" for what, n in counts.items()))

        yield update
        update(is_last=True)
