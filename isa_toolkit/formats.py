"""A distilled set in forms that other programs read: PNG class folders, NPZ, safetensors.

An export appears whole or not at all, and nothing that exists is replaced by accident.
Only NPZ and safetensors keep the numbers as they are.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from isa_toolkit import checks
from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    from isa_toolkit.distilled import DistilledSet


ExportKind = Literal["png", "npz", "safetensors"]
EXPORT_KINDS: tuple[str, ...] = get_args(ExportKind)

_LABELS, _ABOUT = "labels.csv", "about.json"
_FORMAT = "isa-toolkit png export 1"


def export(
    distilled: DistilledSet,
    out: str | Path,
    *,
    kind: ExportKind = "png",
    overwrite: bool = False,
) -> Path:
    """Write a distilled set for other programs, and return the path.

    - ``"png"``: a folder ``<class>/<index in the set>.png``, clipped to [0, 1] and rounded
      to 256 levels, under the class of the largest label; ``labels.csv`` holds the soft
      labels in the order in which the files sort, ``about.json`` class names, preprocessing
      and provenance. ``load_dataset`` and ``read_images`` read such a folder, unless a class
      has no image: its folder is there, empty, and they refuse it.
    - ``"npz"``: plain arrays for ``numpy.load(path, allow_pickle=False)``: ``images``
      (network inputs), ``pixels`` (the same on the pixel scale, not clipped) and ``labels``
      (soft), float32; ``class_names`` and ``about`` (JSON), text. For programs that know
      only pixels and classes, ``load_dataset`` among them, also ``train_images`` (uint8,
      clipped and rounded) and ``train_labels`` (int32).
    - ``"safetensors"``: the file that ``DistilledSet.save`` writes.

    ``out`` is the path of the folder or file; ``overwrite`` replaces an earlier export of
    this kind, and nothing else.

    Raises:
        FileExistsError: Something is there and ``overwrite`` is off, or it is no export.
        OSError: It cannot be written; nothing is left behind.
    """
    checks.check_one_of("kind", kind, EXPORT_KINDS)
    out, channels = Path(out), distilled.pixels.shape[3]
    if kind == "png" and channels not in (1, 3):
        raise checks.fail(
            "the images", "have 1 or 3 channels for kind 'png'", channels, "Use 'npz'."
        )
    _check_free(out, kind, overwrite)
    if kind == "png":
        _write_folder(distilled, out)
    elif kind == "npz":
        _write_npz(distilled, out)
    else:
        distilled.save(out)
    return out


def clipped_fraction(distilled: DistilledSet) -> float:
    """Return the fraction of pixel values outside [0, 1], which 8 bits cut off."""
    pixels = distilled.pixels
    return float(np.mean((pixels < 0) | (pixels > 1)))


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return distinct names of class folders that sort in the order of the classes.

    They are the class names where these are plain and sorted; otherwise the class number
    goes before each, and characters that a file name should not hold become ``_``.
    """
    names = list(class_names)
    is_plain = all(_PLAIN.fullmatch(name) for name in names)
    # "train" is where the loader looks for classes; Windows ignores capitals.
    folded = [name.casefold() for name in names]
    is_distinct = len(set(folded)) == len(names) and "train" not in folded
    if is_plain and is_distinct and names == sorted(names):
        return names
    digits = len(str(max(len(names) - 1, 0)))
    return [
        f"{label:0{digits}d}-{_UNSAFE.sub('_', name)[:80]}"
        for label, name in enumerate(names)
    ]


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def _levels(distilled: DistilledSet) -> np.ndarray:
    """Return the images as they look, uint8 [m, h, w, ch]."""
    return np.rint(distilled.to_pixels() * 255).astype(np.uint8)


def _about(distilled: DistilledSet) -> dict[str, Any]:
    return {
        "class_names": list(distilled.class_names),
        "preprocessing": distilled.preprocessing,
        "manifest": distilled.manifest,
    }


def _write_npz(distilled: DistilledSet, path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=distilled.images,
        pixels=distilled.pixels,
        labels=distilled.labels,
        class_names=np.array(distilled.class_names, np.str_),
        about=np.array(json.dumps(_about(distilled), sort_keys=True)),
        train_images=_levels(distilled),
        train_labels=distilled.classes.astype(np.int32),
    )
    write_atomically(path, buffer.getvalue())


def _write_folder(distilled: DistilledSet, folder: Path) -> None:
    """Write class folders under a temporary name beside the final one, then rename them."""
    folder = folder.absolute()
    mark = secrets.token_hex(8)
    new, old = (folder.with_name(f".{folder.name}.{mark}.{end}") for end in "no")
    try:
        new.mkdir()
        _fill_folder(distilled, new)
        if folder.exists():
            folder.replace(old)
        try:
            new.replace(folder)
        except BaseException:
            if old.exists():
                old.replace(folder)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _fill_folder(distilled: DistilledSet, folder: Path) -> None:
    from PIL import Image

    names = folder_names(distilled.class_names)
    levels, classes = _levels(distilled), distilled.classes
    if levels.shape[3] == 1:
        levels = levels[..., 0]
    head = ["file", "index", "class", *(f"label_{c}" for c in range(len(names)))]
    rows = [head]
    for label, name in enumerate(names):
        (folder / name).mkdir()
        for index in np.flatnonzero(classes == label):
            # Six digits keep the order of names that of numbers.
            file = f"{name}/{index:06d}.png"
            Image.fromarray(levels[index]).save(folder / file, "PNG")
            # The shortest decimals that give the same float32 again.
            soft = [str(value) for value in distilled.labels[index]]
            rows.append([file, str(index), str(label), *soft])
    table = "".join(",".join(row) + "\n" for row in rows)
    (folder / _LABELS).write_text(table, encoding="utf-8")
    about = json.dumps({"format": _FORMAT, **_about(distilled)}, indent=2)
    (folder / _ABOUT).write_text(about + "\n", encoding="utf-8")


def _check_free(path: Path, kind: str, overwrite: bool) -> None:
    """Refuse to replace anything without ``overwrite``, and what is no export even then.

    The folder of a new path is made.
    """
    if not path.exists() and not path.is_symlink():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"{path} cannot be written: {reason}.") from error
        return
    if not overwrite:
        raise FileExistsError(
            f"out must be new, got {path}, which exists. Choose another path, or set "
            "overwrite=True (--overwrite)."
        )
    if not _is_export(path, kind):
        raise FileExistsError(
            f"out must be an earlier export to be overwritten, got {path}. Name another "
            "path, or remove it yourself."
        )


def _is_export(path: Path, kind: str) -> bool:
    """Return whether a path is an earlier export of this kind."""
    from safetensors import SafetensorError, safe_open

    try:
        if kind == "png":
            if path.is_symlink():
                return False
            about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
            return isinstance(about, dict) and about.get("format") == _FORMAT
        if kind == "npz":
            with zipfile.ZipFile(path) as file:
                return {"about.npy", "train_images.npy"} <= set(file.namelist())
        with safe_open(path, framework="numpy") as file:
            return "manifest" in (file.metadata() or {})
    except (OSError, ValueError, zipfile.BadZipFile, SafetensorError):
        return False
