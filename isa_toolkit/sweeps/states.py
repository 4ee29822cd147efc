"""How far a run or a group is, read from its folder alone. Nothing is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, NamedTuple

from isa_toolkit.distillation.store import is_held
from isa_toolkit.files import read_json

__all__ = [
    "FINAL",
    "GroupState",
    "RunState",
    "State",
    "duration",
    "group_state",
    "last_lines",
    "run_state",
]

State = Literal["new", "running", "stopped", "done", "failed", "diverged"]
# Starting a run in one of these states again changes nothing.
FINAL: tuple[State, ...] = ("done", "diverged")

LOG, RESULT, HOLDER, QUEUED = (
    "log.txt", "result.json", "holder.json", "queued.json",
)  # fmt: skip
# The first line of each start of a worker in its log begins with this.
START_MARK = "--- worker started"
# Python and JAX take some seconds to import before a worker can lock its folder.
_STARTUP_S = 60.0
_TAIL_BYTES, _TAIL_LINES = 8192, 6


class RunState(NamedTuple):
    """What a run folder says about its run.

    Attributes:
        state: ``"new"`` (nothing there), ``"running"`` (a process holds its lock),
            ``"stopped"``, ``"done"``, ``"failed"``, or ``"diverged"``.
        step: Number of steps taken; of the last checkpoint if the run is not running.
        steps_per_s: Steps per second of the last chunk; 0 if unknown.
        elapsed_s: Seconds spent on the steps, compilation included.
        reason: Why the run failed or diverged; else empty.
    """

    state: State
    step: int
    steps_per_s: float
    elapsed_s: float
    reason: str


class GroupState(NamedTuple):
    """What the folder of a group says about its worker.

    Attributes:
        state: ``"new"`` (never started), ``"queued"``, ``"starting"``, ``"running"`` (the
            worker holds the lock), ``"ended"`` or ``"failed"``.
        reason: Why it failed; else empty.
    """

    state: Literal["new", "queued", "starting", "running", "ended", "failed"]
    reason: str

    @property
    def is_alive(self) -> bool:
        """Whether a worker runs or starts."""
        return self.state in ("starting", "running")


def run_state(path: Path) -> RunState:
    """Return how far a run is.

    Args:
        path: Path of the run folder, which may be missing.
    """
    if not (path / "experiment.json").is_file():
        return RunState("new", 0, 0.0, 0.0, "")
    status = read_json(path / "status.json") or {}
    step, reason = int(status.get("step", 0)), str(status.get("reason", ""))
    state: State
    if (path / "distilled.safetensors").is_file():
        state, reason = "done", ""
    elif is_held(path):
        state, reason = "running", ""
    else:
        state = status.get("status", "stopped")
        if status.get("diverged"):
            state = "diverged"
        elif state in ("running", "done"):
            state, reason = "failed", "Its process ended without a word."
        checkpoints = (path / "checkpoints").glob("*")
        saved = [int(one.name) for one in checkpoints if one.name.isdigit()]
        step = step if state == "diverged" else max(saved, default=0)
    speed = float(status.get("steps_per_s", 0.0))
    return RunState(state, step, speed, float(status.get("elapsed_s", 0.0)), reason)


def group_state(folder: Path) -> GroupState:
    """Return how the worker of a group is.

    Args:
        folder: Path of the folder of the group, which may be missing.
    """
    if is_held(folder):
        return GroupState("running", "")
    result = read_json(folder / RESULT)
    if result is not None:
        is_failure = result["code"] not in (0, 3)
        return GroupState("failed" if is_failure else "ended", result["reason"])
    if (folder / QUEUED).is_file():
        return GroupState("queued", "")
    if not (folder / LOG).is_file():
        return GroupState("new", "")
    lines = last_lines(folder)
    age_s = time.time() - (folder / LOG).stat().st_mtime
    if not lines and age_s < _STARTUP_S and not (folder / HOLDER).is_file():
        return GroupState("starting", "")
    ending = lines[-1] if lines else "it was killed, perhaps for lack of memory"
    return GroupState("failed", f"Its process ended without a result: {ending}.")


def last_lines(folder: Path) -> list[str]:
    """Return the last lines that the worker of a group printed since its last start.

    Args:
        folder: Path of the folder of the group.
    """
    try:
        with (folder / LOG).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    _, mark, after = text.rpartition(START_MARK)
    lines = after.splitlines()[1:] if mark else text.splitlines()
    return [line for line in lines if line.strip()][-_TAIL_LINES:]


def duration(seconds: float) -> str:
    """Return a duration as text, such as ``2 h 05 min``.

    Args:
        seconds: Number of seconds, at least 0.

    Example:
        >>> duration(61)
        '1 min 01 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
