"""``isa-toolkit export`` and ``import``: distilled sets of and for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from isa_toolkit.cli.evaluate import file_of_set
from isa_toolkit.cli.output import command_line, write_result


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

    path = file_of_set(path, "export")
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
    write_result(result, lines, json=json, kept=out)


def import_(
    path: tyro.conf.Positional[Path],
    kind: Literal["frepo", "rcig", "rfad", "dc", "dsa", "npz"],
    dataset: str,
    root: str | None = None,
    index: int = 0,
    out: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Read a distilled set that another project released.

    Examples:
      isa-toolkit import res_DC_MNIST.npz --kind dc --dataset mnist
      isa-toolkit import checkpoint_15000 --kind rcig --dataset cifar10 --root path/to/cifar10

    Args:
        path: Path of the file.
        kind: Origin of the file: frepo or rcig (Flax checkpoint), rfad (best.npz), dc, dsa
            (of DSA or DM) or npz (an export, or images and labels).
        dataset: Name of the data set that was distilled.
        root: Path of its files, which whitened images need.
        index: Index of the set in a file of several.
        out: Path of the file to write; without it, next to the file.
        overwrite: Replace a file at that path.
        json: Write JSON to standard output.
    """
    from isa_toolkit.released_sets import import_distilled

    out = out or path.with_suffix(".safetensors")
    if out.exists() and not overwrite:
        raise FileExistsError(
            f"out must be new, got {out}, which exists. Choose another path, or set "
            "--overwrite."
        )
    distilled = import_distilled(
        path, kind=kind, dataset=dataset, root=root, index=index
    )
    distilled.save(out)
    flags = {"dataset": dataset, "root": root}
    next_ = command_line("evaluate", out, **flags, protocol="published")
    lines = [f"{distilled!r} in {out}", f"next: {next_}"]
    result = {"out": str(out), "images": len(distilled), "manifest": distilled.manifest}
    write_result(result, lines, json=json, kept=out)
