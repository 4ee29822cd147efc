"""The smallest real run: digits, a narrow network, two dozen steps.

Compiling takes nearly all of its time, so tests share finished and stopped runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isa_toolkit.distillation import Experiment, Progress
from isa_toolkit.methods import FRePo
from isa_toolkit.networks import NetworkSettings

# For programs of their own, in which warnings are errors, too.
warnings.filterwarnings("ignore", ".* steps at the published learning rate")

STEPS = 24
# Neither at a validation (every 8) nor at a row of metrics (every 4).
STOPPED_AT = 11


def tiny(**changes: Any) -> Experiment:
    """Return the tiny experiment; names of FRePo's settings go to the method."""
    method = {"pool_size": 2, "max_online_updates": 5}
    for name in set(changes) & set(FRePo.__dataclass_fields__):
        method[name] = changes.pop(name)
    settings: dict[str, Any] = {
        "network": NetworkSettings(width=4, depth=2),
        "steps": STEPS,
        "batch_size": 32,
        "selection": "validation",
        "validation_every": 8,
        "validation_networks": 1,
        "validation_steps": 5,
        "log_every": 4,
    }
    return Experiment(**{**settings, **changes}, method=FRePo(**method))


def stop_at(step: int) -> Callable[[Progress], bool]:
    return lambda reported: reported.step >= step


_CHILD = """
import sys, time
from tiny_run import tiny
from isa_toolkit.distillation import distill, trainer
trainer._CHUNK_S = 1e-9  # one step at a time

def tell(reported):
    print(reported.step, flush=True)
    time.sleep(0.05)

done = distill(tiny(), out=sys.argv[1], checkpoint_s=0.01, callbacks=[tell])
print(done.status["status"], flush=True)
"""


def start_child(out: Path) -> subprocess.Popen[str]:
    """Start the tiny experiment in a process of its own; it prints each step."""
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}",
    }
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(child: subprocess.Popen[str], step: int) -> None:
    """Return when the child has taken ``step`` steps."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip().isdigit() and int(line) >= step:
            return
    _, errors = child.communicate()
    raise AssertionError(f"the child ended before step {step}: {errors}")


def metric_rows(path: Path) -> list[str]:
    return (path / "metrics.jsonl").read_text().splitlines()


def result_bytes(path: Path) -> bytes:
    return (path / "distilled.safetensors").read_bytes()


def files_of(path: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of each file below ``path``."""
    return {
        str(file.relative_to(path)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file() and file.name not in (".lock", "holder.json")
    }
