"""One run or many: the experiment, the compiled loop, run folders, stop and resume."""

from isa_toolkit.distill.experiment import Experiment
from isa_toolkit.distill.grid import distill_grid
from isa_toolkit.distill.memory import MemoryEstimate, memory_estimate
from isa_toolkit.distill.result import Run
from isa_toolkit.distill.run import DivergedError, Progress, distill
from isa_toolkit.distill.store import RunLockedError
from isa_toolkit.rooms import make_callable

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

make_callable(__name__, distill)
