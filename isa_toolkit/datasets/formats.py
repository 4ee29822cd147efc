"""Files and folders of this machine: which of the known forms they have, and their splits.

Forms, in the order they are tried: parquet files, the IDX files of the MNIST family, an
NPZ archive, and image files in class folders or listed in a table. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.images import FORMATS, Encoded, check_resolution
from isa_toolkit.datasets.readers import (
    LABEL_COLUMNS,
    Records,
    Source,
    from_arrays,
    from_encoded,
    has_column,
    read_parquet,
)
from isa_toolkit.datasets.registry import DatasetSpec
from isa_toolkit.datasets.validation import check_file, encode_labels, unreadable
from isa_toolkit.environment import check_fits
from isa_toolkit.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    import pandas as pd

EXPECTED = (
    "parquet files (train-*.parquet, test-*.parquet), the four IDX files of MNIST, an "
    ".npz archive (train_images, train_labels), class folders of images "
    "(train/<class>/*.png), or images with a table (labels.csv)"
)
"""Forms of a local folder, for errors."""

_SPLIT_OF = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["test", "testing", "t10k"], "test"),
    **dict.fromkeys(["validation", "valid", "val", "dev"], "validation"),
}
_TEST_SPLITS = ("test", "validation")
_TABLE_LABELS = (*LABEL_COLUMNS, "class", "class_name", "category", "target", "y")
_NO_CLASSES = {"images", "imgs", "unlabelled", "unlabeled", "unknown"}
_PICKLES = ("data_batch_1", "cifar-10-batches-py", "cifar-100-python", "meta")
_TABLE = "*.[ct]sv"
_IDX = "*[-_.]idx[13]-ubyte*"
_MOST_AXES = 4
_HIDDEN = (".", "__", "@eaDir")
# Damaged, encrypted, of an unknown compression, or with a header that lies.
_ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    SyntaxError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class LabelledImages(NamedTuple):
    """All training images of some files, as they are.

    Attributes:
        images: Pixels, uint8 [n, h, w, ch].
        labels: Class indices, int32 [n].
        class_names: Names of the classes in label order.
    """

    images: UInt8[np.ndarray, "n h w ch"]
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]


@typed
def read_images(root: str | Path, *, resolution: int | None = None) -> LabelledImages:
    """Return every training image in a file or folder, with none held out.

    For sets that are evaluated on other data: a distilled set made elsewhere, a selection.

    Args:
        root: Path of a file or folder, as ``load_dataset`` takes it.
        resolution: Side in pixels to crop the centre and resize to; None keeps sizes.

    Returns:
        Images, labels and class names.

    Raises:
        ValueError: Nothing readable there, a damaged file, images of several sizes.
    """
    check_resolution(resolution)
    found = read_local(root)
    labels, _, names = encode_labels(found.train.labels, class_names=found.class_names)
    images = found.train.read(np.arange(len(labels)), None, resolution)
    return LabelledImages(np.asarray(images), labels, names)


def read_local(root: str | Path, spec: DatasetSpec | None = None) -> Source:
    """Return the splits of a file or folder, with labels read and images not decoded.

    ``spec`` is what is known of the set, None for the user's own.
    """
    if not isinstance(root, str | os.PathLike):
        raise InvalidTypeError(f"root must be a path, got {root!r}.")
    try:
        path = Path(root).expanduser()
        is_there = path.exists()
    except (OSError, ValueError, RuntimeError):  # too long, a zero byte, ~nobody
        path, is_there = Path(), False
    if not is_there:
        rule = "be an existing file or folder"
        raise fail("root", rule, str(root), f"Expected {EXPECTED}.")
    try:
        return _read_path(path, spec)
    except PermissionError as error:
        file = Path(str(error.filename))
        raise unreadable("root", "be readable", file, error) from error


def _read_path(path: Path, spec: DatasetSpec | None) -> Source:
    facts = {"source": "local", "root": str(path)}
    tests = _TEST_SPLITS if spec is None else spec.test_splits
    folder = path
    if not path.is_dir():
        check_file(path, is_read=False)
        folder = path.parent
        if path.suffix.lower() == ".parquet":
            return parquet_source([path], [], folder, spec, facts)
        if path.suffix.lower() == ".npz":
            return _read_npz(path, facts)
        if not path.match(_IDX):
            raise fail("root", "end in .parquet or .npz, or be an IDX file", str(path))
    else:
        config = spec.config if spec is not None else None
        within = folder / config if config and (folder / config).is_dir() else folder
        shards = _visible(within.rglob("*.parquet"), within)
        for shard in shards:
            check_file(shard, is_read=False)
        if shards:
            train, candidates = sort_shards(shards, within, tests)
            return parquet_source(train, candidates, folder, spec, facts)
    idx = _visible(folder.glob(_IDX), folder)
    if path != folder:
        idx = [one for one in idx if _idx_set(one) == _idx_set(path)]
    if idx:
        return _read_idx_files(folder, idx, facts)
    archives = _visible(folder.glob("*.npz"), folder)
    if len(archives) > 1:
        found = as_text(f"{len(archives)}")
        raise fail("root", "hold one .npz archive", found, "Name the file.")
    if archives:
        return _read_npz(archives[0], facts)
    if any((folder / name).exists() for name in _PICKLES):
        fix = "Nothing is unpickled; use the parquet files of the Hub instead."
        raise fail("root", "hold no pickled batches", str(path), fix)
    return _read_folders(folder, tests, facts)


def _visible(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return the sorted paths without hidden and sidecar files and folders."""
    return sorted(
        path
        for path in paths
        if not any(part.startswith(_HIDDEN) for part in path.relative_to(root).parts)
    )


