"""``isa-toolkit export``: a distilled set in a form that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from isa_toolkit.cli.output import write_result


def export(
    path: tyro.conf.Positional[Path],
    kind: Literal["png", "npz", "safetensors"] = "png",
    out: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Write a distilled set as PNG folders, NumPy arrays or safetensors.

    Examples:
      isa-toolkit export runs/digits-ipc1-frepo-0123abcd
      isa-toolkit export distilled.safetensors --kind npz --out digits.npz

    Args:
        path: Path of a run folder, or of a file that DistilledSet.save wrote.
        kind: Format to write: png (one folder of 8-bit images per class, soft labels in
            labels.csv), npz (plain NumPy arrays) or safetensors.
        out: Path of the folder or file to write; without it, next to the set.
        overwrite: Replace an earlier export at that path.
        json: Write JSON to standard output.
    """
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.formats import clipped_fraction

    if path.is_dir():
        path = path / "distilled.safetensors"
    distilled = DistilledSet.load(path)
    name = f"{path.stem}-png" if kind == "png" else f"{path.stem}-export.{kind}"
    out = distilled.export(out or path.with_name(name), kind=kind, overwrite=overwrite)
    count, clipped = len(distilled.images), clipped_fraction(distilled)
    lines = [f"{count} images of {len(distilled.class_names)} classes in {out}"]
    if kind == "png":
        lines.append(
            f"PNG keeps 256 levels in [0, 1]: {100 * clipped:.1f} % of the values lay "
            "outside and were clipped; npz and safetensors keep all values"
        )
    result = {"out": str(out), "kind": kind, "images": count, "clipped": clipped}
    write_result(result, lines, json=json)
