"""Folders of PNG, JPEG or WebP files, one folder per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.images import Encoded
from isa_toolkit.datasets.records import Records, from_encoded

__all__ = ["SUFFIXES", "find_folders"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""File name endings that count as images; capitals are ignored."""

_BATCH = 4096


def find_folders(
    root: Path, test_splits: Sequence[str]
) -> tuple[Records, Records | None, tuple[str, ...], list[str]] | None:
    """Return the splits in class folders, or None if there are none.

    Either ``train/<class>/...`` with perhaps ``test/<class>/...`` beside it, or just
    ``<class>/...``. Images may lie deeper. A test folder may also have Tiny-ImageNet's
    official form: ``images/`` and a ``val_annotations.txt`` with file and class.

    Args:
        root: the folder.
        test_splits: names tried for the test folder, in order.

    Returns:
        (train, test, class names in alphabetical order, names of the split folders).

    Raises:
        ValueError: a class without images, or a test folder with unknown classes.
    """
    train_folder = root / "train" if (root / "train").is_dir() else root
    folders = sorted(
        path
        for path in train_folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__"))
    )
    listed = [(folder, _images(folder)) for folder in folders]
    if not any(files for _, files in listed):
        return None
    for folder, files in listed:
        if not files:
            raise fail(
                f"class folder {folder.name}",
                "hold an image",
                as_text("none"),
            )
    names = tuple(folder.name for folder in folders)
    train = _records(
        [(file, label) for label, (_, files) in enumerate(listed) for file in files],
        train_folder,
    )
    if train_folder == root:
        return train, None, names, ["."]
    complaint: ValueError | None = None
    for split in test_splits:
        folder = root / split
        if not folder.is_dir():
            continue
        try:
            pairs = _test_pairs(folder, names)
        except ValueError as error:
            # Tiny-ImageNet's test folder has no labels; its val folder comes next.
            complaint = complaint or error
            continue
        return train, _records(pairs, folder), names, ["train", split]
    if complaint is not None:
        raise complaint
    return train, None, names, ["train"]


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _test_pairs(folder: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    labels = {name: label for label, name in enumerate(names)}
    pairs = []
    annotations = folder / "val_annotations.txt"
    if annotations.is_file():
        rows = [line.split() for line in annotations.read_text().splitlines() if line]
        named = [(folder / "images" / row[0], row[1]) for row in rows if len(row) > 1]
    else:
        named = [
            (file, inner.name)
            for inner in sorted(folder.iterdir())
            if inner.is_dir()
            for file in _images(inner)
        ]
    for file, name in named:
        if name not in labels:
            raise fail(
                f"folder {folder.name}", "hold only classes that train has", name
            )
        pairs.append((file, labels[name]))
    if not pairs:
        raise fail(f"folder {folder.name}", "hold an image", as_text("none"))
    return pairs


def _records(pairs: list[tuple[Path, int]], folder: Path) -> Records:
    def batches(kept: np.ndarray) -> Iterator[list[Encoded]]:
        for start in range(0, len(kept), _BATCH):
            files = [pairs[index][0] for index in kept[start : start + _BATCH]]
            yield [Encoded(str(file.relative_to(folder)), file) for file in files]

    return from_encoded(
        np.array([label for _, label in pairs]), batches, f"folder {folder.name}"
    )
