"""NumPy archives (``.npz``) of images and labels; nothing in them is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.records import Records, from_arrays

__all__ = ["read_npz"]

_SPLITS = {"train": ("train",), "test": ("test", "val", "valid", "validation")}
_IMAGES = ("images", "x", "data")
_LABELS = ("labels", "y", "targets")


def read_npz(path: Path) -> tuple[Records, Records | None]:
    """Return the splits in an archive.

    Arrays are found by name, capitals ignored: ``train_images`` or ``x_train`` (also
    ``images_train``, ``train_x``, ``data`` for images) with ``train_labels`` or
    ``y_train``, the same for ``test`` or ``val``; or just ``images`` and ``labels``.

    Args:
        path: the archive.

    Returns:
        (train, test); test is None if the archive has none.

    Raises:
        ValueError: a damaged or pickled archive, or missing arrays.
    """
    name = f"file {path.name}"
    try:
        # Opened here: NumPy leaves the file open when it is no archive after all.
        with path.open("rb") as file:
            opened = np.load(file, allow_pickle=False)
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise fail(name, "be an .npz archive", as_text("a single array"))
            with opened:
                keys = {key.lower(): key for key in opened.files}
                splits = {}
                for split, spellings in _SPLITS.items():
                    images = _find(keys, spellings, _IMAGES)
                    labels = _find(keys, spellings, _LABELS)
                    if split == "train" and images is None and labels is None:
                        images, labels = (
                            next((keys[one] for one in wanted if one in keys), None)
                            for wanted in (_IMAGES, _LABELS)
                        )
                    if (images is None) != (labels is None):
                        raise _missing(name, split, opened.files)
                    if images is not None and labels is not None:
                        where = f"{path.name} ({split})"
                        pair = opened[images], opened[labels]
                        splits[split] = from_arrays(where, *pair)
                if "train" not in splits:
                    raise _missing(name, "train", opened.files)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise fail(name, "be a complete .npz archive", str(path)) from error
    except ValueError as error:
        if "allow_pickle" not in str(error) and "pickled" not in str(error):
            raise
        raise fail(
            name,
            "hold plain arrays only",
            as_text("pickled objects"),
            "Save the arrays again with a number type; nothing is unpickled.",
        ) from error
    return splits["train"], splits.get("test")


def _find(
    keys: dict[str, str], splits: tuple[str, ...], kinds: tuple[str, ...]
) -> str | None:
    for split in splits:
        for kind in kinds:
            for spelling in (f"{split}_{kind}", f"{kind}_{split}"):
                if spelling in keys:
                    return keys[spelling]
    return None


def _missing(name: str, split: str, files: list[str]) -> ValueError:
    return fail(
        name,
        f"hold {split}_images and {split}_labels",
        as_text(f"arrays {', '.join(files) or 'none'}"),
    )
