"""Decoded once and mapped: images of a set that is too large for the memory.

They are decoded some at a time into one file of the cache folder, which later runs map
as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.cache import cache_folder
from isa_toolkit.datasets.memory_map import MappedImages, map_file
from isa_toolkit.datasets.records import Records

__all__ = ["MAPPED_BYTES", "read_or_map"]

# Pixels beyond this stay on the disk: CIFAR takes .15 GiB, Tiny ImageNet 1.1, ImageNet at
# 64 pixels 14.7.
MAPPED_BYTES = 4 * 2**30
_PIECE = 4096
# Who decodes writes a piece every few seconds.
_ABANDONED_S = 600.0


def read_or_map(
    records: Records,
    indices: Int[np.ndarray, " k"],
    channels: int | None,
    resolution: int | None,
    *,
    facts: Mapping[str, Any],
) -> UInt8[np.ndarray, "k h w ch"] | MappedImages:
    """Return the images of some records, in memory or, if they are many, on the disk.

    Args:
        records: of one split.
        indices: which, ascending.
        channels: see ``Records.read``.
        resolution: see ``Records.read``.
        facts: where they come from; ``root`` and ``files`` name files, or folders of them,
            whose sizes and times belong to the name in the cache.

    Returns:
        uint8 [k, h, w, ch].

    Raises:
        ValueError: damaged images, or images of several sizes.
        OSError: the cache folder cannot be written.
    """
    shape = records.read(indices[:1], channels, resolution).shape[1:]
    if len(indices) * int(np.prod(shape)) <= MAPPED_BYTES:
        return records.read(indices, channels, resolution)
    digest = hashlib.sha256(repr((channels, resolution, shape)).encode())
    _add_stamps(digest, facts)
    for numbers in (indices, records.labels):
        digest.update(np.ascontiguousarray(numbers).data)
    path = cache_folder() / f"images-{digest.hexdigest()[:32]}.npy"
    if not path.is_file():
        _write(path, records, indices, channels, resolution, shape)
    return map_file(path)


def _write(
    path: Path,
    records: Records,
    indices: np.ndarray,
    channels: int | None,
    resolution: int | None,
    shape: tuple[int, ...],
) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        # Written, not mapped: on a full disk a map ends the process with a signal.
        with partial.open("wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
                "fortran_order": False,
                "shape": (len(indices), *shape),
            }
            np.lib.format.write_array_header_2_0(file, header)
            for start in range(0, len(indices), _PIECE):
                some = indices[start : start + _PIECE]
                part = records.read(some, channels, resolution)
                if part.shape[1:] != shape:
                    raise fail(
                        "images",
                        "have one size",
                        as_text(f"{shape} and {part.shape[1:]}"),
                        "Pass resolution to crop the centre and resize.",
                    )
                file.write(np.ascontiguousarray(part).data)
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            f"The cache folder {path.parent} cannot take the decoded images: {reason}. "
            "Free some space, or set ISA_CACHE_DIR to a folder that has it."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _add_stamps(digest: Any, facts: Mapping[str, Any]) -> None:
    """Add the facts, and name, size and time of every file that they name, to a hash."""
    known, files = dict(facts), []
    if "root" in known:
        root = Path(str(known["root"])).resolve()
        base = root if root.is_dir() else root.parent
        known["root"] = str(root)
        for name in known.get("files", ()):
            named = base / str(name)
            files += sorted(named.rglob("*")) if named.is_dir() else [named]
    digest.update(json.dumps(known, sort_keys=True).encode())
    for path in files:
        if path.is_file():
            found = path.stat()
            stamp = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0"
            digest.update(stamp.encode("utf-8", "surrogateescape"))


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed had decoded of the same images."""
    for left in path.parent.glob(f"{path.name}.*.partial"):
        pid = left.name.split(".")[-2]
        try:
            # A process of another machine with this home folder has no number here.
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                os.kill(int(pid), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (FileNotFoundError, PermissionError, ValueError):
            continue  # gone already, somebody else's, or no file of ours
