"""What counts as images and labels: their form, their checks, and how to split them.

Where they come from and how they are preprocessed is left to the other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from isa_toolkit.checks import as_text, check_integer, fail
from isa_toolkit.datasets.memory_map import MappedImages

__all__ = [
    "Split",
    "as_images",
    "as_labels",
    "balanced_subset",
    "centred_one_hot",
    "check_classes",
    "check_images_per_class",
    "stratified_split",
]


class Split(NamedTuple):
    """Images with their labels.

    images: pixels as they were stored, uint8 [n, h, w, ch]; in memory or on the disk.
    labels: class indices, int32 [n].
    """

    images: UInt8[np.ndarray, "n h w ch"] | MappedImages
    labels: Int[np.ndarray, " n"]

    def take(self, rows: Int[np.ndarray, " k"]) -> Split:
        """Return some of the images, where they are, with their labels.

        Args:
            rows: which, [k].
        """
        images = self.images
        is_mapped = isinstance(images, MappedImages)
        taken = images.take(rows) if is_mapped else images[rows]
        return Split(taken, self.labels[rows])


def centred_one_hot(
    labels: Int[np.ndarray, " n"], num_classes: int
) -> Float[np.ndarray, "n c"]:
    """Return targets that are 1 - 1/C on the class and -1/C elsewhere.

    Args:
        labels: class indices in [0, num_classes), [n].
        num_classes: number of classes C.

    Returns:
        Targets, float32 [n, c]; each row sums to 0.

    Raises:
        ValueError: a label lies outside [0, num_classes).

    Source: section 1.1 of the algorithms sheet ("Labels").
    """
    num_classes = check_integer("num_classes", num_classes)
    labels = as_labels("labels", labels)
    _check_range("labels", labels, num_classes)
    targets = np.full((len(labels), num_classes), -1.0 / num_classes, np.float32)
    targets[np.arange(len(labels)), labels] = 1.0 - 1.0 / num_classes
    return targets


def as_images(name: str, images: Any) -> UInt8[np.ndarray, "n h w ch"]:
    """Return ``images`` as a fresh uint8 array [n, h, w, ch].

    Args:
        name: the argument's name, for the error.
        images: uint8, or floats in [0, 1] (rounded to the nearest of 256 levels);
            [n, h, w, ch] with 1 or 3 channels, or grey [n, h, w].

    Returns:
        The images, C-contiguous, sharing no memory with the argument.

    Raises:
        ValueError: wrong shape or number kind, no images, NaN or values outside [0, 1].
    """
    array = np.asarray(images)
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise fail(
            name,
            "be uint8, or floats in [0, 1]",
            as_text(f"numbers of type {array.dtype}"),
            "Convert them with images.astype('uint8') if they hold 0 to 255.",
        )
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise fail(
            name,
            "have shape [n, h, w, channels] with 1 or 3 channels, or [n, h, w]",
            array.shape,
        )
    if 0 in array.shape:
        raise fail(name, "hold at least one pixel", array.shape)
    if array.dtype == np.uint8:
        return np.array(array, order="C")
    return _from_floats(name, array)


def _from_floats(name: str, array: np.ndarray) -> np.ndarray:
    rounded = np.empty(array.shape, np.uint8)
    # In pieces: a float64 copy of a whole set would not fit beside the set.
    for start in range(0, len(array), 1024):
        piece = array[start : start + 1024]
        bad = ~np.isfinite(piece)
        if bad.any():
            where = start + int(np.argwhere(bad)[0, 0])
            raise fail(name, "hold finite pixels", as_text(f"NaN in image {where}"))
        low, high = float(piece.min()), float(piece.max())
        if low < 0 or high > 1:
            raise fail(
                name,
                "hold floats in [0, 1], or uint8",
                low if low < 0 else high,
                "Divide by 255 if the pixels run from 0 to 255.",
            )
        rounded[start : start + 1024] = np.rint(piece * 255)
    return rounded


def as_labels(name: str, labels: Any, count: int | None = None) -> np.ndarray:
    """Return ``labels`` as a fresh int32 array [n].

    Args:
        name: the argument's name, for the error.
        labels: whole numbers, [n] or [n, 1].
        count: the number of images they belong to, if known.

    Returns:
        The labels, int32 [n].

    Raises:
        ValueError: not whole numbers, not one axis, or not one per image.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise fail(name, "have one axis", array.shape)
    if not np.issubdtype(array.dtype, np.integer):
        raise fail(name, "be whole numbers", as_text(f"numbers of type {array.dtype}"))
    if count is not None and len(array) != count:
        raise fail(
            name,
            "hold one label per image",
            as_text(f"{len(array)} labels for {count} images"),
        )
    if len(array) and (array.min() < -(2**31) or array.max() >= 2**31):
        raise fail(name, "be class indices", int(np.abs(array).max()))
    return array.astype(np.int32)


