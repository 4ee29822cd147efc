"""``isa-toolkit demo``: the main job on the embedded digits, in minutes, on two cores."""

from __future__ import annotations

from isa_toolkit.cli.output import log, write_result

__all__ = ["demo"]


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
    from isa_toolkit.figures import demo as page

    study = page.study(runs=runs, seeds=seeds, tell=log)
    path = page.write(study, out)
    table = page.compute(study)
    result = {"page": str(path), "table": table.to_dict(orient="records")}
    write_result(result, [*page.as_text(table), "", f"page: {path}"], json=json)
