"""``isa-toolkit demo``: the main job on the embedded digits, in minutes, on two cores."""

from __future__ import annotations

import dataclasses

from isa_toolkit.cli.common import parse, say, write_result

__all__ = ["DemoOptions", "run"]


@dataclasses.dataclass
class DemoOptions:
    """Options of the command.

    Attributes:
        out: folder for the page, its table and its pictures.
        runs: folder for the runs; those that are there are reused.
        seeds: distilled sets per setting.
        json: write JSON to standard output.
    """

    out: str = "results/demo"
    runs: str = "runs/demo"
    seeds: int = 3
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        DemoOptions,
        "demo",
        words,
        "Distil the digits with FRePo, and with crucial samples and ISA; evaluate, "
        "compare with real images, and write a page.",
    )
    from isa_toolkit.figures import demo

    study = demo.study(runs=options.runs, seeds=options.seeds, tell=say)
    page = demo.write(study, options.out)
    table = demo.compute(study)
    lines = [*demo.as_text(table), "", f"page: {page}"]
    result = {"page": str(page), "table": table.to_dict(orient="records")}
    write_result(result, lines, as_json=options.json)
    return 0
