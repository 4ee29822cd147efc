"""Many runs: planned, packed, queued as processes of their own, found again from files."""

from isa_toolkit.rooms import make_callable
from isa_toolkit.sweep.folder import Sweep, SweepLockedError, sweeps_in
from isa_toolkit.sweep.job import Job, runs_in
from isa_toolkit.sweep.launching import LaunchSettings, launch
from isa_toolkit.sweep.outcome import JobFailedError, JobProgress, JobStatus
from isa_toolkit.sweep.planning import plan
from isa_toolkit.sweep.plans import Plan, PlannedRun
from isa_toolkit.sweep.submitted import Slurm
from isa_toolkit.sweep.whole import sweep

__all__ = [
    "Job",
    "JobFailedError",
    "JobProgress",
    "JobStatus",
    "LaunchSettings",
    "Plan",
    "PlannedRun",
    "Slurm",
    "Sweep",
    "SweepLockedError",
    "launch",
    "plan",
    "runs_in",
    "sweep",
    "sweeps_in",
]

make_callable(__name__, sweep)
