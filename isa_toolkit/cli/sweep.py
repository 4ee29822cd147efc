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
    from isa_toolkit.sweeps import Sweep

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
        engine: local, ray or slurm.
        slots: Number of groups that run at the same time.
        option: Options of the engine, each as name=value, such as num_gpus=1 (ray) or
            slurm_partition=gpu (slurm).
        wait: no-wait leaves the work to a process of its own.
        status: folder of a sweep: show how it is.
        cancel: folder of a sweep: stop its runs with checkpoints; again: at once.
        resume: folder of a sweep: go on as it was launched.
    """

    seeds: tuple[int, ...] = (0,)
    name: str | None = None
    pack: int | None = None
    dry_run: bool = False
    yes: bool = False
    engine: str = "local"
    slots: int | None = None
    option: tuple[str, ...] = ()
    wait: bool = True
    status: str | None = None
    cancel: str | None = None
    resume: str | None = None


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        0: done or stopped on request; 1: some runs failed; 3: some diverged; else as
        ``main``.
    """
    if words[:1] == ["worker"]:
        from isa_toolkit.sweeps import run_group

        return run_group(words[1])
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

    if options.status is not None:
        return _tell(Sweep.open(options.status), options)
    if options.cancel is not None:
        return _cancel(Sweep.open(options.cancel), options)
    if options.resume is not None:
        sweep = Sweep.open(options.resume)
        sweep.resume(
            wait=options.wait, progress=options.progress, **_engine_options(options)
        )
        return _tell(sweep, options)
    return _new(options)


def _engine_options(options: Any) -> dict[str, Any]:
    """Return the options of the engine; values are JSON where they can be."""
    made: dict[str, Any] = {}
    for text in options.option:
        name, _, value = text.partition("=")
        try:
            made[name] = json.loads(value)
        except json.JSONDecodeError:
            made[name] = value
    if options.slots is not None:
        made["slots"] = options.slots
    return made


def _new(options: Any) -> int:
    from isa_toolkit.sweeps import plan
    from isa_toolkit.sweeps.engines import make_engine

    grid: dict[str, Any] = {
        name: list(getattr(options.settings, name))
        for name in LISTS
        if getattr(options.settings, name, ())
    }
    base = experiment_of(options, without=LISTS)
    # Bad options are refused before anything is loaded.
    make_engine(options.engine, _engine_options(options))
    made = plan(
        base,
        {**grid, "seed": options.seeds},
        out=options.out,
        name=options.name,
        pack=True if options.engine == "slurm" else options.pack,
    )
    if options.dry_run:
        result = {
            "sweep": str(made.path),
            "seconds": made.seconds,
            "runs": json.loads(made.table().to_json(orient="records") or "[]"),
        }
        write_result(result, [str(made)], as_json=options.json)
        return 0
    say(str(made))
    if not _is_wanted(options):
        say("Nothing was started.")
        return 0
    sweep = made.run(
        options.engine,
        wait=options.wait,
        progress=options.progress,
        checkpoint_s=options.checkpoint_s,
        shards_limit_bytes=options.shards_limit_bytes,
        **_engine_options(options),
    )
    if not options.wait:
        say(f"It goes on by itself. Look: isa-toolkit sweep --status {sweep.path}")
    return _tell(sweep, options)


def _cancel(sweep: Sweep, options: Any) -> int:
    again = sweep.is_stopping
    sweep.cancel(force=again)
    if again:
        say("killing what still runs")
    else:
        say("stopping with checkpoints; the same command again kills")
    sweep.wait()
    return _tell(sweep, options)


def _tell(sweep: Sweep, options: Any) -> int:
    """Write how a sweep is; return the exit code that says so."""
    told = {"sweep": str(sweep.path), "state": sweep.state, "runs": list(sweep.rows())}
    counts = collections.Counter(run["state"] for run in told["runs"])
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [_table(sweep), "", f"{told['state']}: {listed}"]
    lines += [f"{run['run']}: {run['reason']}" for run in told["runs"] if run["reason"]]
    if told["state"] in ("stopped", "failed", "queued"):
        lines.append(f"To go on: isa-toolkit sweep --resume {sweep.path}")
    write_result(told, [*lines, str(sweep.path)], as_json=options.json)
    if counts["failed"]:
        return 1
    return 3 if counts["diverged"] else 0


def _table(sweep: Sweep) -> str:
    from isa_toolkit.sweeps.states import duration

    table = sweep.status()
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
