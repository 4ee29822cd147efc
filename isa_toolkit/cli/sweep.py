"""``isa-toolkit sweep``: many runs, planned, shown, started, watched, stopped."""

from __future__ import annotations

import collections
import json as json_format
import os
import sys
from typing import TYPE_CHECKING, Any, Literal

import tyro

from isa_toolkit.cli.output import log, write_result
from isa_toolkit.cli.parsing import GridFlags

if TYPE_CHECKING:
    from isa_toolkit.sweeps import Sweep


def run(
    grid: tyro.conf.OmitArgPrefixes[GridFlags],
    out: str = "runs",
    name: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    engine: Literal["local", "ray", "slurm"] = "local",
    slots: int | None = None,
    option: tuple[str, ...] = (),
    pack: int | None = None,
    wait: bool = True,
    checkpoint_s: float = 60.0,
    keep_checkpoints: int | Literal["all"] = 3,
    prepared_limit_bytes: int = 32 * 2**30,
    progress: bool | None = None,
    json: bool = False,
) -> int:
    """Plan a sweep, show what it costs, and run it.

    The seed, --start-from, --start-step and the options of the method take several values;
    every combination is run. Run the same command again to continue after a stop.

    Examples:
      isa-toolkit sweep run --drop-easy 0 0.2 --seed 0 1 2 --dry-run
      isa-toolkit sweep run --segment 0 0 0 0.5 --lr 1e-3 3e-3 --yes
      isa-toolkit sweep run --seed 0 1 2 --engine slurm --option partition=gpu

    Args:
        grid: Experiments to run.
        out: Path of the folder of run folders.
        name: Name of the sweep; without it, made from its runs.
        dry_run: Show the plan and end.
        yes: Start without asking; without a terminal nothing is asked.
        engine: Name of what starts the runs.
        slots: Number of groups that run at the same time.
        option: Options of the engine, each as name=value, such as num_gpus=1 (ray) or
            partition=gpu (slurm: the options of sbatch).
        pack: Largest number of runs in one program; without it, all that fit on an
            accelerator and 1 on a CPU.
        wait: Wait until the sweep ends; --no-wait runs it in a separate process.
        checkpoint_s: Number of seconds between checkpoints.
        keep_checkpoints: Number of checkpoints of a run to keep, the last ones, or all;
            other runs can start from them.
        prepared_limit_bytes: Maximum size in bytes of precomputed data (MTT's expert
            trajectories).
        progress: Show progress bars; without this flag only on terminals.
        json: Write JSON to standard output.

    Returns:
        0: done, or stopped on request; 1: some runs failed; 3: some diverged.
    """
    from isa_toolkit.sweeps import plan
    from isa_toolkit.sweeps.engines import make_engine

    _leave_gpu_memory()
    options = _engine_options(slots, option)
    make_engine(engine, options)  # refuses bad options before anything is loaded
    experiment, values = grid.split()
    packed = True if engine == "slurm" and pack is None else pack
    planned = plan(experiment, values, out=out, name=name, pack=packed)
    if dry_run:
        table = planned.table()
        result = {
            "sweep": str(planned.path),
            "seconds": table.seconds.sum(skipna=False),
            "runs": table.to_dict("records"),
        }
        write_result(result, str(planned).split("\n"), json=json)
        return 0
    log(str(planned))
    if not (yes or _is_confirmed()):
        log("Nothing was started.")
        return 0
    sweep = planned.run(
        engine,
        wait=wait,
        progress=progress,
        checkpoint_s=checkpoint_s,
        keep_checkpoints=None if keep_checkpoints == "all" else keep_checkpoints,
        prepared_limit_bytes=prepared_limit_bytes,
        **options,
    )
    if not wait:
        log(
            f"It continues in the background. See: isa-toolkit sweep status {sweep.path}"
        )
    return _report(sweep, json=json, kept=sweep.path)


def status(folder: tyro.conf.Positional[str], json: bool = False) -> int:
    """Show the state of a sweep.

    Args:
        folder: Path of the folder of the sweep, such as runs/sweeps/NAME.
        json: Write JSON to standard output.

    Returns:
        0; 1 if some runs failed; 3 if some diverged.
    """
    from isa_toolkit.sweeps import Sweep

    return _report(Sweep(folder), json=json)


def cancel(folder: tyro.conf.Positional[str], json: bool = False) -> int:
    """Stop the runs of a sweep with checkpoints; the same command again kills them.

    Args:
        folder: Path of the folder of the sweep.
        json: Write JSON to standard output.

    Returns:
        0; 1 if some runs failed; 3 if some diverged.
    """
    from isa_toolkit.sweeps import Sweep

    sweep = Sweep(folder)
    force = sweep.state == "stopping"
    sweep.cancel(force=force)
    log(
        "Killing what still runs."
        if force
        else "Stopping; the same command again kills."
    )
    sweep.wait()
    return _report(sweep, json=json)


def resume(
    folder: tyro.conf.Positional[str],
    slots: int | None = None,
    option: tuple[str, ...] = (),
    wait: bool = True,
    progress: bool | None = None,
    json: bool = False,
) -> int:
    """Continue a sweep as it was started.

    Args:
        folder: Path of the folder of the sweep.
        slots: Number of groups that run at the same time.
        option: Options of the engine to change, each as name=value.
        wait: Wait for the end.
        progress: Show progress bars; without this flag only on terminals.
        json: Write JSON to standard output.

    Returns:
        0: done, or stopped on request; 1: some runs failed; 3: some diverged.
    """
    from isa_toolkit.sweeps import Sweep

    _leave_gpu_memory()
    sweep = Sweep(folder)
    sweep.resume(wait=wait, progress=progress, **_engine_options(slots, option))
    return _report(sweep, json=json, kept=sweep.path)


def worker(folder: tyro.conf.Positional[str]) -> int:
    """Run one group of a sweep in this process: the unit that schedulers start.

    Args:
        folder: Path of the folder of the group.

    Returns:
        Exit code.
    """
    from isa_toolkit.sweeps import run_group

    return run_group(folder)


def _leave_gpu_memory() -> None:
    """Leave the memory of the GPU to the workers; this process computes next to nothing."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _engine_options(slots: int | None, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of the engine; values are JSON where they can be."""
    options: dict[str, Any] = {} if slots is None else {"slots": slots}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            options[name] = json_format.loads(value)
        except json_format.JSONDecodeError:
            options[name] = value
    return options


def _report(sweep: Sweep, *, json: bool, kept: object = None) -> int:
    """Write the state of a sweep and return the exit code that it stands for."""
    rows = sweep.status().to_dict("records")
    counts = collections.Counter(run["state"] for run in rows)
    table = sweep.plan.shown().to_string(index=False, na_rep="", float_format="%.3g")
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [table, "", f"{sweep.state}: {listed}"]
    lines += [f"{run['run']}: {run['reason']}" for run in rows if run["reason"]]
    if sweep.state in ("stopped", "failed", "queued"):
        lines.append(f"To continue: isa-toolkit sweep resume {sweep.path}")
    result = {"sweep": str(sweep.path), "state": sweep.state, "runs": rows}
    lines = "\n".join([*lines, str(sweep.path)]).split("\n")
    write_result(result, lines, json=json, kept=kept)
    if counts["failed"]:
        return 1
    return 3 if counts["diverged"] else 0


def _is_confirmed() -> bool:
    """Ask whether to start, where somebody can answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write("Launch? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
