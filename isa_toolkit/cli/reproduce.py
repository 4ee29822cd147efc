"""``isa-toolkit reproduce``: every figure and table of the appendix, beside the paper's."""

from __future__ import annotations

import dataclasses
import shlex

from isa_toolkit.cli.common import DatasetOptions, parse, say, write_result

__all__ = ["ReproduceOptions", "run"]


@dataclasses.dataclass
class ReproduceOptions(DatasetOptions):
    """Options of the command.

    Attributes:
        dataset: a known name, or any name for files under --root.
        only: items to make, separated by commas; all if left out.
        scale: quick (minutes on two cores), small or paper.
        seeds: distilled sets per setting; the scale's if left out.
        out: folder for pictures, tables and report.html.
        runs: folder for run folders; those that are there are reused.
        run_missing: distil what is missing; else it is left out of the report.
        workers: runs at a time; two on a CPU and one on an accelerator if left out.
        progress: show progress bars; on terminals only if left out.
        json: write JSON to standard output.
    """

    dataset: str | None = "digits"
    only: str = ""
    scale: str = "quick"
    seeds: int | None = None
    out: str = "results"
    runs: str = "runs"
    run_missing: bool = True
    workers: int | None = None
    progress: bool | None = None
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        ReproduceOptions,
        "reproduce",
        words,
        "Regenerate the figures and tables of the paper's appendix and set each number "
        "beside the paper's. Run the same command again to go on after a stop.",
    )
    from isa_toolkit.checks import check_one_of
    from isa_toolkit.datasets import load_dataset
    from isa_toolkit.figures.reproduce import chosen_items, reproduce
    from isa_toolkit.figures.study import BUDGETS, Study

    only = [name.strip() for name in options.only.split(",") if name.strip()]
    chosen_items(only)
    check_one_of("--scale", options.scale, BUDGETS)
    dataset = load_dataset(
        options.dataset or "digits",
        source=options.source,
        root=options.root,
        limit=options.limit,
    )
    study = Study(
        dataset=dataset,
        scale=options.scale,
        folder=options.runs,
        seeds=options.seeds,
        run_missing=options.run_missing,
        workers=options.workers,
        progress=options.progress,
    )
    page = reproduce(
        study,
        options.out,
        only=only,
        command=shlex.join(["isa-toolkit", "reproduce", *words]),
        tell=say,
    )
    write_result({"report": str(page)}, [f"report: {page}"], as_json=options.json)
    return 0
