"""What is said of a run in another process: its state, its progress, why it ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

__all__ = ["JobFailedError", "JobProgress", "JobStatus", "explain", "last_lines"]

_TAIL_BYTES, _TAIL_LINES = 8192, 6
_GO_ON = "Resume goes on from the last checkpoint."
# By exit code of the command line, or minus the signal.
_FIXES = {
    2: "Correct the setting that it names and start again.",
    3: "Lower learning_rate or raise ridge; the last good checkpoint is kept.",
    4: "Attach to the run instead of starting it.",
    -signal.SIGKILL: (
        "The system kills a process that asks for too much memory; lower batch_size or "
        "width if that is so. Resume goes on from the last checkpoint."
    ),
}


class JobFailedError(RuntimeError):
    """The child ended before its run was done; the sentence says why and what to do."""


class JobStatus(NamedTuple):
    """What is known of a run.

    state: "new" (nothing there), "starting" (no step yet), "running", "stopping", or at an
        end: "stopped", "done", "failed", "killed" (the process is gone, nothing was said),
        "gone" (the run folder was deleted).
    pid: of the process that works on it, or None.
    reason: of a failure, as the run folder or the log tells it; else empty.
    """

    state: str
    pid: int | None
    reason: str

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the run."""
        return self.pid is not None


class JobProgress(NamedTuple):
    """How far a run is.

    step: steps taken.
    steps: of the whole run; 0 if not known yet.
    fraction: of the steps, from 0 to 1.
    steps_per_s: speed of the last chunk; 0 if not known yet.
    eta_s: seconds left at that speed, without validations; NaN if not known.
    """

    step: int
    steps: int
    fraction: float
    steps_per_s: float
    eta_s: float


def last_lines(log: Path, begin: int) -> list[str]:
    """Return the last lines of a log; none if it is not there.

    Args:
        log: the file.
        begin: where the last start begins, bytes.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-_TAIL_LINES:]


def explain(
    path: Path, status: JobStatus, *, step: int, code: int | None, lines: list[str]
) -> str:
    """Return why a run ended and what to do, on one line.

    Args:
        path: of the run folder.
        status: of the run.
        step: that it had reported.
        code: with which its process ended, if that is known.
        lines: the last that it printed.
    """
    if status.state == "gone":
        return f"The run folder {path} was deleted. Run starts it again from its first step."
    if status.state == "killed":
        fix = _FIXES.get(code or -signal.SIGKILL, _GO_ON)
        return (
            f"The process of {path.name} was killed at step {step} or later "
            f"({status.reason}). {fix}"
        )
    lines = [
        line.removeprefix("isa-toolkit: ")
        for line in lines
        if not line.startswith("isa-toolkit: warning")
    ]
    # The command line ends with a sentence, a traceback with its error.
    told = "" if code else status.reason
    told = told or (lines[-1] if lines else status.reason)
    return f"The run {path.name} failed at step {step}: {told} {_FIXES.get(code or 0, _GO_ON)}"
