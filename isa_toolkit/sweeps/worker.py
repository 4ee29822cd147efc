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
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import isa_toolkit
from isa_toolkit.distillation import (
    Experiment,
    Progress,
    distill,
    distill_grid,
)
from isa_toolkit.distillation.experiment import DATA_FIELDS
from isa_toolkit.distillation.param_grid import resolve_together
from isa_toolkit.distillation.store import lock_folder, now
from isa_toolkit.errors import DivergedError, InvalidTypeError, RunLockedError
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.states import (
    FINAL,
    HOLDER,
    LOG,
    QUEUED,
    RESULT,
    START_MARK,
    last_line,
    run_state,
)

__all__ = ["run_group", "settle", "start_worker"]

JOB, STOP, KILL = "job.json", "STOP", "KILL"
# The same codes as those of the command line.
FAILED, USAGE, DIVERGED, LOCKED = 1, 2, 3, 4
_CODES: dict[type[Exception], int] = {
    DivergedError: DIVERGED, RunLockedError: LOCKED, ValueError: USAGE, TypeError: USAGE,
    FileNotFoundError: USAGE, FileExistsError: USAGE,
}  # fmt: skip
# The environment variable with the number of the process whose end ends this one.
PARENT = "ISA_SWEEP_PARENT"
_POLL_S = 0.2
# A worker whose driver was killed writes its checkpoint before it frees the folder.
_LOCK_WAIT_S = 30.0
_STARTED: list[subprocess.Popen[bytes]] = []


def run_group(path: str | Path) -> int:
    """Run the runs of a group that are not finished; return the exit code.

    A file ``STOP`` in the folder of the sweep, SIGINT, SIGTERM, or the end of the process
    that it is tied to stops each run with a checkpoint. A file ``KILL`` ends it at once.

    Args:
        path: Path of the folder of the group.

    Returns:
        0 (done, or stopped on request), 1 (the system failed), 2 (bad input), 3 (a run
        diverged; the others are done or stopped), 4 (another process works on the group).
        The same code and the reason are in ``result.json``, a traceback is in the log.

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

    def refuse(holder: str) -> RunLockedError:
        return RunLockedError(f"The group {folder.name} is run by {holder}.")

    with _cancellation(folder.parents[1]) as is_cancelled:
        try:
            with lock_folder(folder, refuse, wait_s=_LOCK_WAIT_S):
                for name in (RESULT, QUEUED):
                    (folder / name).unlink(missing_ok=True)
                result = _result(lambda: _run(folder, job, is_cancelled))
                write_json(folder / RESULT, result)
        except RunLockedError as error:
            # The folder belongs to the other process: nothing is written into it.
            result = {"code": LOCKED, "reason": str(error)}
    if result["reason"]:
        sys.stderr.write(f"isa-toolkit: {result['reason']}\n")
    return result["code"]


def _result(function: Callable[[], None]) -> dict[str, Any]:
    """Call a function; return how it ended. Every error becomes a code and a reason."""
    try:
        function()
        return {"code": 0, "reason": ""}
    except Exception as error:  # noqa: BLE001 - the folder says it to every reader
        code = next(
            (one for kind, one in _CODES.items() if isinstance(error, kind)), FAILED
        )
        reason = str(error)
        if code == FAILED:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {(reason.splitlines() or ['?'])[0]}"
        return {"code": code, "reason": reason}


def _run(folder: Path, job: dict[str, Any], is_cancelled: Callable[[], bool]) -> None:
    out = folder.parents[3]
    left = [
        run for run in job["runs"] if run_state(out / run["name"]).state not in FINAL
    ]
    if is_cancelled():
        sys.stderr.write("isa-toolkit: the sweep is stopped; resume it to continue\n")
    if not left or is_cancelled():
        return
    named = [
        Experiment.from_description(run["description"], **run["where"]) for run in left
    ]
    data = named[0].load()
    experiments = [
        dataclasses.replace(one, dataset=data, source=None, root=None, limit=None)
        for one in named
    ]
    for run, one in zip(left, resolve_together(experiments), strict=True):
        if one.hash != run["hash"]:
            raise ValueError(
                f"The run {run['name']} must be the one that was planned, got "
                f"{one.name}: its data or the version of the toolkit have changed. Plan "
                "the sweep anew."
            )

    def stop(progress: Progress) -> bool:
        if not (progress.path / "experiment.json").is_file():
            raise RuntimeError(f"The run folder {progress.path} was deleted.")
        return is_cancelled()

    settings = {"out": out, "callbacks": [stop], "progress": False, **job["settings"]}
    if len(experiments) == 1:
        distill(experiments[0], **settings)
    else:
        distill_grid(experiments, **settings)


# --- requests to stop ------------------------------------------------------------


@contextlib.contextmanager
def _cancellation(sweep: Path) -> Iterator[Callable[[], bool]]:
    """Watch for requests to stop; yield a function that says whether there was one."""
    requested, ended = threading.Event(), threading.Event()
    is_main = threading.current_thread() is threading.main_thread()

    def watch() -> None:
        while not ended.wait(_POLL_S):
            if (sweep / KILL).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if not requested.is_set() and ((sweep / STOP).exists() or is_parent_gone()):
                requested.set()
                if is_main:  # distill hears it also while it loads or compiles
                    os.kill(os.getpid(), signal.SIGTERM)

    with signals() as received:
        thread = threading.Thread(target=watch, name="isa cancellation", daemon=True)
        thread.start()
        try:
            yield (
                lambda: requested.is_set() or bool(received) or (sweep / STOP).exists()
            )
        finally:
            ended.set()
            thread.join()


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of acting on them; yield the list."""
    received: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in ((signal.SIGINT, signal.SIGTERM) if is_main else ())
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_parent_gone() -> bool:
    """Return whether the process that this one is tied to has ended."""
    parent = os.environ.get(PARENT)
    return parent is not None and os.getppid() != int(parent)


