"""Which reader a file or folder on this machine wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.folders import find_folders
from isa_toolkit.datasets.idx import find_idx
from isa_toolkit.datasets.npz import read_npz
from isa_toolkit.datasets.parquet import LABEL_COLUMNS, read_class_names, read_parquet
from isa_toolkit.datasets.records import Source
from isa_toolkit.datasets.registry import DatasetSpec

__all__ = ["EXPECTED", "LabelledImages", "read_images", "read_local", "sort_shards"]

EXPECTED = (
    "parquet files (train-*.parquet, test-*.parquet), the four IDX files of MNIST, "
    "an .npz archive, or class folders of PNG or JPEG (train/<class>/*.png)"
)
"""What a local folder may hold, for errors and help."""

_TEST_SPLITS = ("test", "validation", "valid", "val")
_PICKLES = ("data_batch_1", "cifar-10-batches-py", "cifar-100-python", "meta")


class LabelledImages(NamedTuple):
    """All training images that files hold, as they are.

    images: pixels, uint8 [n, h, w, ch].
    labels: class numbers, int32 [n].
    class_names: as the files give them, () where they give none.
    """

    images: UInt8[np.ndarray, "n h w ch"]
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]


def read_images(root: str | Path, *, resolution: int | None = None) -> LabelledImages:
    """Return every training image in a file or folder, with none held out.

    For sets that are judged on other data: a distilled set made elsewhere, a selection.

    Args:
        root: what ``load_dataset`` takes.
        resolution: side in pixels to crop the centre and resize to; None keeps sizes.

    Returns:
        Images, labels and class names.

    Raises:
        ValueError: nothing readable there, a damaged file, images of several sizes.
    """
    found = read_local(root)
    labels = found.train.labels
    images = found.train.read(np.arange(len(labels)), None, resolution)
    return LabelledImages(images, labels, found.class_names)


def read_local(root: str | Path, spec: DatasetSpec | None = None) -> Source:
    """Return the data set in a file or folder.

    Args:
        root: a folder with any of :data:`EXPECTED`, or one parquet, IDX or NPZ file.
        spec: what is known of the set; None for the user's own.

    Returns:
        Its splits, with labels read and images not yet decoded.

    Raises:
        ValueError: nothing there, nothing readable there, or a damaged file.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise fail(
            "root", "be an existing file or folder", str(path), f"Expected {EXPECTED}."
        )
    if path.is_file() and ".idx" not in path.name and "-idx" not in path.name:
        return _one_file(path, spec)
    folder = path if path.is_dir() else path.parent
    facts = {"source": "local", "root": str(path)}
    tests = _TEST_SPLITS if spec is None else spec.test_splits

    config = spec.config if spec is not None else None
    within = folder / config if config and (folder / config).is_dir() else folder
    shards = sorted(within.rglob("*.parquet")) if path.is_dir() else []
    if shards:
        sorted_shards = sort_shards(shards, within, tests)
        return parquet_source(*sorted_shards, folder, spec, facts)
    idx = find_idx(folder)
    if idx is not None:
        train, test, files = idx
        return Source(train, test, (), {**facts, "files": files})
    archives = sorted(folder.glob("*.npz"))
    if len(archives) == 1:
        train, test = read_npz(archives[0])
        return Source(train, test, (), {**facts, "files": [archives[0].name]})
    if len(archives) > 1:
        raise fail(
            "root",
            "hold one .npz archive",
            as_text(f"{len(archives)}"),
            "Name the file.",
        )
    if any((folder / name).exists() for name in _PICKLES):
        raise fail(
            "root",
            "hold no pickled batches",
            str(path),
            "Nothing is unpickled; use the parquet files of the Hub instead.",
        )
    classes = find_folders(folder, tests)
    if classes is None:
        content = sorted(one.name for one in folder.iterdir())[:4]
        found = f"{path}, with {', '.join(content)}" if content else f"{path}, empty"
        raise fail("root", f"hold {EXPECTED}", as_text(found))
    train, test, names, folders = classes
    return Source(train, test, names, {**facts, "files": folders})


def _one_file(path: Path, spec: DatasetSpec | None) -> Source:
    facts = {"source": "local", "root": str(path)}
    if path.suffix == ".parquet":
        return parquet_source([path], [], path.parent, spec, facts)
    if path.suffix == ".npz":
        train, test = read_npz(path)
        return Source(train, test, (), {**facts, "files": [path.name]})
    raise fail("root", "end in .parquet or .npz, or be an IDX file", str(path))


def sort_shards(
    shards: Sequence[Path], folder: Path, test_splits: Sequence[str]
) -> tuple[list[Path], list[Path]]:
    """Return the training and the test shards among parquet files.

    The split is a word of the file's name (``train-00000-of-00001.parquet``) or, where
    that has none, a folder's (``train/0000.parquet``). A lone file without either is
    all training.

    Args:
        shards: parquet files under ``folder``.
        folder: where they were found.
        test_splits: names that count as test, the first one present wins.

    Raises:
        ValueError: no training shard, or training shards of several versions.
    """
    known = {"train", *_TEST_SPLITS}
    by_split: dict[str, list[Path]] = {}
    versions: dict[str, set[Path]] = {}
    for shard in shards:
        relative = shard.relative_to(folder)
        words = re.split(r"[-_.]", relative.stem.lower())
        split = next((word for word in words if word in known), None)
        home = relative.parent
        if split is None and home.name.lower() in known:
            split, home = home.name.lower(), home.parent
        split = split or ("train" if len(shards) == 1 else "")
        by_split.setdefault(split, []).append(shard)
        versions.setdefault(split, set()).add(home)
    train = by_split.get("train", [])
    if not train:
        raise fail(
            "root",
            "hold a parquet file named train-*.parquet",
            as_text(", ".join(shard.name for shard in shards[:3])),
        )
    if len(versions["train"]) > 1:
        found = ", ".join(sorted(map(str, versions["train"])))
        raise fail(
            "root", "hold one version of the set", as_text(found), "Name one of them."
        )
    test = next((by_split[name] for name in test_splits if name in by_split), [])
    return train, test


def parquet_source(
    train: Sequence[Path],
    test: Sequence[Path],
    folder: Path,
    spec: DatasetSpec | None,
    facts: Mapping[str, Any],
) -> Source:
    """Return the data set in sorted parquet shards.

    Args:
        train: training shards.
        test: test shards; may be empty.
        folder: file names in the provenance are relative to it.
        spec: what is known of the set.
        facts: of the provenance.

    Raises:
        ValueError: a damaged shard or missing columns.
    """
    columns = LABEL_COLUMNS if spec is None else spec.label_columns
    # pathlib would give backslashes on Windows; provenance reads the same everywhere.
    files = [file.relative_to(folder).as_posix() for file in (*train, *test)]
    return Source(
        read_parquet(train, columns),
        read_parquet(test, columns) if test else None,
        read_class_names(train[0], columns),
        {**facts, "files": files},
    )
