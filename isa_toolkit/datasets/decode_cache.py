"""The cache folder: what is kept there, and decoded images that exceed the memory.

Images of a set that is too large are decoded in pieces into one file, which later runs
map as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.memory_map import MappedImages, map_file

if TYPE_CHECKING:
    from isa_toolkit.datasets.readers import Records

__all__ = ["MAPPED_BYTES", "cache_folder", "kept_or_made", "read_or_map"]

T = TypeVar("T")

# Pixels beyond this stay on the disk: CIFAR takes .15 GiB, Tiny ImageNet 1.1, ImageNet at
# 64 pixels 14.7.
MAPPED_BYTES = 4 * 2**30
_PIECE = 4096
# The process that decodes writes a piece every few seconds.
_ABANDONED_S = 600.0


def cache_folder() -> Path:
    """Return ``ISA_CACHE_DIR`` if it is set, or the user's cache folder."""
    chosen = os.environ.get("ISA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("isa_toolkit"))


def kept_or_made(
    path: Path,
    read: Callable[[Path], T],
    make: Callable[[], T],
    write: Callable[[T, Path], None],
) -> T:
    """Return what a cache file holds, or make it anew and keep it there.

    Args:
        path: Path of the cache file.
        read: Function that reads it and raises ``ValueError`` if it is damaged.
        make: Function that makes the value when there is no usable file.
        write: Function that writes the value to the path.

    Returns:
        The kept or made value. A damaged file, or a folder that cannot be written,
        gives a ``RuntimeWarning`` and the value all the same.
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

    Args:
        records: Records of one split.
        indices: Indices of the images, ascending.
        channels: Number of channels; None keeps that of the files.
        resolution: Side in pixels; None keeps that of the files.
        facts: Origin of the images; ``root`` and ``files`` name files, or folders of them,
            whose sizes and times belong to the name in the cache.

    Returns:
        uint8 [k, h, w, ch].

    Raises:
        ValueError: Damaged images, or images of several sizes.
        OSError: The cache folder cannot be written.
    """
    shape = records.read(indices[:1], channels, resolution).shape[1:]
    if len(indices) * int(np.prod(shape)) <= MAPPED_BYTES:
        return records.read(indices, channels, resolution)
    digest = hashlib.sha256(repr((channels, resolution, shape)).encode())
    _add_stamps(digest, facts)
    for values in (indices, records.labels):
        digest.update(repr(values.tolist()).encode())
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
    """Remove partial files of the same images that killed processes left."""
    for left in path.parent.glob(f"{path.name}.*.partial"):
        pid = left.name.split(".")[-2]
        try:
            # A process of another machine with this home folder has no number here.
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                os.kill(int(pid), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (FileNotFoundError, PermissionError, ValueError):
            continue  # removed already, of another user, or no such file
