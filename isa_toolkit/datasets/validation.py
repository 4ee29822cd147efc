"""What counts as images and labels: their form, their checks, and how to split them."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, check_integer, check_seed, fail
from isa_toolkit.environment import check_fits
from isa_toolkit.errors import InvalidValueError

_LARGE_FILE = 2**26


def unreadable(
    name: str, rule: str, content: bytes | Path, error: BaseException | None = None
) -> InvalidValueError:
    """Return the error that says why a file, or its bytes, cannot be read.

    ``error`` is the exception that was raised, to tell a missing from a damaged file.
    """
    path = content if isinstance(content, Path) else None
    shown = as_text("bytes that do not decode") if path is None else str(path)
    if isinstance(error, PermissionError):
        return fail(name, "be readable", shown, "Change its permissions.")
    if isinstance(error, FileNotFoundError):
        return fail(name, "exist", shown, "A link may lead nowhere.")
    start = b"" if isinstance(content, Path) else content
    if path is not None and path.is_file():  # not a pipe
        with path.open("rb") as file:
            start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        pointer = as_text(f"a Git LFS pointer ({path or name})")
        return fail(name, rule, pointer, "Run 'git lfs pull' in its repository.")
    return fail(name, rule, shown, "Copy or download it again.")


def check_file(path: Path, *, is_read: bool = True) -> None:
    """Refuse what is no regular file, and one that is read whole and does not fit."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        fix = "Pipes, devices and folders are not read."
        raise fail(f"file {path.name}", "be a regular file", str(path), fix)
    # To ask for the free memory takes longer than to read a small file.
    if is_read and found.st_size > _LARGE_FILE:
        check_fits(f"file {path.name}", found.st_size)


def check_size(
    name: str, one: tuple[int, ...], two: tuple[int, ...], which: str = "{} and {}"
) -> None:
    """Refuse two shapes of images, [h, w] or [h, w, ch], that differ."""
    if one != two:
        sizes = ("x".join(map(str, shape[:2])) for shape in (one, two))
        fix = "Pass resolution to crop the centre and resize."
        raise fail(name, "have one size", as_text(which.format(*sizes)), fix)


@typed
def centred_one_hot(
    labels: Int[np.ndarray, " n"], num_classes: int
) -> Float[np.ndarray, "n c"]:
    """Return targets that are 1 - 1/C on the class and -1/C elsewhere.

    Args:
        labels: Class indices in [0, num_classes), [n].
        num_classes: Number of classes C.

    Returns:
        Targets, float32 [n, c]; each row sums to 0.

    Raises:
        ValueError: A label lies outside [0, num_classes).

    Source: docs/algorithms.md, section 1.1 ("Labels").
    """
    num_classes = check_integer("num_classes", num_classes)
    labels = as_labels("labels", labels)
    _check_range("labels", labels, num_classes)
    targets = np.full((len(labels), num_classes), -1.0 / num_classes, np.float32)
    targets[np.arange(len(labels)), labels] = 1.0 - 1.0 / num_classes
    return targets


def as_images(name: str, images: Any) -> UInt8[np.ndarray, "n h w ch"]:
    """Return uint8 images, or floats in [0, 1] rounded to 256 levels, as uint8.

    ``images`` are [n, h, w, ch] with 1 or 3 channels, or grey [n, h, w]; bytes are not
    copied. ``name`` is that of the argument, for errors.
    """
    try:
        is_nested = isinstance(images, np.ndarray) and images.dtype.hasobject
        array = np.asarray(list(images) if is_nested else images)
    except ValueError:  # NumPy's word for a ragged list
        for image in images:
            check_size(name, np.shape(images[0]), np.shape(image))
        raise
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        found = as_text(f"numbers of type {array.dtype}")
        fix = "Convert them with images.astype('uint8') if they hold 0 to 255."
        raise fail(name, "be uint8, or floats in [0, 1]", found, fix)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        is_channels_first = array.ndim == 4 and array.shape[1] in (1, 3)
        fix = "Pass images.transpose(0, 2, 3, 1)." if is_channels_first else ""
        rule = "have shape [n, h, w, channels] with 1 or 3 channels, or [n, h, w]"
        raise fail(name, rule, array.shape, fix)
    if 0 in array.shape:
        raise fail(name, "hold at least one pixel", array.shape)
    return array if array.dtype == np.uint8 else _from_floats(name, array)


