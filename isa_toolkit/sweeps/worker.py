"""The unit of work of every engine: the runs of one group, in one process.

The folder ``<out>/sweeps/<sweep>/groups/<group>`` holds ``job.json``, which says what to run.
The worker locks the folder and leaves ``result.json``. It needs nothing else, so any scheduler
can start it: ``isa-toolkit sweep worker FOLDER``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

import isa_toolkit
from isa_toolkit.distillation import (
    DivergedError,
    Experiment,
    Progress,
    RunLockedError,
    distill,
    distill_grid,
)
from isa_toolkit.distillation.param_grid import resolve_alike
from isa_toolkit.distillation.store import held, now
from isa_toolkit.errors import InvalidTypeError
from isa_toolkit.files import read_json, write_json
from isa_toolkit.methods import METHODS
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.sweeps.states import (
    FINAL,
    HOLDER,
    LOG,
    QUEUED,
    RESULT,
    START_MARK,
    last_lines,
    run_state,
)

__all__ = [
    "DIVERGED",
    "FAILED",
    "LOCKED",
    "USAGE",
    "Result",
    "check_loadable",
    "data_source",
    "experiment_from",
    "is_parent_gone",
    "lock",
    "read_result",
    "run_group",
    "settle",
    "start_process",
    "start_worker",
]

JOB, STOP, KILL = "job.json", "STOP", "KILL"
# The same codes as those of the command line.
FAILED, USAGE, DIVERGED, LOCKED = 1, 2, 3, 4
# The number of the process whose end ends this one, too.
PARENT = "ISA_SWEEP_PARENT"
_POLL_S = 0.2
# An orphaned worker writes its checkpoint before it frees the folder.
_LOCK_WAIT_S = 30.0
_DETACHED: list[subprocess.Popen[bytes]] = []


class Result(NamedTuple):
    """How the worker of a group ended.

    Attributes:
        code: 0 (done, or stopped on request), 1 (the system failed), 2 (bad input), 3 (a
            run diverged; the others are done or stopped), 4 (another process works on it).
        reason: One sentence; empty for code 0.
    """

    code: int
    reason: str


def read_result(folder: Path) -> Result | None:
    """Return how the last worker of a group ended; None if it left no result.

    Args:
        folder: Path of the folder of the group.
    """
    stored = read_json(folder / RESULT)
    return None if stored is None else Result(int(stored["code"]), stored["reason"])


# --- in the process of the worker -------------------------------------------------------


def run_group(path: str | Path) -> int:
    """Run the runs of a group that are not finished; return the exit code.

    A file ``STOP`` in the folder of the sweep, SIGINT, SIGTERM, or the end of the process
    that started it (if ``start_worker`` tied them) stop it with a checkpoint of each run.
    A file ``KILL`` ends it at once.

    Args:
        path: Path of the folder of the group.

    Returns:
        The code of ``Result``; the reason is in ``result.json``, a traceback in the log.

    Raises:
        FileNotFoundError: There is no group.
    """
    folder = Path(path).absolute()
    job = read_json(folder / JOB)
    if job is None:
        raise FileNotFoundError(
            f"There is no group of a sweep at {folder} (no {JOB}). Choose a folder such as "
            "runs/sweeps/<sweep>/groups/<group>."
        )
    refusal = f"The group {folder.name} is run by {{holder}}."
    with _cancellation(folder.parents[1]) as is_cancelled:
        try:
            with lock(folder, refusal, wait_s=_LOCK_WAIT_S):
                for name in (RESULT, QUEUED):
                    (folder / name).unlink(missing_ok=True)
                result = _guarded(lambda: _run(folder, job, is_cancelled))
                write_json(folder / RESULT, result._asdict())
        except RunLockedError as error:
            # The folder belongs to the other process: nothing is written into it.
            result = Result(LOCKED, str(error))
    if result.reason:
        sys.stderr.write(f"isa-toolkit: {result.reason}\n")
    return result.code


@contextlib.contextmanager
def lock(folder: Path, refusal: str, *, wait_s: float) -> Iterator[None]:
    """Lock a folder for this process; the system frees it when the process ends.

    Args:
        folder: Path of the folder.
        refusal: Message of the error; ``{holder}`` in it becomes the other process.
        wait_s: Number of seconds to wait for another process that is ending.

    Raises:
        RunLockedError: Another process keeps the folder locked.
        OSError: The folder cannot be written.
    """

    def error(holder: str) -> RunLockedError:
        return RunLockedError(refusal.format(holder=holder))

    end = time.monotonic() + wait_s
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(folder, error))
                break
            except RunLockedError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL_S)
        yield


@contextlib.contextmanager
def _cancellation(sweep: Path) -> Iterator[Callable[[], bool]]:
    """Notice requests to stop; yield a function that tells whether there was one.

    Args:
        sweep: Path of the folder of the sweep.
    """
    requested, ended = threading.Event(), threading.Event()
    is_main = threading.current_thread() is threading.main_thread()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        requested.set()

    def watch() -> None:
        while not ended.wait(_POLL_S):
            if (sweep / KILL).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if not requested.is_set() and ((sweep / STOP).exists() or is_parent_gone()):
                requested.set()
                if is_main:  # distill hears it also while it loads or compiles
                    os.kill(os.getpid(), signal.SIGTERM)

    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, handle) for number in numbers}
    thread = threading.Thread(target=watch, name="isa cancellation", daemon=True)
    thread.start()
    try:
        yield lambda: requested.is_set() or (sweep / STOP).exists()
    finally:
        ended.set()
        thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def is_parent_gone() -> bool:
    """Return whether the process that this one is tied to has ended."""
    parent = os.environ.get(PARENT)
    return parent is not None and os.getppid() != int(parent)


def _guarded(function: Callable[[], None]) -> Result:
    """Call a function; return how it ended. Every error becomes a result."""
    try:
        function()
    except (ValueError, TypeError, FileNotFoundError, FileExistsError) as error:
        return Result(USAGE, str(error))
    except DivergedError as error:
        return Result(DIVERGED, str(error))
    except RunLockedError as error:
        return Result(LOCKED, str(error))
    except Exception as error:  # noqa: BLE001 - told to whoever reads the folder
        traceback.print_exc()
        text = str(error).strip() or "no message"
        return Result(FAILED, f"{type(error).__name__}: {text.splitlines()[0]}")
    return Result(0, "")


def _run(folder: Path, job: dict[str, Any], is_cancelled: Callable[[], bool]) -> None:
    out = folder.parents[3]
    left = [
        run for run in job["runs"] if run_state(out / run["name"]).state not in FINAL
    ]
    if is_cancelled():
        sys.stderr.write("isa-toolkit: the sweep is stopped; resume it to go on\n")
    if not left or is_cancelled():
        return
    experiments = _experiments(left)

    def stop(progress: Progress) -> bool:
        if not (progress.path / "experiment.json").is_file():
            raise RuntimeError(f"The run folder {progress.path} was deleted.")
        return is_cancelled()

    settings: Any = {
        "out": out, "callbacks": [stop], "progress": False, **job["settings"]
    }  # fmt: skip
    if len(experiments) == 1:
        distill(experiments[0], **settings)
    else:
        distill_grid(experiments, **settings)


def _experiments(runs: list[dict[str, Any]]) -> list[Experiment]:
    """Return the experiments, their data loaded once; refuse what has changed."""
    named = [experiment_from(run["description"], **run["where"]) for run in runs]
    data = named[0].load()
    loaded = [
        dataclasses.replace(one, dataset=data, source=None, root=None, limit=None)
        for one in named
    ]
    for run, one in zip(runs, resolve_alike(loaded), strict=True):
        if one.hash != run["hash"]:
            raise ValueError(
                f"The run {run['name']} must be the one that was planned, got "
                f"{one.name}: its data or the version of the toolkit have changed. Plan "
                "the sweep anew."
            )
    return loaded


# --- in the process that starts workers -------------------------------------------------


def start_worker(
    folder: Path,
    *,
    tied: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start ``isa-toolkit sweep worker FOLDER``; its output is appended to ``log.txt``.

    Args:
        folder: Path of the folder of the group.
        tied: Stop the worker, with checkpoints, when this process ends.
        environment: Environment variables to add.

    Raises:
        OSError: The log cannot be written, or no process can be started.
    """
    for name in (RESULT, HOLDER, QUEUED):
        (folder / name).unlink(missing_ok=True)
    command = ["-m", "isa_toolkit", "sweep", "worker", str(folder)]
    return start_process(command, folder / LOG, tied=tied, environment=environment)


