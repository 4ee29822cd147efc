"""``isa-toolkit reproduce``: the figures and tables of the paper's appendix."""

from __future__ import annotations

import tyro

from isa_toolkit.cli.output import command_line, log, write_result
from isa_toolkit.cli.parsing import DatasetFlags

__all__ = ["reproduce"]


def reproduce(
    which: tyro.conf.OmitArgPrefixes[DatasetFlags],
    only: str = "",
    scale: str = "quick",
    seeds: int | None = None,
    out: str = "results",
    runs: str = "runs",
    run_missing: bool = True,
    workers: int | None = None,
    progress: bool | None = None,
    json: bool = False,
) -> None:
    """Regenerate the figures and tables of the paper's appendix.

    The report compares each number with the paper's. Run the same command again to
    continue after a stop.

    Examples:
      isa-toolkit reproduce --only fig5,recall --scale quick --dataset digits
      isa-toolkit reproduce --dataset cifar10 --root path/to/cifar10 --scale small

    Args:
        which: Data set.
        only: Names of the items to make, separated by commas (default: all).
        scale: Size of the experiments: quick (minutes on two cores), small or paper.
        seeds: Number of distilled sets per setting (default: that of the scale).
        out: Path of the folder for pictures, tables and report.html.
        runs: Path of the folder of run folders; finished runs are reused.
        run_missing: Distil what is missing; otherwise the report leaves it out.
        workers: Number of runs at a time (default: two on a CPU, one on an accelerator).
        progress: Show progress bars (default: on terminals only).
        json: Write JSON to standard output.
    """
    from isa_toolkit.checks import match_name
    from isa_toolkit.figures.reproduce import chosen_items
    from isa_toolkit.figures.reproduce import reproduce as make_report
    from isa_toolkit.figures.study import BUDGETS, Study

    items = [name.strip() for name in only.split(",") if name.strip()]
    chosen_items(items)
    scale = match_name("--scale", scale, BUDGETS)
    study = Study(
        dataset=which.load(),
        scale=scale,
        folder=runs,
        seeds=seeds,
        run_missing=run_missing,
        workers=workers,
        progress=progress,
    )
    command = command_line(
        "reproduce",
        **vars(which),
        only=only,
        scale=scale,
        seeds=seeds,
        out=out,
        runs=runs,
        workers=workers,
    )
    page = make_report(study, out, only=items, command=command, log=log)
    write_result({"report": str(page)}, [f"report: {page}"], json=json)
