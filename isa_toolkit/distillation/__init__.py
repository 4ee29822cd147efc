"""One run or many: the experiment, the compiled loop, run folders, stop and resume."""

from isa_toolkit.distillation.api import distill, distill_grid
from isa_toolkit.distillation.experiment import Experiment
from isa_toolkit.distillation.run import Run
from isa_toolkit.distillation.run_state import Progress

__all__ = ["Experiment", "Progress", "Run", "distill", "distill_grid"]
