"""What a reader returns, and the readers of arrays, encoded images and parquet.

Labels are read at once, images only when they are requested: a limit, a split and every
check of labels come before anything is decoded.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from isa_toolkit.checks import as_array, as_text, fail
from isa_toolkit.datasets.images import Encoded, crop_and_resize, decode_all
from isa_toolkit.datasets.storage import MappedImages, as_mapped
from isa_toolkit.datasets.validation import as_images, unreadable
from isa_toolkit.environment import cache_folder

IMAGE_COLUMNS = ("image", "img", "images", "pixels")
"""Names of parquet columns tried for the images, in order."""

LABEL_COLUMNS = ("label", "labels", "fine_label")
"""Names of parquet columns tried for the labels of an unknown set, in order."""

_BATCH = 1024
# Fewer bytes than any image file has.
_LEAST_BYTES = 64
# What damaged parquet files raise; RecursionError: metadata of very many levels.
_DAMAGE = (
    OSError, ValueError, TypeError, KeyError, NotImplementedError, RecursionError
)  # fmt: skip
_NOT_WRITABLE = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EACCES", "EROFS", "ENOTDIR")
}

Images = UInt8[np.ndarray, "k h w ch"] | MappedImages


class Records(NamedTuple):
    """One split as a reader found it.

    Attributes:
        labels: Labels, not yet checked: numbers or names, [n].
        read: ``(indices, channels, resolution) -> uint8 [k, h, w, ch]``; ``channels``
            None keeps what the files have, ``resolution`` None keeps their size.
        is_decoded: Whether ``read`` only picks from an array.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray, int | None, int | None], Images]
    is_decoded: bool = False


class Source(NamedTuple):
    """A whole data set as a reader found it.

    Attributes:
        train: Training records.
        test: Test records, or None if there are none.
        class_names: Names in label order, or () if the files name none.
        facts: Facts for the provenance, in plain JSON types; empty ones are left out.
    """

    train: Records
    test: Records | None
    class_names: tuple[str, ...]
    facts: dict[str, Any]


def from_arrays(name: str, images: Any, labels: Any) -> Records:
    """Return records of arrays; memory maps of bytes that need no change stay maps."""
    mapped = as_mapped(images)
    checked = as_images(name, images) if mapped is None else mapped
    labels = as_array(f"labels of {name}", labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    count = len(labels) if labels.ndim else 0
    if count != len(checked):
        found = as_text(f"{count} labels for {len(checked)} images")
        raise fail(f"labels of {name}", "hold one label per image", found)

    def read(
        rows: np.ndarray, channels: int | None, resolution: int | None
    ) -> np.ndarray | MappedImages:
        is_widened = channels not in (None, checked.shape[3])
        is_resized = resolution and checked.shape[1:3] != (resolution, resolution)
        if isinstance(checked, MappedImages) and not (is_widened or is_resized):
            return checked.take(rows)
        taken = np.ascontiguousarray(checked[rows])
        if is_widened:  # grey is repeated to RGB
            if taken.shape[3] != 1:
                raise fail("images", f"have {channels} channel", taken.shape)
            taken = np.repeat(taken, 3, axis=3)
        if resolution and is_resized:
            taken = np.stack([crop_and_resize(image, resolution) for image in taken])
        return taken

    return Records(labels, read, is_decoded=True)


def from_encoded(
    labels: Any, encoded: Callable[[np.ndarray], Sequence[Encoded]], name: str
) -> Records:
    """Return records of the image files that ``encoded`` gives for ascending indices."""
    labels = np.asarray(labels)
    if not len(labels):
        raise fail(name, "hold an image", as_text("no rows"))
    return Records(labels, partial(decode_all, encoded))


def read_parquet(
    files: Sequence[Path], label_columns: Sequence[str] = LABEL_COLUMNS
) -> tuple[Records, tuple[str, ...]]:
    """Return the rows of parquet files of one split, and the class names in them if any.

    The parquet builder of Hugging Face ``datasets`` alone is used, which runs no code of
    a repository and unpickles nothing. It keeps an Arrow copy of the two columns in the
    cache folder, from which images are mapped. Images are structs {bytes, path} of
    encoded files (the Hub's form), plain binary, or nested lists of numbers [h][w] or
    [h][w][ch].
    """
    import pyarrow as pa

    image = label = ""
    for file in reversed(files):  # all are checked, the first one's names are taken
        image = _column(file, IMAGE_COLUMNS, "an image")
        label = _column(file, label_columns, "a label")
    table = _load(files, [image, label])
    column, name = table.data.column(label), files[0].name
    is_unlabelled = column.null_count == len(column)
    labels = np.full(len(column), -1) if is_unlabelled else column.to_numpy()
    if column.null_count and not is_unlabelled:
        rule = f"labels of {name}"
        raise fail(rule, "be whole numbers or names", as_text("empty rows"))
    class_names = tuple(map(str, getattr(table.features[label], "names", None) or ()))
    kind = table.data.schema.field(image).type
    kind = getattr(kind, "storage_type", kind)
    is_encoded = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary)
    if not any(check(kind) for check in is_encoded):
        numbers = table.with_format("numpy").iter(_BATCH)
        plain = [_as_bytes(name, batch[image]) for batch in numbers]
        return from_arrays(name, np.concatenate(plain), labels), class_names
    arrow = table.with_format("arrow")

    def encoded(rows: np.ndarray) -> list[Encoded]:
        first, last = int(rows[0]), int(rows[-1]) + 1
        # A slice is taken as it is, other rows one by one.
        part = arrow[slice(first, last) if last - first == len(rows) else rows]
        batch = []
        for row, stored in zip(rows, part[image].to_pylist(), strict=True):
            content = stored.get("bytes") if isinstance(stored, dict) else stored
            if not isinstance(content, bytes):
                what, found = f"row {row} of {name}", as_text("no bytes")
                fix = "Embed the images when writing the file."
                raise fail(what, "hold the bytes of an image", found, fix)
            batch.append(Encoded(f"{name} row {row}", content))
        return batch

    return from_encoded(labels, encoded, name), class_names


