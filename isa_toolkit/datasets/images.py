"""From encoded image files to one uint8 array: decoding, centre crop, area resize.

Which files to decode is decided by the readers.
"""

from __future__ import annotations

import functools
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from isa_toolkit.checks import as_text, check_integer, fail

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Encoded", "area_weights", "crop_and_resize", "decode_all"]

_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_GREY_MODES = ("1", "L", "LA")
_PER_TASK = 128


class Encoded(NamedTuple):
    """An image file that is not decoded yet.

    name: what to call it in an error.
    content: its bytes, or the path where they lie.
    """

    name: str
    content: bytes | Path


@functools.lru_cache(maxsize=256)
def area_weights(inputs: int, outputs: int) -> Float[np.ndarray, "outputs inputs"]:
    """Return the matrix that averages ``inputs`` pixels over ``outputs`` equal areas.

    Row ``o`` holds the overlap of [o, o + 1] * inputs / outputs with each input pixel,
    divided by its length; rows sum to 1.

    Args:
        inputs: number of pixels before.
        outputs: number of pixels after.

    Returns:
        The weights, float32 [outputs, inputs], read-only.
    """
    edges = np.arange(outputs + 1) * (inputs / outputs)
    pixels = np.arange(inputs)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(
        edges[:-1, None], pixels
    )
    weights = np.maximum(overlap, 0)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    weights.flags.writeable = False
    return weights


def crop_and_resize(
    image: UInt8[np.ndarray, "h w ch"], resolution: int
) -> UInt8[np.ndarray, "r r ch"]:
    """Return the central square of ``image``, resized to ``resolution`` by area.

    Each new pixel is the mean over the exact area it covers (fractional overlaps
    included), which is antialiased when shrinking and what TensorFlow calls "area";
    Pillow's BOX filter is not used because it drops the fractions.

    Args:
        image: uint8 [h, w, ch].
        resolution: new side in pixels.

    Returns:
        uint8 [resolution, resolution, ch]; the square itself if it has that size.

    Source: section 1.1 of the algorithms sheet ("Variable-size images").
    """
    height, width, _ = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == resolution:
        return square
    weights = area_weights(side, resolution)
    rows = np.tensordot(weights, square.astype(np.float32), axes=(1, 0))
    both = np.tensordot(rows, weights, axes=(1, 1)).transpose(0, 2, 1)
    return np.rint(np.clip(both, 0, 255)).astype(np.uint8)


def decode_all(
    batches: Callable[[], Iterable[Sequence[Encoded]]],
    count: int,
    *,
    channels: int | None = None,
    resolution: int | None = None,
) -> UInt8[np.ndarray, "n h w ch"]:
    """Return all images of ``batches`` as one array, decoded by a few threads.

    Args:
        batches: gives the encoded images in order, each time from the start. One batch
            is held in memory at a time.
        count: how many images they hold together.
        channels: 1 or 3; None looks: 3 if any image has colour.
        resolution: side in pixels to crop and resize to; None keeps sizes.

    Returns:
        uint8 [n, h, w, ch].

    Raises:
        ValueError: a file that is no 8-bit image, or two sizes without a resolution.
    """
    if resolution is not None:
        resolution = check_integer("resolution", resolution)
    # Pillow releases the GIL while it decodes; more threads than cores gain nothing.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        if channels is None:
            coloured = any(
                any(pool.map(_any_colour, _pieces(batch))) for batch in batches()
            )
            channels = 3 if coloured else 1
        kept: np.ndarray | None = None
        first_name, done = "", 0
        for batch in batches():
            if not batch:
                continue
            if kept is None:
                first = _decode(batch[0], channels, resolution)
                kept = np.empty((count, *first.shape), np.uint8)
                first_name = batch[0].name
            jobs = []
            for piece in _pieces(batch):
                target = kept[done : done + len(piece)]
                done += len(piece)
                jobs.append(
                    pool.submit(_fill, target, piece, channels, resolution, first_name)
                )
            for job in jobs:
                job.result()
    if kept is None or done != count:
        raise fail("images", f"be {count} in number", done)
    return kept


def _pieces(batch: Sequence[Encoded]) -> Iterator[Sequence[Encoded]]:
    for start in range(0, len(batch), _PER_TASK):
        yield batch[start : start + _PER_TASK]


def _fill(
    target: np.ndarray,
    piece: Sequence[Encoded],
    channels: int,
    resolution: int | None,
    first_name: str,
) -> None:
    for row, encoded in zip(target, piece, strict=True):
        image = _decode(encoded, channels, resolution)
        if image.shape != row.shape:
            one, other = row.shape, image.shape
            raise fail(
                "images",
                "have one size",
                as_text(
                    f"{one[0]}x{one[1]} ({first_name}) and "
                    f"{other[0]}x{other[1]} ({encoded.name})"
                ),
                "Pass resolution to crop the centre and resize.",
            )
        row[...] = image


def _any_colour(piece: Sequence[Encoded]) -> bool:
    return any(_open(encoded).mode in _COLOUR_MODES for encoded in piece)


def _decode(encoded: Encoded, channels: int, resolution: int | None) -> np.ndarray:
    opened = _open(encoded)
    try:
        converted = opened.convert("L" if channels == 1 else "RGB")
    except _image_errors() as error:
        raise _unreadable(encoded) from error
    image = np.asarray(converted).reshape(opened.height, opened.width, channels)
    return image if resolution is None else crop_and_resize(image, resolution)


def _open(encoded: Encoded) -> Image.Image:
    from PIL import Image

    content = encoded.content
    try:
        raw = content if isinstance(content, bytes) else content.read_bytes()
        opened = Image.open(io.BytesIO(raw))
    except _image_errors() as error:
        raise _unreadable(encoded) from error
    if opened.mode not in (*_GREY_MODES, *_COLOUR_MODES):
        raise fail(
            f"image {encoded.name}",
            "have 8 bits per channel",
            as_text(f"mode {opened.mode}"),
        )
    return opened


def _image_errors() -> tuple[type[Exception], ...]:
    from PIL import Image

    return (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        Image.DecompressionBombError,
    )


def _unreadable(encoded: Encoded) -> ValueError:
    return fail(
        f"image {encoded.name}",
        "be a complete PNG, JPEG or WebP",
        as_text("bytes that do not decode"),
        "Copy or download the file again.",
    )
