"""Many runs: planned, packed, queued as processes of their own, found again from files."""

from isa_toolkit.sweep.job import Job, runs_in
from isa_toolkit.sweep.outcome import JobFailedError, JobProgress, JobStatus

__all__ = ["Job", "JobFailedError", "JobProgress", "JobStatus", "runs_in"]