def _split_of(name: str) -> str | None:
    """Return the split that a word of a file's name says."""
    words = re.split(r"[-_.]", name.lower())
    return next((_SPLIT_OF[word] for word in words if word in _SPLIT_OF), None)


# --- Parquet ----------------------------------------------------------------------------


def sort_shards(
    shards: Sequence[Path], folder: Path, test_splits: Sequence[str]
) -> tuple[list[Path], list[list[Path]]]:
    """Return the training files and, by preference, the test files among parquet files.

    The split is a word of the file's name (``train-00000-of-00001.parquet``) or, where
    that has none, a folder's (``train/0000.parquet``). A lone file without either is
    all training. Splits of the first name in ``test_splits`` come first.
    """
    by_split: dict[str, list[Path]] = {}
    versions = set()
    for shard in shards:
        split, home = _split_of(shard.stem), shard.parent.relative_to(folder)
        if split is None and home.name.lower() in _SPLIT_OF:
            split, home = _SPLIT_OF[home.name.lower()], home.parent
        split = split or ("train" if len(shards) == 1 else "")
        by_split.setdefault(split, []).append(shard)
        if split == "train":
            versions.add(str(home))
    if not versions:
        found = as_text(", ".join(shard.name for shard in shards[:3]))
        raise fail("root", "hold a parquet file named train-*.parquet", found)
    if len(versions) > 1:
        found = as_text(", ".join(sorted(versions)))
        raise fail("root", "hold one version of the set", found, "Name one of them.")
    tests = [by_split[name] for name in test_splits if name in by_split]
    return by_split["train"], tests


def parquet_source(
    train: Sequence[Path],
    candidates: Sequence[Sequence[Path]],
    folder: Path,
    spec: DatasetSpec | None,
    facts: dict[str, Any],
) -> Source:
    """Return the data set in parquet files.

    Of ``candidates``, the files of each split that may be the test split, the first one
    whose labels are known is taken. ``folder`` is what the provenance is relative to.
    """
    columns = LABEL_COLUMNS if spec is None else spec.label_columns
    records, names = read_parquet(train, columns)
    test, files, ignored = None, list(train), []
    for shards in candidates:
        if test:
            ignored.append(f"{shards[0].name}: {files[-1].name} is the test split")
            continue
        found = (
            read_parquet(shards, columns)[0] if has_column(shards, columns) else None
        )
        if found and _has_labels(found):
            test, files = found, [*train, *shards]
        else:
            ignored.append(f"{shards[0].name}: no labels")
    # pathlib would give backslashes on Windows; provenance reads the same everywhere.
    listed = [file.relative_to(folder).as_posix() for file in files]
    return Source(records, test, names, {**facts, "files": listed, "ignored": ignored})