def _check_range(name: str, labels: np.ndarray, num_classes: int) -> None:
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        raise fail(
            name, f"lie in 0..{num_classes - 1}", int(labels[int(np.argmax(wrong))])
        )


def check_classes(
    train_labels: np.ndarray, test_labels: np.ndarray, class_names: Sequence[str]
) -> None:
    """Check that labels index ``class_names`` and that every class can be learnt.

    Args:
        train_labels: class indices, [n].
        test_labels: class indices, [n]; some classes may be absent.
        class_names: one per class.

    Raises:
        ValueError: a label out of range, or a class without a training image.
    """
    count = len(class_names)
    _check_range("train_labels", train_labels, count)
    _check_range("test_labels", test_labels, count)
    present = np.bincount(train_labels, minlength=count)
    if not present.all():
        missing = int(np.argmin(present))
        raise fail(
            "train_labels",
            f"hold every one of the {count} classes",
            as_text(f"no image of class {missing} ({class_names[missing]})"),
            "Number the classes from 0 without gaps, or add images of it.",
        )


def check_images_per_class(
    images_per_class: int,
    train_labels: np.ndarray,
    class_names: Sequence[str],
    *,
    fix: str = "",
) -> int:
    """Return ``images_per_class`` if every class has as many training images.

    Args:
        images_per_class: at least 1.
        train_labels: class indices, [n].
        class_names: one per class.
        fix: what else than fewer images could help.

    Raises:
        TypeError: ``images_per_class`` is not a whole number.
        ValueError: it is below 1, or a class has fewer images; the sentence names it.
    """
    count = check_integer("images_per_class", images_per_class)
    there = np.bincount(train_labels, minlength=len(class_names))
    if there.min() < count:
        scarce = class_names[int(there.argmin())]
        raise fail(
            "images_per_class",
            f"be at most {there.min()}, the training images of class {scarce!r}",
            count,
            fix,
        )
    return count


def stratified_split(
    labels: Int[np.ndarray, " n"], fraction: float, *, seed: int = 0
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]:
    """Return indices of a kept and a held-out part with the same class shares.

    About ``fraction`` of each class is held out (counts by largest remainder, so that
    the total is right), and at least one image of each class is kept.

    Args:
        labels: class indices, [n].
        fraction: share held out, above 0 and below 1.
        seed: of the draw.

    Returns:
        (kept, held): indices in ascending order, disjoint, together all of them.

    Raises:
        ValueError: no image can be held out without losing a class.
    """
    if not 0 < fraction < 1:
        raise fail("fraction", "lie above 0 and below 1", fraction)
    classes, counts = np.unique(labels, return_counts=True)
    total = min(max(1, round(fraction * len(labels))), int((counts - 1).sum()))
    if total < 1:
        raise fail(
            "labels",
            "leave an image to hold out",
            as_text(f"{len(labels)} images of {len(classes)} classes"),
        )
    shares = np.minimum(fraction * counts, counts - 1)
    held_counts = np.floor(shares).astype(int)
    order = np.argsort(-(shares - held_counts), kind="stable")
    while held_counts.sum() < total:
        for which in order:
            if held_counts.sum() == total:
                break
            held_counts[which] += held_counts[which] < counts[which] - 1
    random = np.random.default_rng(seed)
    held = [
        random.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, held_counts, strict=True)
    ]
    is_held = np.zeros(len(labels), bool)
    is_held[np.concatenate(held)] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def balanced_subset(
    labels: Int[np.ndarray, " n"], limit: int, num_classes: int
) -> Int[np.ndarray, " k"]:
    """Return indices of at most ``limit`` images, as evenly over classes as they allow.

    The first images of each class in stored order are taken, so the answer depends on
    nothing but the labels; small classes give all they have and the others make it up.

    Args:
        labels: class indices, [n].
        limit: largest number of images, at least ``num_classes``.
        num_classes: number of classes.

    Returns:
        Indices in ascending order, [min(n, limit)].

    Raises:
        TypeError: ``limit`` is not a whole number.
        ValueError: it is below the number of classes.
    """
    limit = check_integer(
        "limit", limit, minimum=num_classes, fix="Keep an image of every class."
    )
    # Rank of each image within its class; a stable sort by rank deals classes in turn.
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    dealt = np.lexsort((labels, rank))
    return np.sort(dealt[:limit])
