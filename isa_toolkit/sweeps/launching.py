"""A sweep is launched: in this process, or by a scheduler in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isa_toolkit import checks
from isa_toolkit.distillation.shards import LIMIT_BYTES
from isa_toolkit.distillation.signals import heed_signals
from isa_toolkit.distillation.store import held
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps import process
from isa_toolkit.sweeps.bars import sweep_bars
from isa_toolkit.sweeps.children import Backend, LocalBackend, cores, local_slots
from isa_toolkit.sweeps.folder import (
    KILL,
    LAUNCH,
    STATUS,
    STOP,
    Sweep,
    refusal,
    write_plan,
)
from isa_toolkit.sweeps.plans import Plan
from isa_toolkit.sweeps.scheduler import Scheduler
from isa_toolkit.sweeps.submitted import CLUSTERS, Slurm, SubmittedBackend

__all__ = ["BACKENDS", "LaunchSettings", "launch"]

BACKENDS = ("local", *CLUSTERS)
_STARTED_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """How a sweep is run.

    Attributes:
        backend: ``"local"``: processes of this machine; ``"slurm"``: jobs of a cluster;
            ``"submitit-local"`` and ``"submitit-debug"``: the same jobs as processes of this
            machine, or one after the other in this process.
        slots: groups at a time. None: one on each GPU; on a CPU one for every two cores;
            with Slurm all, with ``submitit-debug`` one.
        gpus: for ``CUDA_VISIBLE_DEVICES`` of each slot; empty for the CPU; None for all.
        retries: how often a group whose process died is started again.
        checkpoint_s: seconds between checkpoints of a run.
        shards_limit_bytes: see ``distill``.
        slurm: what a job asks the cluster for.

    Raises:
        ValueError: an unknown backend, a number out of its range.
        TypeError: a value of the wrong kind.
    """

    backend: str = "local"
    slots: int | None = None
    gpus: Sequence[int | str] | None = None
    retries: int = 1
    checkpoint_s: float = 60.0
    shards_limit_bytes: int = LIMIT_BYTES
    slurm: Slurm = Slurm()

    def __post_init__(self) -> None:
        checks.check_one_of("backend", self.backend, BACKENDS)
        if self.slots is not None:
            checks.check_integer("slots", self.slots)
        if self.gpus is not None:
            if self.backend != "local":
                raise checks.fail(
                    "gpus",
                    f"be left out for backend {self.backend!r}",
                    self.gpus,
                    "Say how many GPUs a job gets with Slurm(gpus=...).",
                )
            object.__setattr__(self, "gpus", tuple(self.gpus))
        checks.check_integer("retries", self.retries, minimum=0)
        checks.check_positive("checkpoint_s", self.checkpoint_s)
        checks.check_integer("shards_limit_bytes", self.shards_limit_bytes, minimum=0)

    @classmethod
    def of(cls, sweep: Sweep) -> LaunchSettings:
        """Return how a sweep was launched last.

        Args:
            sweep: launched or not.
        """
        stored = dict(read_json(sweep.path / LAUNCH) or {})
        return cls(**{**stored, "slurm": Slurm(**stored.get("slurm", {}))})

    def backend_for(self, sweep: Sweep) -> Backend:
        """Return where the processes of a sweep run.

        Args:
            sweep: to be run.

        Raises:
            ModuleNotFoundError: submitit is not installed.
            FileNotFoundError: there is no Slurm here.
        """
        if self.backend == "local":
            return LocalBackend(local_slots(self.slots, self.gpus))
        by_default = {
            "slurm": len(sweep.groups),
            "submitit-local": max(1, cores() // 2),
            "submitit-debug": 1,
        }
        return SubmittedBackend(
            self.backend,
            sweep.path / "submitit",
            slots=self.slots or by_default[self.backend],
            options=self.slurm,
        )


def launch(
    planned: Plan | Sweep,
    *,
    wait: bool = True,
    progress: bool | None = None,
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Sweep:
    """Run what is left of a sweep, and return it.

    Each group is a process of its own, at most so many at a time as there are slots. One
    that dies is started again and its runs go on from their checkpoints; a run that
    diverges stops no other. What is done is skipped, so the same launch again goes on
    after any stop. SIGINT or SIGTERM, or ``Sweep.cancel``, ask all processes to end with a
    checkpoint; again kills them. If this process is killed its children go on, and the
    next launch takes them over.

    Args:
        planned: from ``plan``, or a sweep that was planned before.
        wait: False: a process of its own does it, which outlives this one.
        progress: show progress bars; None: only on a terminal or in a notebook.
        tell: called with a line when a group starts, ends or is queued again.
        settings: fields of ``LaunchSettings``; for a sweep, what is left out is as it was
            at its last launch.

    Returns:
        The sweep: done, or stopped on request; or going on if not waited for. Runs that
        failed are told by its table, and raise nothing.

    Raises:
        SweepLockedError: another scheduler is working on the sweep.
        ValueError: a setting out of its range.
        TypeError: a setting of the wrong kind.
        ModuleNotFoundError: the backend needs submitit, which is not installed.
        FileNotFoundError: there is no Slurm here.
        OSError: the folder of the sweep cannot be written, or no scheduler be started.
    """
    known = {field.name for field in dataclasses.fields(LaunchSettings)}
    for name in settings:
        checks.check_one_of("setting", name, known)
    chosen = (
        dataclasses.replace(LaunchSettings.of(planned), **settings)
        if isinstance(planned, Sweep)
        else LaunchSettings(**settings)
    )
    with held(planned.path, refusal(planned.path)):
        if isinstance(planned, Plan):
            write_plan(planned)
        sweep = Sweep.open(planned.path)
        backend = chosen.backend_for(sweep)
        write_json(sweep.path / LAUNCH, dataclasses.asdict(chosen))
        for name in (STOP, KILL):
            (sweep.path / name).unlink(missing_ok=True)
        if wait:
            with heed_signals() as request, sweep_bars(sweep, progress, tell) as shown:
                Scheduler(sweep, backend, chosen, request, shown).run()
            return sweep
    _start_scheduler(sweep)
    return sweep


def _start_scheduler(sweep: Sweep) -> None:
    """Start a process that schedules; return when it has begun."""
    log = sweep.path / "scheduler.log"
    words = ["sweep", "--resume", str(sweep.path), "--progress", "False"]
    pid = process.spawn(words, log)
    end = time.monotonic() + _STARTED_WITHIN_S
    status = sweep.path / STATUS
    before = _stamp(status)
    while _stamp(status) == before and time.monotonic() < end:
        if process.exit_code(pid) is not None:
            if _stamp(status) != before:
                return  # there was nothing to do
            raise ChildProcessError(
                f"The scheduler of {sweep.name} did not start: see {log}."
            )
        time.sleep(0.05)


def _stamp(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return None
