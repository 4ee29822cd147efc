"""Images that stay on the disk: rows of a memory-mapped array, read when indexed.

A set that is larger than the memory is mapped rather than read. Whatever is taken of it,
a batch or a slice, is an ordinary array.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail


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
        if not np.ndim(rows):
            return np.array(self._stored[(rows, *others)])
        return np.array(self._stored[rows])[(slice(None), *others)]

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
        size = int(np.prod(self.shape[1:]))
        if stored.filename and len(rows):
            needed, file = stored.offset + size * (int(rows.max()) + 1), stored.filename
            # Reading a map beyond the end of its file would end the process.
            if Path(file).stat().st_size < needed:
                raise OSError(f"The file {file} ends too early. Make it again.")
        if not hasattr(mmap, "MADV_WILLNEED") or len(rows) > self._stored.shape[0] // 2:
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


def available_bytes() -> int:
    """Return the memory of this machine that is free: elsewhere than on Linux, half."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        lines = dict(line.split(":", 1) for line in facts.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def check_fits(what: str, size: int) -> None:
    """Refuse to make something of ``size`` bytes that is larger than the free memory."""
    free = available_bytes()
    if size > free:
        rule = f"fit in memory ({free / 2**30:.1f} GiB are free)"
        fix = "Pass limit to load fewer images."
        raise fail(what, rule, as_text(f"{size / 2**30:.1f} GiB"), fix)
