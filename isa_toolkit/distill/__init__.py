"""One run: the experiment, the compiled loop, the run folder, stop and resume."""

from isa_toolkit.distill.experiment import Experiment
from isa_toolkit.distill.result import Run
from isa_toolkit.distill.run import DivergedError, Progress, distill
from isa_toolkit.distill.store import RunLockedError
from isa_toolkit.rooms import make_callable

__all__ = [
    "DivergedError",
    "Experiment",
    "Progress",
    "Run",
    "RunLockedError",
    "distill",
]

make_callable(__name__, distill)
