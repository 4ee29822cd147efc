"""The cache folder: what is kept there, and decoded images that exceed the memory.

Images of a set that is too large are decoded in pieces into one file, which later runs
map as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import fail
from isa_toolkit.datasets.memory_map import MappedImages
from isa_toolkit.datasets.validation import check_size

if TYPE_CHECKING:
    from isa_toolkit.datasets.readers import Records

T = TypeVar("T")

# Pixels beyond this stay on the disk: CIFAR takes .15 GiB, Tiny ImageNet 1.1, ImageNet at
# 64 pixels 14.7.
MAPPED_BYTES = 4 * 2**30
_PIECE = 4096


def cache_folder() -> Path:
    """Return ``ISA_CACHE_DIR`` if it is set, or the user's cache folder."""
    chosen = os.environ.get("ISA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("isa_toolkit"))
    except RuntimeError:  # no HOME, and no entry for this user
        # Nothing can be written there, which those who write report.
        return Path(os.devnull) / "isa_toolkit"


def kept_or_made(
    path: Path,
    read: Callable[[Path], T],
    make: Callable[[], T],
    write: Callable[[T, Path], None],
) -> T:
    """Return what a cache file holds, or make it anew and keep it there.

    A damaged file, for which ``read`` raises ``ValueError``, or a folder that cannot be
    written gives a ``RuntimeWarning`` and the value all the same.
    """
    if path.is_file():
        try:
            return read(path)
        except ValueError:
            warnings.warn(
                f"The cache file {path} is damaged; it is fitted again.",
                RuntimeWarning,
                stacklevel=3,
            )
    made = make()
    try:
        write(made, path)
    except OSError as error:
        warnings.warn(
            f"The cache folder {path.parent} cannot be written ({error.strerror}); "
            "set ISA_CACHE_DIR to one that can.",
            RuntimeWarning,
            stacklevel=3,
        )
    return made


def read_or_map(
    records: Records,
    indices: Int[np.ndarray, " k"],
    channels: int | None,
    resolution: int | None,
    *,
    facts: Mapping[str, Any],
) -> UInt8[np.ndarray, "k h w ch"] | MappedImages:
    """Return the images of some records, in memory or, if they are many, on the disk.

    ``facts["root"]`` and ``facts["files"]`` name files, or folders of them, whose sizes
    and times belong to the name in the cache.
    """
    first = records.read(indices[:1], channels, resolution)
    shape = (len(indices), *first.shape[1:])
    if records.is_decoded or np.prod(shape) <= MAPPED_BYTES:
        return records.read(indices, channels, resolution)
    known = [channels, resolution, shape, indices.tolist(), records.labels.tolist()]
    stamps = json.dumps([known, _stamps(facts)], sort_keys=True)
    name = hashlib.sha256(stamps.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = cache_folder() / f"images-{name}.npy"
    if not path.is_file():
        pieces = (
            records.read(indices[start : start + _PIECE], channels, resolution)
            for start in range(0, len(indices), _PIECE)
        )
        _write(path, shape, pieces)
    try:
        return MappedImages(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise fail("the cache", "be whole", str(path), "Delete the file.") from error


def _write(path: Path, shape: tuple[int, ...], pieces: Iterable[Any]) -> None:
    from filelock import FileLock

    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process that loads the same set waits, and then finds the file.
        with FileLock(path.with_suffix(".lock")):
            if path.is_file():
                return
            try:
                # Written, not mapped: on a full disk a map ends the process with a signal.
                with partial.open("wb") as file:
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, header)
                    for piece in pieces:
                        check_size("images", shape[1:], piece.shape[1:])
                        file.write(np.ascontiguousarray(piece).data)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            f"The cache folder {path.parent} cannot take the decoded images: {reason}. "
            "Free some space, or set ISA_CACHE_DIR to a folder that has it."
        ) from error


def _stamps(facts: Mapping[str, Any]) -> list[Any]:
    """Return the facts, and name, size and time of every file that they name."""
    if "root" not in facts:
        return [facts]
    root = Path(str(facts["root"])).resolve()
    base = root if root.is_dir() else root.parent
    files = []
    for name in facts.get("files", ()):
        named = base / str(name)
        files += sorted(named.rglob("*")) if named.is_dir() else [named]
    found = [(str(file), file.stat()) for file in files if file.is_file()]
    stamps = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    return [{**facts, "root": str(root)}, stamps]
