"""``isa-toolkit demo``: the main job on the embedded digits, in minutes, on two cores."""

from __future__ import annotations

from isa_toolkit.cli.output import log, write_result


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
    write_result(result, [*lines, "", f"page: {page}"], json=json)
