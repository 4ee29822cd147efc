"""The unit of work of every engine: the runs of one group, in one process.

The folder ``<out>/sweeps/<sweep>/groups/<group>`` holds ``job.json``, which says what to run.
The worker locks the folder and leaves in ``worker.json`` how it ended. It needs nothing else,
so any scheduler can start it: ``isa-toolkit sweep worker FOLDER``.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import isa_toolkit
from isa_toolkit.annotations import typed
from isa_toolkit.distillation import Experiment, distill_grid
from isa_toolkit.distillation.experiment import DATA_FIELDS
from isa_toolkit.distillation.param_grid import resolve_together
from isa_toolkit.distillation.signals import catch_signals, process_start
from isa_toolkit.distillation.store import DESCRIPTION, lock_folder, now
from isa_toolkit.errors import (
    FAILED,
    LOCKED,
    OK,
    InvalidValueError,
    RunLockedError,
    RunLostError,
    exit_code,
)
from isa_toolkit.files import fits, read_json, write_json
from isa_toolkit.sweeps.states import (
    FINAL,
    KILL,
    LOG,
    RESULT,
    START_MARK,
    STOP,
    WORKER,
    last_line,
    run_status,
)

JOB = "job.json"
PLANNED = {
    "runs": [{
        "name": str, "hash": str, "group": str, "description": DESCRIPTION,
        "where": {"dataset": str}, "pace": list | None,
    }]
}  # fmt: skip
"""Schema of the runs of a plan or of a group."""
# The environment variable with the number of the process whose end ends this one.
PARENT = "ISA_SWEEP_PARENT"
_POLL_S = 0.2
# A worker whose driver was killed writes its checkpoint before it frees the folder.
_LOCK_WAIT_S = 30.0
_STARTED: list[subprocess.Popen[bytes]] = []


@typed
def run_group(path: str | Path) -> int:
    """Run the runs of a group that are not finished; return the exit code.

    A file ``STOP`` in the folder of the sweep, SIGINT, SIGTERM, or the end of the process
    that it is tied to stops each run with a checkpoint. A file ``KILL`` ends it at once.
    Call it in the main thread, which gets the signals.

    Args:
        path: Path of the folder of the group.

    Returns:
        0 (done, or stopped on request), 1 (the system failed), 2 (bad input), 3 (a run
        diverged; the others are done or stopped), 4 (another process works on the group).
        The code and the reason are also in ``worker.json``, a traceback is in the log.

    Raises:
        FileNotFoundError: There is no group.
    """
    folder = Path(path).absolute()
    job = read_json(folder / JOB, {**PLANNED, "settings": dict})
    if job is None:
        raise FileNotFoundError(
            f"There is no group of a sweep at {folder} (no {JOB}). Choose a folder such as "
            "runs/sweeps/<sweep>/groups/<group>."
        )

    result = {"code": OK, "reason": ""}
    with _stop_requests(folder.parents[1]):
        try:
            with lock_folder(folder, RunLockedError, wait_s=_LOCK_WAIT_S) as check:
                began = (read_json(folder / WORKER) or {}).get("time")
                write_json(folder / WORKER, {"state": "running", "time": began})
                try:
                    _run(folder, job)
                except Exception as error:  # noqa: BLE001 - the folder says it to all
                    result = _failure(error)
                check()
                write_json(folder / WORKER, result)
        except RunLockedError as holder:
            # The folder belongs to the other process: nothing is written into it.
            reason = f"The group {folder.name} is run by {holder}."
            result = {"code": LOCKED, "reason": reason}
        except RunLostError as lost:
            result = {"code": FAILED, "reason": str(lost)}
    if result["reason"]:
        sys.stderr.write(f"isa-toolkit: {result['reason']}\n")
    return result["code"]


def _failure(error: Exception) -> dict[str, Any]:
    code, reason = exit_code(error) or FAILED, str(error)
    if code == FAILED:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {(reason.splitlines() or ['?'])[0]}"
    return {"code": code, "reason": reason}


def _run(folder: Path, job: dict[str, Any]) -> None:
    if (folder.parents[1] / STOP).exists():
        sys.stderr.write("isa-toolkit: the sweep is stopped; resume it to continue\n")
        return
    out, runs = folder.parents[3], job["runs"]
    left = [run for run in runs if run_status(out / run["name"]).state not in FINAL]
    if not left:
        return
    named = [
        Experiment.from_description(run["description"], **run["where"]) for run in left
    ]
    loaded = {"dataset": named[0].load(), **dict.fromkeys(DATA_FIELDS)}
    experiments = [dataclasses.replace(one, **loaded) for one in named]
    for run, one in zip(left, resolve_together(experiments), strict=True):
        if one.hash != run["hash"]:
            raise InvalidValueError(
                f"The run {run['name']} must be the one that was planned, got "
                f"{one.name}: its data, the run that it starts from or the version of "
                "the toolkit have changed. Plan the sweep anew."
            )
    distill_grid(experiments, out=out, progress=False, **job["settings"])


@contextlib.contextmanager
def _stop_requests(sweep: Path) -> Iterator[None]:
    """Make ``STOP`` and the end of the parent a SIGTERM, and ``KILL`` a SIGKILL, to us.

    ``distill_grid`` hears a signal also while it loads or compiles.
    """
    ended = threading.Event()

    def watch() -> None:
        wanted = {signal.SIGTERM}
        while not ended.wait(_POLL_S):
            if (sweep / KILL).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            if wanted and ((sweep / STOP).exists() or is_parent_gone()):
                os.kill(os.getpid(), wanted.pop())

    with catch_signals(since=process_start()):
        thread = threading.Thread(target=watch, name="isa stop requests", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def is_parent_gone() -> bool:
    """Return whether the process that this one is tied to has ended."""
    parent = os.environ.get(PARENT)
    return bool(parent) and str(os.getppid()) != parent


class Worker:
    """A process that runs ``isa-toolkit sweep worker FOLDER``.

    Its output is appended to ``log.txt``. A tied worker stops, with checkpoints, when this
    process ends.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tied: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self._began = folder, time.time()
        write_json(folder / WORKER, {"state": "starting", "time": self._began})
        command = ["-m", "isa_toolkit", "sweep", "worker", str(folder)]
        self.process = start_python(
            command, folder / LOG, tied=tied, environment=environment
        )

    def poll(self) -> int | None:
        """Return the code of the group, or None as long as the process runs."""
        return None if self.process.poll() is None else self.wait()

    def wait(self) -> int:
        """Return the code of the group when the process has ended.

        If the worker could not say how it ended, ``worker.json`` says so from now on, unless
        the group has been started again since.
        """
        code = self.process.wait()
        found = read_json(self.folder / WORKER) or {}
        if fits(found, RESULT):
            return found["code"]
        result = {"code": FAILED if code else OK, "reason": ""}
        if code:
            how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
            last = last_line(self.folder / LOG)
            result["reason"] = f"The process ended with {how}. {last}".strip()
        if found.get("time") in (None, self._began):
            write_json(self.folder / WORKER, result)
        return result["code"]


def worker_environment(*, tied: bool) -> dict[str, str]:
    """Return the environment variables of a worker."""
    home = str(Path(isa_toolkit.__file__).parents[1])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "MPLBACKEND": "agg",
        "PYTHONUNBUFFERED": "1",
        PARENT: str(os.getpid()) if tied else "",
    }


def start_python(
    arguments: Sequence[str],
    log: Path,
    *,
    tied: bool,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start Python in a session of its own, which signals to our terminal do not reach."""
    variables = {**worker_environment(tied=tied), **(environment or {})}
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
