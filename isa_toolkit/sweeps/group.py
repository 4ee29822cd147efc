"""What a process of a sweep does: run one group, and say in its folder how that ended.

The folder ``<out>/sweeps/<sweep>/groups/<group>`` has ``job.json``, which says what to run;
the process holds the folder and leaves ``result.json``. Nothing else is passed to it, so
any scheduler of any cluster can start it: ``isa-toolkit sweep --group FOLDER``.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from isa_toolkit.distillation import (
    DivergedError,
    Experiment,
    Progress,
    RunLockedError,
    distill,
    distill_grid,
)
from isa_toolkit.distillation.param_grid import resolve_alike
from isa_toolkit.distillation.store import held
from isa_toolkit.files import read_json, write_json
from isa_toolkit.sweeps.command import from_description
from isa_toolkit.sweeps.states import FINAL, run_state

__all__ = [
    "DIVERGED",
    "FAILED",
    "LOCKED",
    "USAGE",
    "Result",
    "read_result",
    "run_group",
]

JOB, RESULT = "job.json", "result.json"
# As the command line's.
FAILED, USAGE, DIVERGED, LOCKED = 1, 2, 3, 4


class Result(NamedTuple):
    """How a process of a group ended.

    code: 0 (done, or stopped on request), 1 (the system failed), 2 (bad input), 3 (a run
        diverged, the others are done or stopped), 4 (another process holds a run).
    reason: one sentence; empty for 0.
    """

    code: int
    reason: str


def read_result(folder: Path) -> Result | None:
    """Return how the last process of a group ended; None if it said nothing.

    Args:
        folder: of the group.
    """
    stored = read_json(folder / RESULT)
    return None if stored is None else Result(int(stored["code"]), stored["reason"])


def run_group(path: str | Path) -> int:
    """Run the runs of a group that are not done; return the exit code.

    SIGINT or SIGTERM, or a file ``STOP`` in the folder of the sweep, end it with a
    checkpoint of each run.

    Args:
        path: of the group's folder.

    Returns:
        See ``Result``; the reason is in ``result.json``, a traceback in the log.

    Raises:
        FileNotFoundError: there is no group.
    """
    folder = Path(path).absolute()
    job = read_json(folder / JOB)
    if job is None:
        raise FileNotFoundError(
            f"There is no group of a sweep at {folder} (no {JOB}). Choose a folder such as "
            "runs/sweeps/<sweep>/groups/<group>."
        )

    def refusal(holder: str) -> RunLockedError:
        return RunLockedError(f"The group {folder.name} is run by {holder}.")

    try:
        with held(folder, refusal):
            (folder / RESULT).unlink(missing_ok=True)
            result = _guarded(lambda: _run(folder, job))
            write_json(folder / RESULT, result._asdict())
    except RunLockedError as error:
        # Not into the folder: it is another's.
        result = Result(LOCKED, str(error))
    if result.reason:
        sys.stderr.write(f"isa-toolkit: {result.reason}\n")
    return result.code


def _guarded(function: Callable[[], None]) -> Result:
    """Call a function; return how it ended. Whatever it raises is a reason."""
    try:
        function()
    except (ValueError, TypeError, FileNotFoundError, FileExistsError) as error:
        return Result(USAGE, str(error))
    except DivergedError as error:
        return Result(DIVERGED, str(error))
    except RunLockedError as error:
        return Result(LOCKED, str(error))
    except KeyboardInterrupt as stop:
        return Result(FAILED, f"interrupted: {stop}")
    except Exception as error:  # noqa: BLE001 - told to whoever reads the folder
        traceback.print_exc()
        text = str(error).strip() or "no message"
        return Result(FAILED, f"{type(error).__name__}: {text.splitlines()[0]}")
    return Result(0, "")


def _run(folder: Path, job: dict[str, Any]) -> None:
    sweep, out = folder.parents[1], folder.parents[3]
    todo = [
        run for run in job["runs"] if run_state(out / run["name"]).state not in FINAL
    ]
    if not todo:
        return
    experiments = _experiments(todo)

    def heed(told: Progress) -> bool:
        del told
        return (sweep / "STOP").exists()

    settings: Any = {
        "out": out,
        "callbacks": [heed],
        "checkpoint_s": job["checkpoint_s"],
        "progress": False,
        "shards_limit_bytes": job["shards_limit_bytes"],
    }
    if len(experiments) == 1:
        distill(experiments[0], **settings)
    else:
        distill_grid(experiments, **settings)


def _experiments(runs: list[dict[str, Any]]) -> list[Experiment]:
    """Return experiments, their data loaded once, that are still those planned."""
    named = [from_description(run["description"], **run["where"]) for run in runs]
    data = named[0].load()
    loaded = [
        dataclasses.replace(one, dataset=data, source=None, root=None, limit=None)
        for one in named
    ]
    for run, one in zip(runs, resolve_alike(loaded), strict=True):
        if one.hash != run["hash"]:
            raise ValueError(
                f"The run {run['name']} must be the one that was planned, got "
                f"{one.name}: its data or the version of the toolkit have changed. Plan "
                "the sweep anew."
            )
    return loaded
