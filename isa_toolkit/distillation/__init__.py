"""One run or many: the experiment, the compiled loop, run folders, stop and resume."""

from isa_toolkit.distillation.api import DivergedError, Progress, distill
from isa_toolkit.distillation.experiment import Experiment
from isa_toolkit.distillation.grid import distill_grid
from isa_toolkit.distillation.memory import MemoryEstimate, memory_estimate
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.store import RunLockedError

__all__ = [
    "DivergedError",
    "Experiment",
    "MemoryEstimate",
    "Progress",
    "Run",
    "RunLockedError",
    "distill",
    "distill_grid",
    "memory_estimate",
]
