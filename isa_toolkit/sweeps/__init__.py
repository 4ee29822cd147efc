"""Many runs: planned, packed into processes, started by an engine, read from folders."""

from isa_toolkit.sweeps.job import Job, JobFailedError, runs_in
from isa_toolkit.sweeps.plan import plan, sweep
from isa_toolkit.sweeps.states import RunStatus
from isa_toolkit.sweeps.sweep import Plan, PlannedRun, Sweep, sweeps_in, write
from isa_toolkit.sweeps.worker import run_group

__all__ = [
    "Job",
    "JobFailedError",
    "Plan",
    "PlannedRun",
    "RunStatus",
    "Sweep",
    "plan",
    "run_group",
    "runs_in",
    "sweep",
    "sweeps_in",
    "write",
]
