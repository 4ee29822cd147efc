"""Parquet in the Hugging Face layout: image bytes or plain arrays, labels, class names.

Finding the shards is left to :mod:`isa_toolkit.datasets.formats` and
:mod:`isa_toolkit.datasets.hub`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.images import Encoded
from isa_toolkit.datasets.records import (
    Records,
    fit_channels,
    from_encoded,
    resize_all,
)
from isa_toolkit.datasets.validation import as_images

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["IMAGE_COLUMNS", "LABEL_COLUMNS", "read_class_names", "read_parquet"]

IMAGE_COLUMNS = ("image", "img", "images", "pixels")
"""Column names tried for the images, in order."""

LABEL_COLUMNS = ("label", "labels", "fine_label")
"""Column names tried for the labels of an unknown set, in order."""


def read_parquet(
    files: Sequence[Path], label_columns: Sequence[str] = LABEL_COLUMNS
) -> Records:
    """Return the rows of parquet shards of one split, in order.

    Images are structs {bytes, path} of encoded files (the Hub's form), plain binary, or
    nested lists of numbers [h][w] or [h][w][ch].

    Args:
        files: the shards.
        label_columns: names tried for the labels, in order.

    Returns:
        The records; images are read one row group at a time.

    Raises:
        ValueError: a damaged file, missing columns, or labels of another type.
    """
    labels, is_plain = [], False
    for file in files:
        opened = _open(file)
        image = _column(file, opened, IMAGE_COLUMNS, "an image")
        label = _column(file, opened, label_columns, "a label")
        is_plain = _is_list(opened.schema_arrow.field(image).type)
        labels.append(_labels(file, opened, label))
    name = files[0].name
    found = from_encoded(
        np.concatenate(labels), lambda kept: _encoded(files, kept), name
    )
    if not is_plain:
        return found
    return Records(found.labels, lambda *wanted: _plain(files, *wanted))


def read_class_names(
    file: Path, label_columns: Sequence[str] = LABEL_COLUMNS
) -> tuple[str, ...]:
    """Return the class names in a shard's Hugging Face metadata; () if it has none.

    Raises:
        ValueError: a damaged file, or no label column.
    """
    opened = _open(file)
    label = _column(file, opened, label_columns, "a label")
    stored = (opened.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored or b"{}")["info"]["features"]
        return tuple(map(str, features[label]["names"]))
    except (KeyError, TypeError, ValueError):
        return ()


def _open(file: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> ValueError:
    return fail(
        f"file {file.name}",
        "be a complete parquet file",
        str(file),
        "Copy or download it again.",
    )


def _column(
    file: Path, opened: pq.ParquetFile, wanted: Sequence[str], what: str
) -> str:
    present = opened.schema_arrow.names
    for name in wanted:
        if name in present:
            return name
    raise fail(
        f"file {file.name}",
        f"have {what} column named {' or '.join(wanted)}",
        as_text(f"columns {', '.join(present)}"),
    )


def _labels(file: Path, opened: pq.ParquetFile, label: str) -> np.ndarray:
    import pyarrow as pa

    try:
        column = opened.read(columns=[label]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file) from error
    if not pa.types.is_integer(column.type) or column.null_count:
        found = "empty rows" if column.null_count else f"type {column.type}"
        raise fail(f"labels of {file.name}", "be whole numbers", as_text(found))
    return column.to_numpy()


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    kind = getattr(kind, "storage_type", kind)
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def _row_groups(
    files: Sequence[Path], kept: np.ndarray, part: str = ""
) -> Iterator[tuple[Path, np.ndarray, pa.Array]]:
    """Give (file, kept rows counted within the file, their images) by row group."""
    import pyarrow as pa

    start = 0
    for file in files:
        opened = _open(file)
        image = _column(file, opened, IMAGE_COLUMNS, "an image")
        is_struct = pa.types.is_struct(opened.schema_arrow.field(image).type)
        wanted = f"{image}{part}" if is_struct else image
        first = start
        for group in range(opened.num_row_groups):
            rows = opened.metadata.row_group(group).num_rows
            low, high = np.searchsorted(kept, [start, start + rows])
            inside = kept[low:high] - start
            start += rows
            if not len(inside):
                continue
            try:
                column = opened.read_row_group(group, columns=[wanted]).column(0)
                chunk = column.combine_chunks().take(pa.array(inside))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(file) from error
            yield file, inside + (start - rows - first), chunk


def _encoded(files: Sequence[Path], kept: np.ndarray) -> Iterator[list[Encoded]]:
    import pyarrow as pa

    for file, rows, chunk in _row_groups(files, kept, ".bytes"):
        contents = chunk.field("bytes") if pa.types.is_struct(chunk.type) else chunk
        batch = []
        for row, content in zip(rows, contents, strict=True):
            raw = content.as_py()
            if not isinstance(raw, bytes):
                raise fail(
                    f"row {row} of {file.name}",
                    "hold the bytes of an image",
                    as_text("no bytes"),
                    "Embed the images when writing the file.",
                )
            batch.append(Encoded(f"{file.name} row {row}", raw))
        yield batch


def _plain(
    files: Sequence[Path],
    kept: np.ndarray,
    channels: int | None,
    resolution: int | None,
) -> np.ndarray:
    images: list[np.ndarray] = []
    for file, _, chunk in _row_groups(files, kept):
        name = f"images of {file.name}"
        found = fit_channels(as_images(name, _stack(name, chunk)), channels)
        found = resize_all(found, resolution)
        if images and found.shape[1:] != images[0].shape[1:]:
            raise fail(
                "images",
                "have one size",
                as_text(f"{images[0].shape[1:]} and {found.shape[1:]}"),
                "Pass resolution to crop the centre and resize.",
            )
        images.append(found)
    return np.concatenate(images)


def _stack(name: str, chunk: pa.Array) -> np.ndarray:
    """Return nested lists of equal lengths as one array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    shape = [len(chunk)]
    array = getattr(chunk, "storage", chunk)
    while _is_list(array.type):
        lengths = pc.call_function("list_value_length", [array]).unique().to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise fail(
                name,
                "have one size",
                as_text(f"sides of {lengths[0]} and {lengths[-1]}"),
                "Store image bytes, or resize before writing.",
            )
        shape.append(lengths[0])
        array = array.flatten()
    if array.null_count or not (
        pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    ):
        raise fail(name, "hold numbers", as_text(f"type {chunk.type}"))
    numbers = array.to_numpy().reshape(shape)
    if numbers.dtype.kind in "iu" and numbers.dtype != np.uint8:
        # Parquet has no 8-bit type of its own: writers widen uint8 to int32 or int64.
        low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
        if low < 0 or high > 255:
            raise fail(name, "lie in 0..255", low if low < 0 else high)
        numbers = numbers.astype(np.uint8)
    return numbers