def _from_floats(name: str, array: np.ndarray) -> np.ndarray:
    rounded = np.empty(array.shape, np.uint8)
    # In pieces: a float64 copy of a whole set would not fit beside the set.
    for start in range(0, len(array), 1024):
        piece = array[start : start + 1024]
        bad = ~np.isfinite(piece)
        if bad.any():
            index = start + int(np.argwhere(bad)[0, 0])
            raise fail(name, "hold finite pixels", as_text(f"NaN in image {index}"))
        low, high = float(piece.min()), float(piece.max())
        if low < 0 or high > 1:
            fix = "Divide by 255 if the pixels run from 0 to 255."
            if -1 <= low < 0 and high <= 1:
                fix = "Pass (images + 1) / 2 if the pixels run from -1 to 1."
            rule = "hold floats in [0, 1], or uint8"
            raise fail(name, rule, low if low < 0 else high, fix)
        rounded[start : start + 1024] = np.rint(piece * 255)
    return rounded


def as_labels(name: str, labels: Any) -> Int[np.ndarray, " n"]:
    """Return whole numbers, [n] or [n, 1], of an integer or float type as int32 [n]."""
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise fail(name, "have one axis", array.shape)
    is_float = np.issubdtype(array.dtype, np.floating)
    is_whole = is_float and bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not is_whole and not np.issubdtype(array.dtype, np.integer):
        raise fail(name, "be whole numbers", as_text(f"numbers of type {array.dtype}"))
    if len(array) and (array.min() < -(2**31) or array.max() >= 2**31):
        raise fail(name, "be class indices", int(np.abs(array).max()))
    return array.astype(np.int32)


