"""What a reader hands over: labels at once, images only when they are asked for.

So a limit, a split and every check on labels come before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.images import Encoded, crop_and_resize, decode_all
from isa_toolkit.datasets.validation import as_images, as_labels

__all__ = [
    "Records",
    "Source",
    "fit_channels",
    "from_arrays",
    "from_encoded",
    "resize_all",
]


class Records(NamedTuple):
    """One split as a reader found it.

    labels: class indices, not yet checked against the number of classes, int32 [n].
    read: ``(indices, channels, resolution) -> uint8 [k, h, w, ch]``; ``channels`` None
        keeps what the files have, ``resolution`` None keeps their size.
    """

    labels: Int[np.ndarray, " n"]
    read: Callable[[np.ndarray, int | None, int | None], UInt8[np.ndarray, "k h w ch"]]


class Source(NamedTuple):
    """A whole data set as a reader found it.

    train: the training records.
    test: the test records, or None if there are none.
    class_names: in label order, or () if the files name none.
    facts: for the provenance, in plain JSON types.
    """

    train: Records
    test: Records | None
    class_names: tuple[str, ...]
    facts: dict[str, Any]


def fit_channels(
    images: UInt8[np.ndarray, "n h w ch"], channels: int | None
) -> UInt8[np.ndarray, "n h w c2"]:
    """Return ``images`` with ``channels`` channels; grey is repeated to RGB.

    Raises:
        ValueError: colour images where one channel is wanted.
    """
    if channels is None or images.shape[3] == channels:
        return images
    if images.shape[3] == 1:
        return np.repeat(images, channels, axis=3)
    raise fail("images", f"have {channels} channel", images.shape)


def resize_all(
    images: UInt8[np.ndarray, "n h w ch"], resolution: int | None
) -> UInt8[np.ndarray, "n h2 w2 ch"]:
    """Return the central squares of ``images`` at ``resolution``; None keeps them."""
    if resolution is None or images.shape[1:3] == (resolution, resolution):
        return images
    return np.stack([crop_and_resize(image, resolution) for image in images])


def from_arrays(name: str, images: Any, labels: Any) -> Records:
    """Return records of arrays in memory.

    Args:
        name: where they come from, for errors.
        images: as :func:`isa_toolkit.datasets.validation.as_images` takes them.
        labels: class indices, [n].

    Raises:
        ValueError: images or labels of a wrong form.
    """
    checked = as_images(f"images of {name}", images)

    def read(
        indices: np.ndarray, channels: int | None, resolution: int | None
    ) -> np.ndarray:
        return resize_all(fit_channels(checked[indices], channels), resolution)

    return Records(as_labels(f"labels of {name}", labels, len(checked)), read)


def from_encoded(
    labels: Any,
    batches: Callable[[np.ndarray], Iterable[Sequence[Encoded]]],
    name: str,
) -> Records:
    """Return records of encoded images.

    Args:
        labels: class indices, [n].
        batches: gives the images at ascending indices in order, in batches.
        name: where they come from, for errors.

    Raises:
        ValueError: labels of a wrong form, or none.
    """
    checked = as_labels(f"labels of {name}", labels)
    if not len(checked):
        raise fail(name, "hold an image", as_text("no rows"))

    def read(
        indices: np.ndarray, channels: int | None, resolution: int | None
    ) -> np.ndarray:
        return decode_all(
            lambda: batches(indices),
            len(indices),
            channels=channels,
            resolution=resolution,
        )

    return Records(checked, read)