def _has_labels(records: Records) -> bool:
    """Return whether labels are known: those of a contest's test split are all -1."""
    return records.labels.dtype.kind not in "if" or bool((records.labels >= 0).any())


# --- NPZ --------------------------------------------------------------------------------


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Any]:
    """Open an NPZ archive whose arrays fit in memory; nothing in it is unpickled."""
    name = f"file {path.name}"
    try:
        check_file(path)
        # NumPy leaves a file open that is no archive.
        with path.open("rb") as file, zipfile.ZipFile(file) as listed:
            check_fits(name, sum(one.file_size for one in listed.infolist()))
            with np.load(path, allow_pickle=False) as archive:
                yield archive
    except InvalidValueError:
        raise
    except _ARCHIVE_ERRORS as error:
        if "pickle" in str(error):
            fix = "Save the arrays again with a number type; nothing is unpickled."
            found = as_text("pickled objects")
            raise fail(name, "hold plain arrays only", found, fix) from error
        if type(error) in (RuntimeError, NotImplementedError):  # of zipfile
            rule = "be neither encrypted nor of an unknown compression"
            raise fail(name, rule, str(path), "Save it with numpy.savez.") from error
        raise unreadable(name, "be a complete .npz archive", path, error) from error


def _read_npz(path: Path, facts: dict[str, Any]) -> Source:
    """Return the splits in an archive.

    Its arrays are named ``train_images`` and ``train_labels`` (or just ``images`` and
    ``labels``), and perhaps ``test_images`` and ``test_labels``.
    """
    with open_archive(path) as archive:
        keys = archive.files
        prefix = "train_" if "train_images" in keys else ""
        wanted = [f"{prefix}images", f"{prefix}labels"]
        if "test_images" in keys and "test_labels" in keys:
            wanted += ["test_images", "test_labels"]
        if not set(wanted) <= set(keys):
            found = as_text(f"arrays {', '.join(keys) or 'none'}")
            rule = "hold train_images and train_labels"
            raise fail(f"file {path.name}", rule, found)
        arrays = [archive[key] for key in wanted]
    pairs = zip(wanted[::2], arrays[::2], arrays[1::2], strict=True)
    splits = [from_arrays(f"{key} in {path.name}", *pair) for key, *pair in pairs]
    test = splits[1] if splits[1:] and _has_labels(splits[1]) else None
    ignored = ["test_images: no labels"] if "test_images" in keys and not test else []
    facts |= {"files": [path.name], "ignored": ignored}
    return Source(splits[0], test, (), facts)