def encode_labels(
    train: Any, test: Any = None, *, class_names: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Return labels of any common form as class indices, with the names of the classes.

    Names are sorted and numbered; numbers from 1 to C become 0 to C - 1 and keep their
    names; numbers from 0 stay. ``class_names`` are in the order of the numbers; without
    them classes are named after the labels.

    Returns:
        (train, test, class names): int32 [n], int32 [m] or None, one name per class.
    """
    train = np.asarray(train)
    if train.dtype.hasobject:
        with contextlib.suppress(ValueError):  # lists of several lengths
            train = np.array(train.tolist())
    if train.dtype.kind in "US" and train.ndim == 1 and len(train):
        names = list(class_names) or sorted(set(_texts("train_labels", train)))
        numbers = {name: number for number, name in enumerate(names)}

        def numbered(name: str, labels: Any) -> np.ndarray:
            texts = _texts(name, labels)
            unknown = next((text for text in texts if text not in numbers), None)
            if unknown is not None:
                raise fail(name, "be names of known classes", unknown)
            return np.array([numbers[text] for text in texts], np.int32)

        encoded = None if test is None else numbered("test_labels", test)
        return numbered("train_labels", train), encoded, tuple(names)
    train = as_labels("train_labels", train)
    test = None if test is None else as_labels("test_labels", test)
    if class_names or not len(train):
        return train, test, tuple(map(str, class_names))
    low, high = int(train.min()), int(train.max())
    if low < 0:
        raise fail("train_labels", "be at least 0", low)
    # Checked before any name is made: a label of 10**9 would make as many names.
    if high > len(train):
        rule = f"number the classes from 0 without gaps, for {len(train)} images"
        raise fail("train_labels", rule, high)
    is_test_from_one = test is None or not len(test) or test.min() >= 1
    if low == 1 and is_test_from_one and len(np.unique(train)) == high:
        names = tuple(map(str, range(1, high + 1)))
        return train - 1, None if test is None else test - 1, names
    return train, test, tuple(map(str, range(high + 1)))


def _texts(name: str, labels: Any) -> list[str]:
    try:
        return np.asarray(labels).astype(str).tolist()
    except UnicodeDecodeError as error:
        raise fail(name, "be text", as_text("bytes that are none")) from error


def _check_range(name: str, labels: np.ndarray, num_classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise fail(name, f"lie in 0..{num_classes - 1}", int(wrong[0]))


def check_classes(
    train_labels: np.ndarray, test_labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Check that labels index ``class_names`` and that every class can be learnt.

    Classes may be absent from the test labels, but not from the training labels.
    """
    count = len(class_names)
    _check_range("train_labels", train_labels, count)
    _check_range("test_labels", test_labels, count)
    present = np.bincount(train_labels, minlength=count)
    if not present.all():
        missing = int(np.argmin(present))
        found = as_text(f"no image of class {missing} ({class_names[missing]})")
        fix = "Number the classes from 0 without gaps, or add images of it."
        raise fail("train_labels", f"hold every one of the {count} classes", found, fix)


def check_images_per_class(
    images_per_class: int,
    train_labels: np.ndarray,
    class_names: Sequence[str],
    *,
    fix: str = "",
) -> int:
    """Return ``images_per_class`` if every class has as many training images.

    ``fix`` is the remedy for the error, beside fewer images.
    """
    count = check_integer("images_per_class", images_per_class)
    present = np.bincount(train_labels, minlength=len(class_names))
    if present.min() < count:
        scarce = class_names[int(present.argmin())]
        rule = f"be at most {present.min()}, the training images of class {scarce!r}"
        raise fail("images_per_class", rule, count, fix)
    return count


def stratified_split(
    labels: Int[np.ndarray, " n"],
    fraction: float,
    *,
    seed: int = 0,
    fix: str = "Pass test images, or more than one image of a class.",
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]:
    """Return ascending indices of a kept and a held-out part with equal class fractions.

    About ``fraction`` of each class is held out (counts by largest remainder, so that
    the total is right), and at least one image of each class is kept.
    """
    if not 0 < fraction < 1:
        raise fail("fraction", "lie above 0 and below 1", fraction)
    classes, counts = np.unique(labels, return_counts=True)
    total = min(max(1, round(fraction * len(labels))), int((counts - 1).sum()))
    if total < 1:
        found = as_text(f"{len(labels)} images of {len(classes)} classes")
        raise fail("labels", "leave an image to hold out", found, fix)
    wanted = np.minimum(fraction * counts, counts - 1)
    held_counts = np.floor(wanted).astype(int)
    order = np.argsort(-(wanted - held_counts), kind="stable")
    while (missing := total - held_counts.sum()) > 0:
        spare = order[held_counts[order] < counts[order] - 1]
        held_counts[spare[:missing]] += 1
    random = np.random.default_rng(check_seed("seed", seed))
    held = [
        random.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, held_counts, strict=True)
    ]
    indices = np.sort(np.concatenate(held))
    return np.delete(np.arange(len(labels)), indices), indices


def balanced_subset(
    labels: Int[np.ndarray, " n"], limit: int, num_classes: int
) -> Int[np.ndarray, " k"]:
    """Return ascending indices of ``limit`` images, as evenly over classes as they allow.

    The first images of each class in stored order are taken, so the result depends on
    nothing but the labels; small classes give all they have and the others fill up.
    """
    import pandas as pd

    limit = check_integer(
        "limit", limit, minimum=num_classes, fix="Keep an image of every class."
    )
    # Sorted by rank within the class, classes are dealt in turn.
    rank = pd.Series(labels).groupby(labels).cumcount()
    return np.sort(np.lexsort((labels, rank))[:limit])
