"""Images that stay on the disk: rows of a memory-mapped array, read when asked for.

A set that is larger than the memory is mapped rather than read. What is taken of it, a
batch or a piece, is an ordinary array.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail

__all__ = ["MappedImages", "as_mapped", "available_bytes", "check_fits", "map_file"]

# Reads at a time. Of 1,024 images of 12 kB that the system does not hold yet, eight take
# a third of the time of one; of those that it holds, no longer.
_READERS = 8
_READ_BYTES = 16 * 2**20


@final
class MappedImages:
    """Some rows of an array of images on the disk.

    It has the shape, length, slices and index arrays of a NumPy array; whatever is taken
    is a copy in memory. Nothing is ever written to the file.

    Args:
        stored: the mapped array, uint8 [s, h, w, ch].
        rows: which of its rows, in this order, [n]; None for all.

    Raises:
        ValueError: no uint8 images.
    """

    def __init__(self, stored: np.memmap, rows: Int[Any, " n"] | None = None) -> None:
        if stored.dtype != np.uint8 or stored.ndim != 4:
            raise fail(
                "mapped images",
                "be uint8 of shape [n, h, w, channels]",
                as_text(f"{stored.dtype} {stored.shape}"),
                "Convert the file once, or read it into memory.",
            )
        self._stored = stored
        self._rows = np.arange(len(stored)) if rows is None else np.asarray(rows)

    def __repr__(self) -> str:
        return f"MappedImages(shape={self.shape})"

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, ch)."""
        return (len(self), *self._stored.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes, 4."""
        return self._stored.ndim

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return self._stored.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        return int(np.prod(self.shape))

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "..."]:
        first, *others = index if isinstance(index, tuple) else (index,)
        rows = self._rows[first]
        if not np.ndim(rows):
            return np.array(self._stored[(rows, *others)])
        read = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if len(rows):
            self._read(rows, read)
        return read[(slice(None), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all of them in memory.

        Raises:
            ValueError: without copying, which cannot be.
        """
        if copy is False:
            raise fail("copy", "be True or None for images on the disk", copy)
        return self[:].astype(dtype or np.uint8, copy=False)

    def take(self, rows: Int[np.ndarray, " k"]) -> MappedImages:
        """Return some of the images, still on the disk.

        Args:
            rows: which, [k].
        """
        return MappedImages(self._stored, self._rows[rows])

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill ``out`` with rows of the file, several at a time, as they lie there."""
        place = self._place()
        order = np.argsort(rows, kind="stable")
        if place is None:
            out[order] = self._stored[rows[order]]
            return
        # Positional reads rather than the map: a third of the time where the system does
        # not hold the pages yet, and those read do not count as this process's memory.
        path, offset = place
        size = int(np.prod(self.shape[1:]))
        # Neighbours in one read, but of no more than some mebibytes.
        is_first = np.diff(rows[order], prepend=-2) != 1
        is_first[:: max(1, _READ_BYTES // size)] = True
        runs = np.split(order, np.flatnonzero(is_first)[1:])
        file = os.open(path, os.O_RDONLY)

        def read_some(start: int) -> None:
            for run in runs[start::_READERS]:
                begin = offset + size * int(rows[run[0]])
                raw = os.pread(file, size * len(run), begin)
                if len(raw) != size * len(run):
                    raise OSError(f"The file {path} ends too early. Make it again.")
                out[run] = np.frombuffer(raw, np.uint8).reshape(-1, *out.shape[1:])

        try:
            with ThreadPoolExecutor(_READERS) as readers:
                list(readers.map(read_some, range(min(_READERS, len(runs)))))
        finally:
            os.close(file)

    def _place(self) -> tuple[str, int] | None:
        """Return the file and where in it the array begins, if both are known."""
        stored: Any = self._stored
        # A slice of a map keeps the offset of the whole.
        is_whole = isinstance(stored.base, mmap.mmap) and stored.flags.c_contiguous
        if not is_whole or not stored.filename or not hasattr(os, "pread"):
            return None
        return str(stored.filename), int(stored.offset)


def as_mapped(images: Any) -> MappedImages | None:
    """Return images as mapped ones if they lie on the disk and need no conversion.

    Args:
        images: anything.

    Returns:
        uint8 memory maps [n, h, w, ch] as they are; None for everything else.
    """
    if isinstance(images, MappedImages):
        return images
    is_map = isinstance(images, np.memmap) and images.ndim == 4
    if is_map and images.dtype == np.uint8 and images.shape[-1] in (1, 3):
        return MappedImages(images)
    return None


def map_file(path: Path) -> MappedImages:
    """Return the images of an ``.npy`` file, not read yet.

    Args:
        path: the file.

    Raises:
        ValueError: it is damaged or holds no uint8 images.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise fail("path", "be a whole .npy file", str(path), "Delete it.") from error
    return MappedImages(stored)


def available_bytes() -> int:
    """Return the memory of this machine that is free: elsewhere than on Linux, half."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_fits(what: str, size: int) -> None:
    """Refuse to fill the memory.

    Args:
        what: is to be made.
        size: its bytes.

    Raises:
        ValueError: it is larger than what is free.
    """
    free = available_bytes()
    if size > free:
        raise fail(
            what,
            f"fit in memory ({free / 2**30:.1f} GiB are free)",
            as_text(f"{size / 2**30:.1f} GiB"),
            "Pass limit to load fewer images.",
        )
