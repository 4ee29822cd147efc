"""How far a run is, read from its folder; reads files, writes none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from isa_toolkit.files import read_json
from isa_toolkit.sweeps.job import Job

__all__ = ["FINAL", "RunState", "run_state"]

# What no further start would change.
FINAL = ("done", "diverged")


class RunState(NamedTuple):
    """What a run folder says.

    state: "new" (no checkpoint), "resumable" (from ``step``), "running" (``step`` taken so
        far), "done" or "diverged".
    step: steps that need not be taken again.
    steps_per_s: speed of the last chunk; 0 if not known.
    elapsed_s: time that its steps have taken, with compiling.
    reason: why it diverged or failed; else empty.
    """

    state: str
    step: int
    steps_per_s: float
    elapsed_s: float
    reason: str


def run_state(path: Path) -> RunState:
    """Return how far a run is.

    Args:
        path: of the run folder, which may be missing.
    """
    if not (path / "experiment.json").is_file():
        return RunState("new", 0, 0.0, 0.0, "")
    told = read_json(path / "status.json") or {}
    facts = (
        float(told.get("steps_per_s", 0.0)),
        float(told.get("elapsed_s", 0.0)),
        str(told.get("reason", "")),
    )
    step = int(told.get("step", 0))
    if (path / "distilled.safetensors").is_file():
        return RunState("done", step, *facts)
    if Job.attach(path).status.is_alive:
        return RunState("running", step, *facts)
    if told.get("diverged"):
        return RunState("diverged", step, *facts)
    saved = [
        int(one.name) for one in (path / "checkpoints").glob("*") if one.name.isdigit()
    ]
    state = "resumable" if saved else "new"
    return RunState(state, max(saved, default=0), *facts)
