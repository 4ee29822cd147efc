"""A distilled set in forms that other programs read: PNG class folders, NPZ, safetensors.

A result is there whole or not at all, and nothing that exists is replaced unasked. What a
form loses is said with it: only NPZ and safetensors keep the numbers as they are.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from isa_toolkit import checks
from isa_toolkit.files import write_atomically

if TYPE_CHECKING:
    from isa_toolkit.distilled import DistilledSet

__all__ = [
    "EXPORT_KINDS",
    "clipped_share",
    "export",
    "export_npz",
    "export_png",
    "export_safetensors",
    "folder_names",
]

LABELS, ABOUT = "labels.csv", "about.json"
FORMAT = "isa-toolkit png export 1"


def export(
    distilled: DistilledSet,
    out: str | Path,
    *,
    kind: str = "png",
    overwrite: bool = False,
) -> Path:
    """Return the path of a distilled set, written for other programs.

    Args:
        distilled: the set.
        out: the folder (``"png"``) or file.
        kind: one of ``EXPORT_KINDS``.
        overwrite: replace what is there.

    Returns:
        The path.

    Raises:
        FileExistsError: something is there and ``overwrite`` is off, or it is no export.
        OSError: it cannot be written.
        ValueError: an unknown kind; images that a PNG cannot hold.
    """
    checks.check_one_of("kind", kind, EXPORT_KINDS)
    return EXPORT_KINDS[kind](distilled, out, overwrite=overwrite)


def export_png(
    distilled: DistilledSet, folder: str | Path, *, overwrite: bool = False
) -> Path:
    """Return a folder with one folder of 8-bit PNG files per class.

    ``<class>/<place in the set>.png``, clipped to [0, 1] and rounded to 256 levels, under
    the class of the largest label; ``labels.csv`` holds the soft labels in the order in
    which the files sort, ``about.json`` class names, preprocessing and provenance.
    ``load_dataset`` and ``read_images`` read such a folder, unless a class has no image:
    its folder is there, empty, and they refuse it.

    Args:
        distilled: images with 1 or 3 channels.
        folder: to be made.
        overwrite: replace an earlier export there (and nothing else).

    Returns:
        The folder.

    Raises:
        FileExistsError: something is there.
        OSError: the folder cannot be written; nothing is left behind.
        ValueError: another number of channels.
    """
    from PIL import Image

    folder = Path(folder)
    channels = distilled.pixels.shape[3]
    if channels not in (1, 3):
        raise checks.fail(
            "the images", "have 1 or 3 channels for kind 'png'", channels, "Use 'npz'."
        )
    _check_free(folder, overwrite, is_ours=_is_png_export)
    names = folder_names(distilled.class_names)
    levels = _levels(distilled)
    classes = distilled.classes
    rows = []

    def fill(into: Path) -> None:
        for label, name in enumerate(names):
            (into / name).mkdir()
            for place in np.flatnonzero(classes == label):
                # Six digits keep the order of names that of numbers.
                file = f"{name}/{place:06d}.png"
                picture = levels[place, :, :, 0] if channels == 1 else levels[place]
                Image.fromarray(picture).save(into / file, "PNG")
                # The shortest decimals that give the same float32 again.
                soft = [str(value) for value in distilled.labels[place]]
                rows.append(",".join([file, str(place), str(label), *soft]))
        head = ["file", "place", "class", *(f"label_{c}" for c in range(len(names)))]
        table = "\n".join([",".join(head), *rows]) + "\n"
        (into / LABELS).write_text(table, encoding="utf-8")
        about = json.dumps({"format": FORMAT, **_about(distilled)}, indent=2)
        (into / ABOUT).write_text(about + "\n", encoding="utf-8")

    _make_folder(folder, fill)
    return folder


def export_npz(
    distilled: DistilledSet, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Return an NPZ file of plain arrays; ``numpy.load(path, allow_pickle=False)`` reads it.

    ``images`` (network inputs), ``pixels`` (the same on the pixel scale, not clipped) and
    ``labels`` (soft), float32; ``class_names`` and ``about`` (JSON), text. For programs
    that know only pixels and classes, ``load_dataset`` among them, also ``train_images``
    (uint8, clipped and rounded) and ``train_labels`` (int32).

    Args:
        distilled: the set.
        path: of the file.
        overwrite: replace an earlier export there (and nothing else).

    Returns:
        The path.

    Raises:
        FileExistsError: something is there.
        OSError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    _check_free(path, overwrite, is_ours=_is_npz_export)
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
    return path


def export_safetensors(
    distilled: DistilledSet, path: str | Path, *, overwrite: bool = False
) -> Path:
    """Return a safetensors file, as ``DistilledSet.save`` writes it.

    Args:
        distilled: the set.
        path: of the file.
        overwrite: replace an earlier export there (and nothing else).

    Returns:
        The path.

    Raises:
        FileExistsError: something is there.
        OSError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    _check_free(path, overwrite, is_ours=_is_distilled_set)
    return distilled.save(path)


EXPORT_KINDS: Mapping[str, Callable[..., Path]] = MappingProxyType(
    {"npz": export_npz, "png": export_png, "safetensors": export_safetensors}
)
"""Forms of an exported set."""


def clipped_share(distilled: DistilledSet) -> float:
    """Return the share of pixel values outside [0, 1], which 8 bits cut off.

    Args:
        distilled: the set.

    Returns:
        A fraction in [0, 1].
    """
    pixels = distilled.pixels
    return float(np.mean((pixels < 0) | (pixels > 1)))


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Return names of class folders that sort in the order of the classes.

    The class names themselves where they are plain and sorted; otherwise the class number
    goes before each, and what a file name should not hold becomes ``_``.

    Args:
        class_names: one per class.

    Returns:
        As many names, distinct also where capitals do not count.

    Example:
        >>> folder_names(["cat", "dog"]), folder_names(["T-shirt/top", "Bag"])
        (['cat', 'dog'], ['0-T-shirt_top', '1-Bag'])
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
    return np.rint(distilled.to_pixels() * 255).astype(np.uint8)


def _about(distilled: DistilledSet) -> dict[str, object]:
    return {
        "class_names": list(distilled.class_names),
        "preprocessing": distilled.preprocessing,
        "manifest": distilled.manifest,
    }


def _check_free(
    path: Path, overwrite: bool, *, is_ours: Callable[[Path], bool]
) -> None:
    """Refuse to replace anything unasked, and what is no export even then.

    A new path gets the folder it lies in.
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
            f"out must be new, got {path}, which exists. Name another one, or ask for "
            "it to be overwritten."
        )
    if not is_ours(path):
        raise FileExistsError(
            f"out must be an earlier export to be overwritten, got {path}. Name another "
            "one, or remove it yourself."
        )


def _is_png_export(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("format") == FORMAT


def _is_npz_export(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return {"about.npy", "train_images.npy"} <= set(file.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _is_distilled_set(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return "manifest" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _make_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under a temporary name beside its place, then rename it."""
    folder = folder.absolute()
    mark = secrets.token_hex(8)
    made, old = (folder.with_name(f".{folder.name}.{mark}.{end}") for end in "no")
    try:
        made.mkdir()
        fill(made)
        if folder.exists():
            folder.replace(old)
        try:
            made.replace(folder)
        except BaseException:
            if old.exists():
                old.replace(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
