"""``isa-toolkit import``: a distilled set that another project released."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from isa_toolkit.cli.output import command_line, write_result


def import_(
    path: tyro.conf.Positional[Path],
    kind: Literal["frepo", "rcig", "rfad", "dc", "npz"],
    dataset: str,
    root: str | None = None,
    index: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Read a distilled set that another project released.

    Examples:
      isa-toolkit import res_DC_MNIST.npz --kind dc --dataset mnist
      isa-toolkit import checkpoint_15000 --kind rcig --dataset cifar10 --root path/to/cifar10

    Args:
        path: Path of the file.
        kind: Origin of the file: frepo or rcig (Flax checkpoint), rfad (best.npz), dc (of
            DC, DSA or DM) or npz (an export, or images and labels).
        dataset: Name of the data set that was distilled.
        root: Path of its files; whitened images need them.
        index: Index of the set in a file of several.
        out: Path of the file to write; without it, next to the file.
        json: Write JSON to standard output.
    """
    from isa_toolkit.released_sets import import_distilled

    distilled = import_distilled(
        path, kind=kind, dataset=dataset, root=root, index=index
    )
    out = distilled.save(out or path.with_suffix(".safetensors"))
    flags = {"dataset": dataset, "root": root}
    next_ = command_line("evaluate", out, **flags, protocol="published")
    lines = [f"{distilled!r} in {out}", f"next: {next_}"]
    result = {"out": str(out), "images": len(distilled), "manifest": distilled.manifest}
    write_result(result, lines, json=json)
