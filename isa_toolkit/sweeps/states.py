"""How far a run and the worker of a group are, read from their folders alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, NamedTuple

from isa_toolkit.distillation.store import is_locked
from isa_toolkit.files import read_json

__all__ = ["FINAL", "GroupState", "RunState", "State", "group_state", "run_state"]

State = Literal["new", "running", "stopped", "done", "failed", "diverged"]
# Starting a run in one of these states again changes nothing.
FINAL: tuple[State, ...] = ("done", "diverged")

LOG, RESULT, HOLDER, QUEUED = "log.txt", "result.json", "holder.json", "queued.json"
# The first line of each start of a process in its log begins with this.
START_MARK = "--- started"
# Python and JAX take some seconds to import before a worker can lock its folder.
_STARTUP_S = 60.0


class RunState(NamedTuple):
    """What a run folder says: the state, and why the run failed or diverged.

    ``step`` is the number of steps taken, for a run that does not run that of its last
    checkpoint; ``steps_per_s`` is the speed of the last chunk, 0 if unknown.
    """

    state: State
    step: int = 0
    steps_per_s: float = 0.0
    reason: str = ""


class GroupState(NamedTuple):
    """What the folder of a group says about its worker, and why the worker failed."""

    state: Literal["new", "queued", "starting", "running", "ended", "failed"]
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether a worker runs or starts."""
        return self.state in ("starting", "running")


def run_state(path: Path) -> RunState:
    """Return how far the run of a folder is; the folder may be missing."""
    if not (path / "experiment.json").is_file():
        return RunState("new")
    status = read_json(path / "status.json") or {}
    step, speed = int(status.get("step", 0)), float(status.get("steps_per_s", 0.0))
    reason = str(status.get("reason", ""))
    if (path / "distilled.safetensors").is_file():
        # Written after the last step, and before the status that says so.
        return RunState("done", int(status.get("steps", step)), speed)
    if is_locked(path):
        return RunState("running", step, speed)
    if status.get("diverged"):
        return RunState("diverged", step, speed, reason)
    checkpoints = (path / "checkpoints").glob("*")
    saved = [int(one.name) for one in checkpoints if one.name.isdigit()]
    state: State = status.get("status", "stopped")
    if state in ("running", "done"):
        state, reason = "failed", "Its process ended without a result."
    return RunState(state, max(saved, default=0), speed, reason)


def group_state(folder: Path) -> GroupState:
    """Return how the worker of a group is; the folder may be missing."""
    if is_locked(folder):
        return GroupState("running")
    result = read_json(folder / RESULT)
    if result is not None:
        is_failure = result["code"] not in (0, 3)
        return GroupState("failed" if is_failure else "ended", result["reason"])
    if (folder / QUEUED).is_file():
        return GroupState("queued")
    if not (folder / LOG).is_file():
        return GroupState("new")
    line, age_s = last_line(folder / LOG), time.time() - (folder / LOG).stat().st_mtime
    if not line and age_s < _STARTUP_S and not (folder / HOLDER).is_file():
        return GroupState("starting")
    how = line or "it was killed, perhaps because the memory was full"
    return GroupState("failed", f"Its process ended without a result: {how}.")


def last_line(log: Path) -> str:
    """Return the last line that a process has printed into its log; empty if none."""
    text = log.read_text(errors="replace").rpartition(START_MARK)[2]
    lines = [line for line in text.splitlines()[1:] if line.strip()]
    return lines[-1] if lines else ""
