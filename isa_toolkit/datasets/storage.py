"""Images that stay on the disk.

A set that is larger than the memory is mapped rather than read: whatever is taken of it, a
batch or a slice, is an ordinary array. Image files of such a set are decoded in pieces into
one file of the cache folder, which later runs map as it is.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import fail
from isa_toolkit.datasets.validation import check_size
from isa_toolkit.environment import cache_folder

if TYPE_CHECKING:
    from isa_toolkit.datasets.readers import Records

# Pixels beyond this stay on the disk: CIFAR takes .15 GiB, Tiny ImageNet 1.1, ImageNet at
# 64 pixels 14.7.
MAPPED_BYTES = 4 * 2**30
# At once decoded are so many images, or so many bytes if they are large.
_PIECE, _PIECE_BYTES = 4096, 2**29


@final
class MappedImages:
    """Some rows of an array of images on the disk.

    It has the shape, length, slices and index arrays of a NumPy array; whatever is taken
    is a copy in memory. Nothing is ever written to the file.

    Args:
        stored: Memory-mapped array, uint8 [s, h, w, ch].
        rows: Indices of its rows, in this order, [n]; None for all.
    """

    def __init__(self, stored: np.memmap, rows: Int[Any, " n"] | None = None) -> None:
        self._stored = stored
        self._rows = np.arange(len(stored)) if rows is None else np.asarray(rows)
        self.dtype = stored.dtype
        self.ndim = stored.ndim
        self.shape = (len(self._rows), *stored.shape[1:])
        self.nbytes = int(np.prod(self.shape))

    def __repr__(self) -> str:
        return f"MappedImages(shape={self.shape})"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "..."]:
        first, *others = index if isinstance(index, tuple) else (index,)
        rows = self._rows[first]
        self._prefetch(np.atleast_1d(rows))
        taken = np.array(self._stored[rows])
        return taken[(*[slice(None)] * np.ndim(rows), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise fail("copy", "be True or None for images on the disk", copy)
        return self[:].astype(dtype or np.uint8, copy=False)

    def take(self, rows: Int[np.ndarray, " k"]) -> MappedImages:
        """Return the images at some indices, still on the disk."""
        return MappedImages(self._stored, self._rows[rows])

    def _prefetch(self, rows: np.ndarray) -> None:
        """Let the system read rows of the file at once, before they are copied.

        1,024 random images of 12 kB take 36 ms from a cold disk with this advice and
        1,000 ms without it; from memory 3 ms (threads with positional reads: 65 and 9).
        """
        stored: Any = self._stored
        # A slice of a map keeps the offset of the whole, so only whole maps are advised.
        if not isinstance(stored.base, mmap.mmap) or not stored.flags.c_contiguous:
            return
        size, file = int(np.prod(self.shape[1:])), stored.filename
        needed = stored.offset + size * (int(rows.max(initial=-1)) + 1)
        # Reading a map beyond the end of its file would end the process.
        if file and Path(file).stat().st_size < needed:
            raise OSError(f"The file {file} ends too early. Make it again.")
        if not hasattr(mmap, "MADV_WILLNEED") or len(rows) > len(stored) // 2:
            return
        skipped = stored.offset % mmap.ALLOCATIONGRANULARITY
        for row in rows:
            begin = skipped + size * int(row)
            page = begin - begin % mmap.PAGESIZE
            stored.base.madvise(mmap.MADV_WILLNEED, page, begin + size - page)


def as_mapped(images: Any) -> MappedImages | None:
    """Return memory maps of uint8 [n, h, w, 1 or 3] as mapped images, all else as None."""
    if isinstance(images, MappedImages):
        return images
    is_map = isinstance(images, np.memmap) and images.ndim == 4
    if is_map and images.dtype == np.uint8 and images.shape[-1] in (1, 3):
        return MappedImages(images)
    return None


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
        size = max(1, min(_PIECE, _PIECE_BYTES // first.nbytes))
        pieces = (
            records.read(indices[start : start + size], channels, resolution)
            for start in range(0, len(indices), size)
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
