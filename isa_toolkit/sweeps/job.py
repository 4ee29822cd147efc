"""A run in a process of its own, watched through its run folder.

The child is in no group with the kernel, so one that is restarted or interrupted takes
nothing with it, and any later kernel can attach: what is told comes from the files of the
run folder and from the system's list of processes. Linux and macOS.
"""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from isa_toolkit.distillation import Experiment, Run
from isa_toolkit.distillation.store import RunStore, is_held
from isa_toolkit.files import write_json
from isa_toolkit.sweeps import command, process
from isa_toolkit.sweeps.outcome import (
    JobFailedError,
    JobProgress,
    JobStatus,
    explain,
    last_lines,
)

__all__ = ["Job", "JobFailedError", "JobProgress", "JobStatus", "runs_in"]

LOG, NOTE = "child.log", "job.json"
# A status older than this, with a process of the holder's number, may be another's.
_STALE_S = 120.0
_POLL_S = 0.05


@final
class Job:
    """One experiment in a child process.

    Args:
        experiment: what to run; its data must have a name that the child can load.
        out: folder of run folders.
        checkpoint_s: seconds between checkpoints.

    Raises:
        TypeError: the data are arrays in this process.
        ValueError: the experiment does not fit its data.

    Attributes:
        path: the run folder, known before anything runs.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        out: str | Path = "runs",
        checkpoint_s: float = 60.0,
    ) -> None:
        folder = Path(out).absolute()
        resolved = experiment.resolve()
        words = command.words(
            experiment, resolved, out=folder, checkpoint_s=checkpoint_s
        )
        self._set(folder / resolved.name, words)

    def _set(self, path: Path, words: list[str] | None) -> None:
        self.path = path
        self._words = words
        self._store = RunStore(path)
        self._begun = path.is_dir()
        self._asked = 0
        self._exit: int | None = None
        note = self._store.read_json(NOTE) or {}
        self._pid: int | None = note.get("pid")
        self._note = note

    @classmethod
    def attach(cls, path: str | Path) -> Job:
        """Return the job of a run folder, running or not.

        Args:
            path: of the run folder.

        Raises:
            FileNotFoundError: there is no run.
        """
        there = Path(path).absolute()
        names = ("experiment.json", NOTE)
        if not any((there / name).is_file() for name in names):
            raise FileNotFoundError(
                f"There is no run at {there} (no experiment.json). Choose a run folder, "
                "such as runs/<dataset>-ipc<k>-<method>-<hash>."
            )
        job = cls.__new__(cls)
        job._set(there, None)
        job._words = job._note.get("words")
        return job

    def __repr__(self) -> str:
        return f"Job({self.path.name!r}, {self.status.state})"

    # --- what is done to it ----------------------------------------------------------

    def start(self) -> Job:
        """Start the run, or go on with it; nothing happens if it runs or is done.

        Returns:
            The job itself.

        Raises:
            ValueError: the folder does not say how its run was started.
            OSError: the run folder cannot be written.
        """
        status = self.status
        if status.state == "gone":
            self.kill()  # it would go on writing into the folder
        elif status.is_alive or self._is_done:
            return self
        words = self._words or self._stored_words()
        log = self.path / LOG
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "STOP").unlink(missing_ok=True)
            begin = log.stat().st_size if log.exists() else 0
            before = self._status_stamp()
            self._pid = process.spawn(words, log)
            self._exit, self._asked = None, 0
            self._begun = True
            self._note = {
                "words": words,
                "pid": self._pid,
                "host": socket.gethostname(),
                "log_begin": begin,
                "status_before": before,
            }
            write_json(self.path / NOTE, self._note)
        except OSError as error:
            reason = error.strerror or str(error)
            if process.is_child(self._pid):
                self.kill()
            raise type(error)(
                f"The run folder {self.path} cannot be written: {reason}. Free some "
                "space or choose another out."
            ) from error
        self._words = words
        return self

    def stop(self) -> None:
        """Ask the run to end with a checkpoint; ask again to end it at once.

        A third time kills it, which loses no more than what came after the last
        checkpoint.
        """
        status = self.status
        if status.pid is None:
            return
        self._asked = max(self._asked, int(status.state == "stopping")) + 1
        if self._asked == 1 and status.state == "starting":
            # It would take a file for one that was left behind.
            process.send(status.pid, signal.SIGTERM)
        elif self._asked == 1:
            with contextlib.suppress(FileNotFoundError):
                (self.path / "STOP").touch()
        elif self._asked == 2:
            # The first signal asks as the file does, the second ends it.
            process.send(status.pid, signal.SIGTERM)
            process.send(status.pid, signal.SIGINT)
        else:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        pid = self._alive_pid()
        if pid is not None:
            process.send(pid, signal.SIGKILL)
            process.reap(pid)

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Return the status when the process has ended.

        Args:
            timeout_s: seconds to wait at most; None for any number.

        Raises:
            TimeoutError: it still runs.
        """
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while (status := self.status).is_alive:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"The run {self.path.name} still runs after {timeout_s:g} s "
                    f"(process {status.pid})."
                )
            time.sleep(_POLL_S)
        return status

    def raise_if_failed(self) -> None:
        """Raise if the run ended without being asked to and is not done.

        Raises:
            JobFailedError: the sentence has the last lines and the fix.
        """
        status = self.status
        if status.state in ("failed", "killed", "gone"):
            raise JobFailedError(self.explain(status))

    # --- what is known of it ---------------------------------------------------------

    @property
    def run(self) -> Run:
        """Return the run, to be read.

        Raises:
            FileNotFoundError: it has not begun, or its folder is gone.
        """
        return Run.open(self.path)

    @property
    def status(self) -> JobStatus:
        """Return what is known of the run now; reads files, writes none."""
        pid = self._alive_pid()
        if self._is_gone:
            return JobStatus("gone", pid, "")
        stored = self._store.read_json("status.json") or {}
        if pid is not None:
            if self._asked or self._store.stop_requested:
                return JobStatus("stopping", pid, "")
            reported = self._status_stamp() != self._note.get("status_before")
            is_ours = pid == self._note.get("pid")
            return JobStatus(
                "running" if stored and (reported or not is_ours) else "starting",
                pid,
                "",
            )
        return self._ended(stored)

    def _ended(self, stored: dict[str, Any]) -> JobStatus:
        """Return the status of a run that no process works on."""
        code = self._exit
        is_fresh = self._status_stamp() != self._note.get("status_before")
        # What the folder says is of the last start, or of the only one known.
        said = stored.get("status") if is_fresh or code == 0 else None
        state, reason = "killed", "its process is gone"
        if self._is_done:
            state, reason = "done", ""
        elif not self._note and not stored:
            state, reason = "new", ""
        elif self._asked > 1 or (self._asked and code == -signal.SIGTERM):
            state, reason = "stopped", ""
        elif code is not None and code < 0:
            reason = f"ended by {signal.Signals(-code).name}"
        elif said in ("failed", "stopped"):
            state, reason = said, str(stored.get("reason", ""))
        elif code:
            state, reason = "failed", f"exit code {code}"
        return JobStatus(state, None, reason)

    @property
    def progress(self) -> JobProgress:
        """Return how far the run is."""
        stored = self._store.read_json("status.json") or {}
        step, steps = int(stored.get("step", 0)), int(stored.get("steps", 0))
        speed = float(stored.get("steps_per_s", 0.0))
        return JobProgress(
            step=step,
            steps=steps,
            fraction=step / steps if steps else 0.0,
            steps_per_s=speed,
            # The first step compiles and tells nothing of the speed.
            eta_s=(steps - step) / speed if speed > 0 and step > 1 else math.nan,
        )

    def last_lines(self) -> list[str]:
        """Return the last lines that the child printed since its last start."""
        return last_lines(self.path / LOG, int(self._note.get("log_begin", 0)))

    def explain(self, status: JobStatus) -> str:
        """Return why a run ended and what to do.

        Args:
            status: of the run.
        """
        step, lines = self.progress.step, self.last_lines()
        return explain(self.path, status, step=step, code=self._exit, lines=lines)

    # --- pieces ----------------------------------------------------------------------

    @property
    def _is_done(self) -> bool:
        return (self.path / "distilled.safetensors").is_file()

    @property
    def _is_gone(self) -> bool:
        """Whether the folder was there and is not: a child may go on writing into it."""
        marker = NOTE if self._note else "experiment.json"
        return self._begun and not (self.path / marker).is_file()

    def _status_stamp(self) -> int | None:
        try:
            return (self.path / "status.json").stat().st_mtime_ns
        except OSError:
            return None

    def _stored_words(self) -> list[str]:
        stored = self._store.read_json("experiment.json")
        if stored is None:
            raise ValueError(
                f"The run folder {self.path} does not say what its run is. Start it "
                "with Job(experiment, out=...)."
            )
        experiment = command.from_description(stored)
        resolved = experiment.resolve()
        if resolved.name != self.path.name:
            raise ValueError(
                f"The data of {self.path.name} must be found by name alone, got data "
                f"that make it {resolved.name}. Start it with Job(experiment, out=...), "
                "where the experiment says source, root or limit."
            )
        return command.words(experiment, resolved, out=self.path.parent)

    def _alive_pid(self) -> int | None:
        """Return the process that works on the run, or None."""
        mine = self._pid if process.is_child(self._pid) else None
        if mine is not None:
            self._exit = process.exit_code(mine)
            if self._exit is None:
                return mine
        holder = self._store.read_json("holder.json")
        for told in (holder, self._note if mine is None else None):
            if told and self._works(told):
                pid = int(told["pid"])
                if pid != self._pid:
                    self._exit = None
                return pid
        return None

    def _works(self, told: dict[str, Any]) -> bool:
        """Whether the process that a file names works on the run."""
        stored = self._store.read_json("status.json") or {}
        age_s = _age_s(stored.get("heartbeat"))
        if told.get("host") != socket.gethostname():
            return "since" in told and age_s < _STALE_S
        if not process.exists(int(told["pid"])):
            return False
        # Numbers come around: an old status needs the lock as its witness.
        is_new = not (self.path / ".lock").is_file()
        return age_s < _STALE_S or is_new or is_held(self.path)


def runs_in(folder: str | Path) -> list[Job]:
    """Return the jobs of all run folders in a folder, by name.

    Args:
        folder: of run folders; it may be missing.
    """
    there = Path(folder)
    return [
        Job.attach(path)
        for path in sorted(there.iterdir() if there.is_dir() else [])
        if (path / "experiment.json").is_file() or (path / NOTE).is_file()
    ]


def _age_s(heartbeat: str | None) -> float:
    if heartbeat is None:
        return math.inf
    return (datetime.now(UTC) - datetime.fromisoformat(heartbeat)).total_seconds()
