"""``isa-toolkit sweep``: many runs, planned, shown, launched, looked at, stopped."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from isa_toolkit.cli.common import say, write_result
from isa_toolkit.cli.experiment import (
    ExperimentOptions,
    experiment_of,
    parse_with_method,
)

if TYPE_CHECKING:
    from isa_toolkit.sweeps import Plan, Sweep

__all__ = ["SweepOptions", "run"]

LISTS = ("drop_easy", "drop_hard", "segment", "learning_rate")


@dataclasses.dataclass
class SweepOptions(ExperimentOptions):
    """Options of the command, besides those of an experiment and its method.

    Attributes:
        seeds: of the runs, any number. So are --drop-easy, --drop-hard, --segment (pairs)
            and --learning-rate of the method; every combination is run.
        name: of the sweep; made from its runs if left out.
        pack: most runs of one program; if left out all that can share one on an
            accelerator, 1 on a CPU.
        dry_run: show the plan and end.
        yes: do not ask; without a terminal nothing is asked.
        backend: local, slurm, submitit-local or submitit-debug.
        slots: groups at a time; one on each GPU, or one for two cores, if left out.
        gpus: which ones; all if left out.
        retries: how often a group whose process died is started again.
        wait: no-wait leaves the work to a process of its own.
        partition: of the cluster; this and the next five are for slurm.
        account: to be charged.
        time_min: minutes of a job; it goes on after that.
        job_gpus: of each job.
        job_cpus: cores of each job.
        job_mem_gb: memory of each job.
        status: folder of a sweep: show how it is.
        cancel: folder of a sweep: stop its runs with checkpoints; again: at once.
        resume: folder of a sweep: go on as it was launched.
        group: folder of a group: run it here, as the processes of a sweep do.
    """

    seeds: tuple[int, ...] = (0,)
    name: str | None = None
    pack: int | None = None
    dry_run: bool = False
    yes: bool = False
    backend: str = "local"
    slots: int | None = None
    gpus: tuple[str, ...] | None = None
    retries: int = 1
    wait: bool = True
    partition: str | None = None
    account: str | None = None
    time_min: int = 24 * 60
    job_gpus: int = 1
    job_cpus: int = 4
    job_mem_gb: float | None = None
    status: str | None = None
    cancel: str | None = None
    resume: str | None = None
    group: str | None = None


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        0: done or stopped on request; 1: some runs failed; 3: some diverged; else as
        ``main``.
    """
    # This process computes next to nothing: it must not take the memory of a GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    options = parse_with_method(
        SweepOptions,
        "sweep",
        words,
        "Run many settings and seeds: shows what would be run and what it costs, then runs "
        "it in processes of their own. Run the same command again to go on after a stop.",
        lists=LISTS,
    )
    from isa_toolkit.sweeps import Sweep
    from isa_toolkit.sweeps.group import run_group

    if options.group is not None:
        return run_group(options.group)
    if options.status is not None:
        return _tell(Sweep.open(options.status), options)
    if options.cancel is not None:
        return _cancel(Sweep.open(options.cancel), options)
    if options.resume is not None:
        sweep = Sweep.open(options.resume)
        more = {
            name: getattr(options, name)
            for name in ("slots", "gpus")
            if getattr(options, name) is not None
        }
        return _launch(sweep, options, more)
    return _new(options)


def _new(options: Any) -> int:
    from isa_toolkit.sweeps import LaunchSettings, Slurm, plan

    lists = {
        name: list(getattr(options.settings, name))
        for name in LISTS
        if getattr(options.settings, name, ())
    }
    base = experiment_of(options, without=LISTS)
    settings: dict[str, Any] = {
        "backend": options.backend,
        "slots": options.slots,
        "gpus": options.gpus,
        "retries": options.retries,
        "checkpoint_s": options.checkpoint_s,
        "shards_limit_bytes": options.shards_limit_bytes,
        "slurm": Slurm(
            partition=options.partition,
            account=options.account,
            time_min=options.time_min,
            gpus=options.job_gpus,
            cpus=options.job_cpus,
            mem_gb=options.job_mem_gb,
        ),
    }
    LaunchSettings(**settings)  # refuses before anything is loaded
    pack: bool | int | None = options.pack
    if pack is None and options.backend == "slurm":
        pack = options.job_gpus > 0  # the device is the cluster's, not this machine's
    made = plan(
        base,
        **lists,
        seeds=options.seeds,
        out=options.out,
        name=options.name,
        pack=pack,
    )
    if options.dry_run:
        result = {
            "sweep": str(made.path),
            "seconds": made.seconds,
            "runs": json.loads(made.table().to_json(orient="records") or "[]"),
        }
        write_result(result, [made.text()], as_json=options.json)
        return 0
    say(made.text())
    if not _is_wanted(options):
        say("Nothing was started.")
        return 0
    return _launch(made, options, settings)


def _launch(planned: Plan | Sweep, options: Any, settings: dict[str, Any]) -> int:
    from isa_toolkit.sweeps import launch

    sweep = launch(
        planned,
        wait=options.wait,
        progress=options.progress,
        tell=say,
        **settings,
    )
    if not options.wait:
        say(f"It goes on by itself. Look: isa-toolkit sweep --status {sweep.path}")
    return _tell(sweep, options)


def _cancel(sweep: Sweep, options: Any) -> int:
    again = sweep.is_asked_to_stop
    sweep.cancel()
    if again:
        say("killing what still runs")
    else:
        say("stopping with checkpoints; the same command again kills")
    sweep.wait()
    return _tell(sweep, options)


def _tell(sweep: Sweep, options: Any) -> int:
    """Write how a sweep is; return the exit code that says so."""
    told = sweep.as_json()
    counts = collections.Counter(run["state"] for run in told["runs"])
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [_table(sweep), "", f"{told['state']}: {listed}"]
    lines += [f"{run['run']}: {run['reason']}" for run in told["runs"] if run["reason"]]
    if told["state"] in ("stopped", "failed", "killed", "unattended"):
        lines.append(f"To go on: isa-toolkit sweep --resume {sweep.path}")
    write_result(told, [*lines, str(sweep.path)], as_json=options.json)
    if counts["failed"]:
        return 1
    return 3 if counts["diverged"] else 0


def _table(sweep: Sweep) -> str:
    from isa_toolkit.sweeps.words import duration

    table = sweep.table()
    if (table.group == table.run).all():
        del table["group"]
    table["left"] = [
        "" if seconds != seconds else duration(seconds) for seconds in table.eta_s
    ]
    table["steps_per_s"] = [
        "" if speed != speed else f"{speed:.3g}" for speed in table.steps_per_s
    ]
    return table.drop(columns=["eta_s", "reason"]).to_string(index=False)


def _is_wanted(options: Any) -> bool:
    """Ask whether to launch, where there is somebody to answer."""
    if options.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write("Launch? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