# --- IDX --------------------------------------------------------------------------------


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Return the array of an IDX file of unsigned bytes.

    The file, gzipped if its name ends in ``.gz``, is two zero bytes, a type code, the
    number of axes, each length as a big-endian 32-bit integer, then the numbers.
    """
    name = f"file {path.name}"
    try:
        check_file(path)
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            start = file.read(4)
            axes = start[3] if len(start) == 4 else 0
            lengths = file.read(4 * axes)
            is_idx = start[:2] == b"\0\0" and 0 < axes <= _MOST_AXES
            if not is_idx or len(lengths) < 4 * axes:
                raise unreadable(name, "be an IDX file", path)
            if start[2] != 0x08:
                found = as_text(f"0x{start[2]:02x}")
                raise fail(name, "hold unsigned bytes (type 0x08)", found)
            shape = tuple(np.frombuffer(lengths, ">u4").astype(int).tolist())
            stated = int(np.prod(shape, dtype=object))
            check_fits(name, stated)
            content = file.read(stated + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(name, "be a complete gzip file", path, error) from error
    if len(content) != stated:
        rule = f"hold {stated} bytes after its header"
        found = as_text("more" if len(content) > stated else str(len(content)))
        raise fail(name, rule, found, "Copy or download it again.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _idx_set(path: Path) -> str:
    """Return what stands before the split in a name: several sets may share a folder."""
    return re.split("train|test|t10k", path.name)[0]


def _read_idx_files(folder: Path, files: list[Path], facts: dict[str, Any]) -> Source:
    sets = sorted(set(map(_idx_set, files)))
    if len(sets) > 1:
        shown = as_text(", ".join(one.strip("-_.") or "train" for one in sets))
        raise fail("root", "hold one set of IDX files", shown, "Name one of the files.")
    found: dict[tuple[str | None, str], Path] = {}
    # Backwards, so that a plain file replaces its gzipped twin.
    for path in reversed(files):
        kind = "images" if "images" in path.name else "labels"
        found[_split_of(path.name), kind] = path
    splits: dict[str, Records] = {}
    ignored = []
    for split in ("train", "test"):
        images, labels = (found.get((split, kind)) for kind in ("images", "labels"))
        if images and labels:
            splits[split] = from_arrays(images.name, read_idx(images), read_idx(labels))
        elif images and split == "test":
            del found[split, "images"]
            ignored.append(f"{images.name}: no labels")
        elif labels or split == "train":
            raise fail(
                f"folder {folder.name}",
                f"hold images and labels of {split} ({split}-images-idx3-ubyte, "
                f"{split}-labels-idx1-ubyte)",
                as_text(f"only {', '.join(path.name for path in files)}"),
            )
    listed = sorted(path.name for path in found.values())
    facts |= {"files": listed, "ignored": ignored}
    return Source(splits["train"], splits.get("test"), (), facts)


# --- Image files ------------------------------------------------------------------------
# Not the `imagefolder` builder of `datasets`: it takes the innermost folder for the class
# (Tiny ImageNet's are all called "images") and needs 25 s to list 10,000 files (here .4 s).


def _read_folders(root: Path, tests: Sequence[str], facts: dict[str, Any]) -> Source:
    """Return the splits in folders of image files.

    Either ``train/<class>/...`` with perhaps ``test/<class>/...`` beside it, or just
    ``<class>/...``; images may lie deeper. A table beside the images (``labels.csv``,
    ``metadata.csv``) names file and class instead of folders.
    """
    import pandas as pd

    folder, folders = root, _subfolders(root)
    while len(folders) == 1 and _is_container(folders[0]):
        folder, folders = folders[0], _subfolders(folders[0])
    splits: dict[str, Path] = {}
    for one in folders:
        split = _SPLIT_OF.get(one.name.lower())
        if split in splits:
            found = as_text(f"{splits[split].name} and {one.name}")
            raise fail("root", f"hold one folder of {split} images", found)
        if split:
            splits[split] = one
    if len(splits) == len(folders) > 0 and "train" not in splits:
        found = as_text(" and ".join(one.name for one in folders))
        raise fail("root", "hold a folder of train images", found)
    home = splits.get("train", folder)
    train, left_out = _labelled_files(home, is_split=home != folder)
    if not len(train):
        content = ", ".join(sorted(one.name for one in root.iterdir())[:4])
        shown = as_text(f"{root}, with {content}" if content else f"{root}, empty")
        raise fail("root", f"hold {EXPECTED}", shown)
    classes = pd.Categorical(train)
    test, used, ignored = None, [home], []
    if home != folder:
        others = [one.name for one in folders if one not in splits.values()]
        ignored = [f"{name}: no split by its name" for name in others]
    for other in (splits[one] for one in tests if one in splits and home != folder):
        if test:
            ignored.append(f"{other.name}: {used[-1].name} is the test split")
            continue
        listed, more = _labelled_files(other, is_split=True)
        if not len(listed):
            ignored.append(f"{other.name}: no class folders and no table of labels")
            continue
        labels = classes.categories.get_indexer(listed)
        if -1 in labels:
            rule = "hold only classes that train has"
            unknown = listed.to_numpy()[labels < 0][0]
            raise fail(f"folder {other.name}", rule, unknown)
        test = _image_records(listed.index, labels, other)
        used, left_out = [home, other], left_out + more
    facts |= {"files": [one.relative_to(root).as_posix() for one in used]}
    facts |= {"ignored": ignored, "left_out": left_out}
    records = _image_records(train.index, classes.codes, home)
    return Source(records, test, tuple(map(str, classes.categories)), facts)


def _is_container(folder: Path) -> bool:
    """Return whether a lone folder is the data set rather than a split or a class."""
    if folder.name.lower() in _SPLIT_OF:
        return False
    inner = _subfolders(folder)
    has_table = any(folder.glob(_TABLE))
    if len(inner) == 1 and inner[0].name.lower() not in _SPLIT_OF:
        return has_table or _is_container(inner[0])
    return has_table or bool(inner)


def _subfolders(folder: Path) -> list[Path]:
    return _visible((one for one in folder.iterdir() if one.is_dir()), folder)


def _labelled_files(folder: Path, *, is_split: bool) -> tuple[pd.Series, int]:
    """Return the class of each image file of a split, and the number of files left out."""
    import pandas as pd

    annotations = folder / "val_annotations.txt"
    if annotations.is_file():  # the official form of Tiny ImageNet
        check_file(annotations)
        try:
            listed = pd.read_csv(annotations, sep="\t", header=None, dtype=str)
            files = [folder / "images" / name for name in listed[0]]
            return pd.Series(listed[1].values, files), 0
        except (ValueError, KeyError, TypeError) as error:
            rule = "name an image and its class in each line"
            raise unreadable(f"file {annotations.name}", rule, annotations) from error
    images, left_out = _image_files(folder)
    folders = _subfolders(folder)
    if len(folders) < 2:  # folders of classes, where there are any, go before a table
        for table in _visible(folder.glob(_TABLE), folder):
            listed = _read_table(table, images)
            if listed is not None:
                return listed, left_out - 1
    parts = [(file, file.relative_to(folder).parts) for file in images]
    classes = {file: names[0] for file, names in parts if len(names) > 1}
    seen = set(classes.values())
    empty = [one.name for one in folders if one.name not in seen]
    if classes and empty:
        raise fail(f"class folder {empty[0]}", "hold an image", as_text("none"))
    # Images in one folder without classes ("test/images") are a split without labels.
    if is_split and seen <= _NO_CLASSES:
        classes = {}
    left_out += len(images) - len(classes)
    return pd.Series(list(classes.values()), list(classes), dtype=object), left_out


def _image_files(folder: Path) -> tuple[list[Path], int]:
    """Return the image files under a folder, links included, and how many others lie there."""
    from PIL import Image

    kinds = Image.registered_extensions()
    images, others, seen = [], 0, set()
    for home, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(home)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(_HIDDEN)]
        visible = [Path(home, name) for name in files if not name.startswith(_HIDDEN)]
        found = [one for one in visible if kinds.get(one.suffix.lower()) in FORMATS]
        images += found
        others += len(visible) - len(found)
    return sorted(images), others


def _read_table(path: Path, images: list[Path]) -> pd.Series | None:
    """Return the class of each file in a CSV or TSV table; None if it lists no images."""
    import pandas as pd

    check_file(path)
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    except (ValueError, UnicodeError):
        return None
    files: dict[str, Path] = {}
    for image in images:
        relative = image.relative_to(path.parent).as_posix()
        files |= dict.fromkeys((image.stem, image.name, relative), image)
    columns = {str(name).lower(): name for name in table.columns}
    label = next((columns[one] for one in _TABLE_LABELS if one in columns), None)
    for name in table.columns:
        found = table[name].astype(str).map(files.get)
        if not len(found) or pd.isna(found.iloc[0]):
            continue
        if label is None and len(table.columns) == 2:
            label = next(one for one in table.columns if one != name)
        if label is None or label == name:
            return None
        for rule, column in (
            ("list files beside it", found),
            ("give each image a class", table[label]),
        ):
            wrong = table[name].to_numpy()[np.asarray(pd.isna(column))]
            if len(wrong):
                raise fail(f"table {path.name}", rule, wrong[0])
        return pd.Series(table[label].values, found)
    return None


def _image_records(files: pd.Index, labels: np.ndarray, folder: Path) -> Records:
    def encoded(rows: np.ndarray) -> list[Encoded]:
        return [Encoded(str(file.relative_to(folder)), file) for file in files[rows]]

    return from_encoded(np.asarray(labels, np.int32), encoded, f"folder {folder.name}")
