"""Many runs: planned, packed, queued as processes of their own, found again from files."""

from isa_toolkit.sweeps.folder import Sweep, SweepLockedError, sweeps_in
from isa_toolkit.sweeps.job import Job, runs_in
from isa_toolkit.sweeps.launching import LaunchSettings, launch
from isa_toolkit.sweeps.outcome import JobFailedError, JobProgress, JobStatus
from isa_toolkit.sweeps.planning import plan
from isa_toolkit.sweeps.plans import Plan, PlannedRun
from isa_toolkit.sweeps.submitted import Slurm
from isa_toolkit.sweeps.whole import sweep

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
