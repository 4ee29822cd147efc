"""``isa-toolkit reproduce`` and ``demo``: figures, tables and the page that shows them."""

from __future__ import annotations

import tyro

from isa_toolkit.cli.output import command_line, log, write_result
from isa_toolkit.cli.parsing import DatasetFlags
from isa_toolkit.presets import ScaleName


def reproduce(
    data: tyro.conf.OmitArgPrefixes[DatasetFlags],
    only: str = "",
    scale: ScaleName = "quick",
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
        data: Data set.
        only: Names of the items to make, separated by commas; without it, all.
        scale: Size of the experiments; quick takes minutes on two cores.
        seeds: Number of distilled sets per setting; without it, that of the scale.
        out: Path of the folder for pictures, tables and report.html.
        runs: Path of the folder of run folders; finished runs are reused.
        run_missing: Distil what is missing; otherwise the report leaves it out.
        workers: Number of runs at a time; without it, two on a CPU and one on an
            accelerator.
        progress: Show progress bars; without this flag only on terminals.
        json: Write JSON to standard output.
    """
    from isa_toolkit.figures.reproduce import chosen_items
    from isa_toolkit.figures.reproduce import reproduce as make_report
    from isa_toolkit.figures.study import Study

    items = [name.strip() for name in only.split(",") if name.strip()]
    chosen_items(items)
    study = Study(
        dataset=data.load(),
        scale=scale,
        folder=runs,
        seeds=seeds,
        run_missing=run_missing,
        workers=workers,
        progress=progress,
    )
    command = command_line(
        "reproduce",
        **vars(data),
        only=only,
        scale=scale,
        seeds=seeds,
        out=out,
        runs=runs,
        workers=workers,
    )
    page = make_report(study, out, only=items, command=command, log=log)
    write_result({"report": str(page)}, [f"report: {page}"], json=json, kept=page)


def demo(
    out: str = "results/demo",
    runs: str = "runs/demo",
    seeds: int = 3,
    json: bool = False,
) -> None:
    """Distil the digits with FRePo, and with crucial samples and ISA; evaluate; write a page.

    Args:
        out: Path of the folder for the page, its table and its pictures.
        runs: Path of the folder of run folders; finished runs are reused.
        seeds: Number of distilled sets per setting.
        json: Write JSON to standard output.
    """
    from isa_toolkit.figures.reproduce import make_demo
    from isa_toolkit.figures.results_table import summary

    page, table = make_demo(out, folder=runs, seeds=seeds, log=log)
    lines = []
    for size in sorted(table.images_per_class.unique()):
        part = table.query("images_per_class == @size and predictor == 'network'")
        lines += ["", f"{size} per class, test accuracy of new networks, %"]
        lines += summary(part).to_string().splitlines()
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    result = {"page": str(page), "table": records}
    write_result(result, [*lines, "", f"page: {page}"], json=json, kept=page)