def _load(files: Sequence[Path], columns: list[str]) -> Any:
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    folder = cache_folder() / "arrow"
    try:
        for file in files:
            _check_space(file, columns[0], folder)
        with _quiet():
            return datasets.Dataset.from_parquet(
                [str(file) for file in files],
                columns=columns,
                cache_dir=str(folder),
                batch_size=_BATCH,
            )
    except (DatasetsError, pa.ArrowException, *_DAMAGE) as error:
        cause = error.__cause__ or error
        if getattr(cause, "errno", None) in _NOT_WRITABLE:
            raise OSError(
                f"The cache folder {folder} cannot take a copy of the images: "
                f"{getattr(cause, 'strerror', None) or cause}. "
                "Free some space, or set ISA_CACHE_DIR to a folder that has it."
            ) from error
        found = as_text(f"damage in {' or '.join(str(file) for file in files)}")
        rule = "be a complete parquet file with the same columns of images"
        raise fail("each shard", rule, found, "Copy or download it again.") from error


def _check_space(file: Path, image: str, folder: Path) -> None:
    """Refuse a file whose repeated images would fill the disk of the cache.

    A dictionary in a file holds an image once for all rows that repeat it, and the copy
    holds it as often: here only the indices and the lengths are read.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    groups = pq.read_metadata(file)
    parts = [groups.row_group(index) for index in range(groups.num_row_groups)]
    chunks = [part.column(at) for part in parts for at in range(part.num_columns)]
    wanted = (image, f"{image}.bytes")
    repeated = {
        one.path_in_schema
        for one in chunks
        if one.path_in_schema in wanted
        and one.physical_type == "BYTE_ARRAY"
        and one.has_dictionary_page
        and one.total_uncompressed_size < _LEAST_BYTES * one.num_values
    }
    if not repeated:
        return
    size, home = 0, folder
    opened = pq.ParquetFile(file, read_dictionary=list(repeated))
    for batch in opened.iter_batches(_BATCH, columns=list(repeated)):
        column = batch.column(0)
        column = column.field("bytes") if hasattr(column, "field") else column
        lengths = pc.binary_length(column.dictionary)  # pyright: ignore[reportAttributeAccessIssue]
        repeats = lengths.take(column.indices).drop_null()
        size += int(repeats.to_numpy(zero_copy_only=False).sum())
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    if size > free:
        reason = (
            f"{file.name} repeats images, which take {size / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free"
        )
        raise OSError(errno.ENOSPC, reason)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's bars and log lines away, without a change for its other users."""
    import datasets

    level = datasets.logging.get_verbosity()
    is_shown = datasets.is_progress_bar_enabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if is_shown:
            datasets.enable_progress_bars()


def has_column(files: Sequence[Path], wanted: Sequence[str]) -> bool:
    """Return whether each of the parquet files has one of some columns."""
    return all(set(wanted) & set(_columns(file)) for file in files)


def _columns(file: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        name, rule = f"file {file.name}", "be a complete parquet file"
        raise unreadable(name, rule, file, error) from error


def _column(file: Path, wanted: Sequence[str], what: str) -> str:
    present = _columns(file)
    found = next((name for name in wanted if name in present), None)
    if found is None or present.count(found) > 1:
        rule = f"have {what} column named {' or '.join(wanted)}, once"
        raise fail(f"file {file.name}", rule, as_text(f"columns {', '.join(present)}"))
    return found


def _as_bytes(name: str, stored: Any) -> UInt8[np.ndarray, "k h w ch"]:
    """Return images that are stored as nested lists of numbers."""
    numbers = np.asarray(stored)
    if numbers.dtype.kind not in "iuf":
        found, fix = as_text("others"), "Store image bytes, or resize before writing."
        raise fail(f"images of {name}", "be numbers of one size", found, fix)
    # Parquet has no 8-bit type of its own: writers widen uint8 to int32 or int64.
    if numbers.dtype.kind in "iu" and numbers.size:
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high > 255:
            raise fail(f"images of {name}", "lie in 0..255", low if low < 0 else high)
        numbers = numbers.astype(np.uint8)
    return as_images(f"images of {name}", numbers)