# --- starting workers -------------------------------------------------------------------


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
    return start_python(command, folder / LOG, tied=tied, environment=environment)


def start_python(
    arguments: Sequence[str],
    log: Path,
    *,
    tied: bool,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start Python in a session of its own, which signals to our terminal do not reach."""
    home = str(Path(isa_toolkit.__file__).parents[1])
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [home, os.environ.get("PYTHONPATH")])
        ),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "MPLBACKEND": "agg",
        "PYTHONUNBUFFERED": "1",
        **environment,
        PARENT: str(os.getpid()),
    }
    if not tied:
        del variables[PARENT]
    with log.open("a") as file:
        file.write(f"{START_MARK} {now()} on {socket.gethostname()}\n")
        file.flush()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, env=variables, start_new_session=True,
        )  # fmt: skip
    # Python warns about a process that is forgotten while it runs.
    _STARTED[:] = [one for one in _STARTED if one.poll() is None] + [process]
    return process


def settle(folder: Path, code: int) -> int:
    """Return the exit code of a worker; write its result if the worker could not.

    Args:
        folder: Path of the folder of the group.
        code: Exit code of the process, negative for a signal.
    """
    result = read_json(folder / RESULT)
    if result is None:
        result = {"code": FAILED if code else 0, "reason": ""}
        if code:
            how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            last = last_line(folder / LOG)
            result["reason"] = f"The process ended with {how}. {last}".strip()
        write_json(folder / RESULT, result)
    return int(result["code"])


def data_source(experiment: Experiment) -> dict[str, Any]:
    """Return where the data of an experiment are, as keyword arguments of ``Experiment``.

    Raises:
        InvalidTypeError: Its data are arrays in this process, which no other can load.
    """
    if not isinstance(experiment.dataset, str):
        raise InvalidTypeError(
            "dataset must be a name for a run in a process of its own, got a Dataset "
            f"({experiment.dataset.name!r}). Save the arrays as an .npz file and give "
            "its path as root, or call distill(experiment) in this process."
        )
    root = None if experiment.root is None else str(Path(experiment.root).absolute())
    fields = {name: getattr(experiment, name) for name in DATA_FIELDS}
    return {"dataset": experiment.dataset, **fields, "root": root}
