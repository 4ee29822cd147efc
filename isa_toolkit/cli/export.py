"""``isa-toolkit export``: a distilled set in a form that other programs read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from isa_toolkit.cli.common import parse, write_result

__all__ = ["ExportOptions", "run"]


@dataclasses.dataclass
class ExportOptions:
    """Options of the command.

    Attributes:
        path: a run folder, or a file that DistilledSet.save wrote.
        kind: png (one folder of 8-bit images per class, soft labels in labels.csv), npz
            (plain NumPy arrays) or safetensors.
        out: the folder or file to write; beside the set if left out.
        overwrite: replace an earlier export there.
        json: write JSON to standard output.
    """

    path: Annotated[Path, tyro.conf.Positional]
    kind: str = "png"
    out: Path | None = None
    overwrite: bool = False
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        ExportOptions,
        "export",
        words,
        "Write a distilled set as PNG folders, NumPy arrays or safetensors.",
    )
    return _export(options)


def _export(options: Any) -> int:
    from isa_toolkit.checks import check_one_of
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.formats import EXPORT_KINDS, clipped_share

    kind = check_one_of("--kind", options.kind, EXPORT_KINDS)
    path = options.path
    if path.is_dir():
        path = path / "distilled.safetensors"
    distilled = DistilledSet.load(path)
    beside = f"{path.stem}-png" if kind == "png" else f"{path.stem}-export.{kind}"
    out = options.out or path.with_name(beside)
    out = distilled.export(out, kind=kind, overwrite=options.overwrite)
    count, share = len(distilled.images), clipped_share(distilled)
    lines = [f"{count} images of {len(distilled.class_names)} classes in {out}"]
    if kind == "png":
        lines.append(
            f"8 bits keep 256 levels in [0, 1]: {100 * share:.1f} % of the values lay "
            "outside and were clipped; npz and safetensors keep all numbers"
        )
    result = {"out": str(out), "kind": kind, "images": count, "clipped": share}
    write_result(result, lines, as_json=options.json)
    return 0
