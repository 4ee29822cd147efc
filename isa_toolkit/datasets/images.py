"""From encoded image files to one uint8 array: decoding, centre crop, area resize."""

from __future__ import annotations

import functools
import io
import itertools
import math
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from isa_toolkit.checks import as_text, check_integer, fail
from isa_toolkit.datasets.validation import check_file, check_size, unreadable
from isa_toolkit.environment import check_fits, largest_image
from isa_toolkit.errors import InvalidValueError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Raster formats that are decoded. Never PostScript, for which Pillow starts a program."""

_GREY_MODES = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_ORIENTATION = 0x0112
_PER_BATCH, _PER_TASK = 4096, 128


class Encoded(NamedTuple):
    """An image file that is not decoded yet.

    Attributes:
        name: Name for errors.
        content: Bytes of the file, or its path.
    """

    name: str
    content: bytes | Path


def check_resolution(resolution: int | None) -> None:
    """Refuse a side that is no whole number, below 1 or absurdly large."""
    if resolution is None:
        return
    largest = math.isqrt(largest_image())
    if check_integer("resolution", resolution) > largest:
        fix = "ISA_MAX_PIXELS sets the limit."
        raise fail("resolution", f"be at most {largest}", resolution, fix)


@functools.lru_cache(maxsize=256)
def area_weights(inputs: int, outputs: int) -> Float[np.ndarray, "outputs inputs"]:
    """Return the matrix that averages ``inputs`` pixels over ``outputs`` equal areas.

    Row ``o`` holds the overlap of [o, o + 1] * inputs / outputs with each input pixel,
    divided by its length; rows sum to 1.
    """
    edges = np.arange(outputs + 1)[:, None] * (inputs / outputs)
    pixels = np.arange(inputs)
    ends, starts = np.minimum(edges[1:], pixels + 1), np.maximum(edges[:-1], pixels)
    weights = np.maximum(ends - starts, 0)
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

    Source: docs/algorithms.md, section 1.1.
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
    encoded: Callable[[np.ndarray], Sequence[Encoded]],
    rows: np.ndarray,
    channels: int | None = None,
    resolution: int | None = None,
) -> UInt8[np.ndarray, "n h w ch"]:
    """Return the images that ``encoded`` gives for some rows, decoded by a few threads.

    The orientation that a camera noted is applied, transparent pixels are laid over
    white, and 16-bit levels are rounded to 8 bits. Without ``channels`` grey images are
    repeated to RGB if any image has colour; without ``resolution`` sizes are kept and
    must be equal.
    """
    from PIL import Image

    largest = largest_image()
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit is checked first
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, largest)

    def decode(piece: Sequence[Encoded]) -> list[np.ndarray]:
        return [_decode(one, channels, resolution, largest) for one in piece]

    images: np.ndarray | None = None
    first = ""
    # Pillow releases the GIL while it decodes; more threads than cores gain nothing.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _PER_BATCH):
            batch = encoded(rows[start : start + _PER_BATCH])
            starts = range(0, len(batch), _PER_TASK)
            parts = pool.map(decode, [batch[at : at + _PER_TASK] for at in starts])
            decoded = itertools.chain.from_iterable(parts)
            for row, (one, image) in enumerate(zip(batch, decoded, strict=True), start):
                if images is None:
                    height, width, _ = image.shape
                    what = f"{len(rows)} images of {height}x{width}"
                    fix = "Pass resolution to make them smaller."
                    check_fits(what, len(rows) * image.size, fix)
                    images = np.empty((len(rows), *image.shape), np.uint8)
                    first = one.name
                which = f"{{}} ({first}) and {{}} ({one.name})"
                check_size("images", images.shape[1:3], image.shape[:2], which)
                if image.shape[2] > images.shape[3]:
                    images = np.repeat(images, 3, axis=3)
                images[row] = image
    if images is None:
        raise fail("images", "be at least 1 in number", 0)
    return images


def _decode(
    encoded: Encoded, channels: int | None, resolution: int | None, largest: int
) -> np.ndarray:
    from PIL import Image

    name, content = f"image {encoded.name}", encoded.content
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        if isinstance(content, Path):
            check_file(content)
        raw = content if isinstance(content, bytes) else content.read_bytes()
        opened = Image.open(io.BytesIO(raw), formats=FORMATS)
        if opened.mode not in (*_GREY_MODES, *_COLOUR_MODES):
            mode = as_text(f"mode {opened.mode}")
            raise fail(name, "have 8 or 16 bits per channel", mode)
        if opened.width * opened.height > largest:
            raise _too_large(name, largest, f"{opened.width}x{opened.height}")
        channels = channels or (1 if opened.mode in _GREY_MODES else 3)
        image = _as_eight_bits(opened).convert("L" if channels == 1 else "RGB")
    except InvalidValueError:
        raise
    except bombs as error:
        raise _too_large(name, largest, "far more") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        rule = f"be a complete {', '.join(FORMATS)}"
        raise unreadable(name, rule, content, error) from error
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    return pixels if resolution is None else crop_and_resize(pixels, resolution)


def _too_large(name: str, largest: int, size: str) -> InvalidValueError:
    fix = "Resize the file, or set ISA_MAX_PIXELS."
    return fail(name, f"have at most {largest} pixels", as_text(size), fix)


def _as_eight_bits(image: Image.Image) -> Image.Image:
    """Return the image upright, opaque and with 8 bits per channel."""
    from PIL import Image, ImageOps

    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        levels = np.clip(np.asarray(image, np.float32), 0, 65535) / 257
        return Image.fromarray(np.rint(levels).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
