"""IDX files, plain or gzipped: the four files of the MNIST family."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.records import Records, from_arrays

__all__ = ["find_idx", "read_idx"]

_UNSIGNED_BYTE = 0x08
_NAME = re.compile(
    r"(?P<split>train|t10k|test)[-_.]?(?P<kind>images|labels)[-_.]idx[13]-ubyte(\.gz)?$"
)


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Return the array of an IDX file of unsigned bytes.

    The file is two zero bytes, a type code, the number of axes, each length as a
    big-endian 32-bit integer, then the numbers.

    Args:
        path: the file; gzipped if its name ends in ``.gz``.

    Returns:
        uint8 array of the shape the file states.

    Raises:
        ValueError: damaged gzip, no IDX file, another number type, or fewer or more
            bytes than the header promises.
    """
    name = f"file {path.name}"
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise fail(name, "be a complete gzip file", str(path)) from error
    axes = raw[3] if len(raw) >= 4 else 0
    start = 4 + 4 * axes
    if raw[:2] != b"\0\0" or not axes or len(raw) < start:
        raise fail(name, "be an IDX file", as_text(f"{len(raw)} bytes without header"))
    if raw[2] != _UNSIGNED_BYTE:
        raise fail(name, "hold unsigned bytes (type 0x08)", as_text(f"0x{raw[2]:02x}"))
    shape = tuple(np.frombuffer(raw, ">u4", axes, 4).astype(int).tolist())
    promised = int(np.prod(shape))
    if len(raw) - start != promised:
        raise fail(
            name,
            f"hold {promised} bytes after its header",
            len(raw) - start,
            "Copy or download it again.",
        )
    return np.frombuffer(raw, np.uint8, promised, start).reshape(shape)


def find_idx(folder: Path) -> tuple[Records, Records | None, list[str]] | None:
    """Return the splits in a folder of IDX files, or None if it has none.

    Args:
        folder: holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the
            ``t10k`` (or ``test``) pair, each perhaps with ``.gz``.

    Returns:
        (train, test, names of the files).

    Raises:
        ValueError: half of a pair, no training pair, or a damaged file.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):
        match = _NAME.match(path.name)
        if match:
            split = "train" if match["split"] == "train" else "test"
            # Sorted backwards, so that the plain file replaces its gzipped twin.
            found[split, match["kind"]] = path
    if not found:
        return None
    splits: dict[str, Records] = {}
    for split in ("train", "test"):
        pair = [found.get((split, kind)) for kind in ("images", "labels")]
        if pair == [None, None]:
            continue
        images, labels = pair
        if images is None or labels is None:
            raise fail(
                f"folder {folder.name}",
                f"hold images and labels of {split}",
                as_text(f"only {(images or labels or folder).name}"),
            )
        splits[split] = from_arrays(images.name, read_idx(images), read_idx(labels))
    if "train" not in splits:
        raise fail(
            f"folder {folder.name}",
            "hold train-images-idx3-ubyte and train-labels-idx1-ubyte",
            as_text("test files only"),
        )
    return splits["train"], splits.get("test"), sorted(p.name for p in found.values())