def settle(folder: Path, code: int) -> Result:
    """Return how a worker ended; write it into its folder if the worker could not.

    Args:
        folder: Path of the folder of the group.
        code: Exit code of the process, negative for a signal.
    """
    result = read_result(folder)
    if result is None:
        reason = ""
        if code:
            how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            said = "".join(f": {line}" for line in last_lines(folder)[-1:])
            reason = f"The process ended with {how}{said}"
        result = Result(FAILED if code else 0, reason)
        write_json(folder / RESULT, result._asdict())
    return result


def start_process(
    arguments: Sequence[str],
    log: Path,
    *,
    tied: bool,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start Python in a session of its own: signals to our terminal do not reach it.

    Args:
        arguments: Arguments of Python.
        log: Path of the file to append its output to.
        tied: Set the variable that lets it notice the end of this process.
        environment: Environment variables to add.

    Raises:
        OSError: The log cannot be written, or no process can be started.
    """
    home = str(Path(isa_toolkit.__file__).parents[1])
    known = os.environ.get("PYTHONPATH")
    variables = {
        **os.environ,
        "PYTHONPATH": f"{home}{os.pathsep}{known}" if known else home,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "MPLBACKEND": "agg",
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    variables.pop(PARENT, None)
    if tied:
        variables[PARENT] = str(os.getpid())
    with log.open("a") as file:
        file.write(f"{START_MARK} {now()} on {socket.gethostname()}\n")
        file.flush()
        child = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, env=variables, start_new_session=True,
        )  # fmt: skip
    # Python warns about a process that is forgotten while it runs.
    _DETACHED[:] = [one for one in _DETACHED if one.poll() is None] + [child]
    return child


# --- an experiment as JSON --------------------------------------------------------------


def check_loadable(experiment: Experiment) -> None:
    """Refuse an experiment whose data no other process can load.

    Args:
        experiment: Experiment to run.

    Raises:
        InvalidTypeError: Its data are arrays in this process.
    """
    if not isinstance(experiment.dataset, str):
        raise InvalidTypeError(
            "dataset must be a name for a run in a process of its own, got a Dataset "
            f"({experiment.dataset.name!r}). Save the arrays as an .npz file and give "
            "its path as root, or call distill(experiment) in this process."
        )


def data_source(experiment: Experiment) -> dict[str, Any]:
    """Return where the data of an experiment are, as plain JSON.

    Args:
        experiment: Experiment on a named data set.

    Returns:
        ``dataset``, ``source``, ``root`` (absolute) and ``limit``, as ``Experiment`` takes
        them.
    """
    root = None if experiment.root is None else str(Path(experiment.root).absolute())
    return {
        "dataset": experiment.dataset, "source": experiment.source, "root": root,
        "limit": experiment.limit,
    }  # fmt: skip


def experiment_from(description: Mapping[str, Any], **where: Any) -> Experiment:
    """Return the experiment that a run folder's ``experiment.json`` describes.

    Args:
        description: The stored description.
        where: What ``data_source`` returns, because it is not in the description.
    """
    method = dict(description["method"])
    settings: Any = METHODS[method.pop("name")].settings
    own = ("dataset", "method", "network", "source", "root", "limit")
    plain = {
        field.name: description[field.name]
        for field in dataclasses.fields(Experiment)
        if field.name not in own
    }
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in method.items()
    }
    return Experiment(
        method=settings(**values),
        network=NetworkSettings(**description["network"]),
        **{**plain, "dataset": description["dataset"]["name"], **where},
    )
