"""Rows of images as PNG bytes for image widgets."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from isa_toolkit.figures.images import ImageRow, image_sheet

__all__ = ["by_class", "images_png"]

# Enlarged so that no image is smaller on the screen.
_SIDE_PIXELS = 48


def images_png(rows: Sequence[ImageRow], *, side: int = _SIDE_PIXELS) -> bytes:
    """Return rows of images as a PNG with whole squares for pixels; faster than a figure.

    Args:
        rows: Rows of images; their labels are not drawn.
        side: Approximate width of an image in pixels of the screen.
    """
    from PIL import Image

    picture = image_sheet(rows)
    scale = max(1, round(side / rows[0].images.shape[1]))
    large = np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1)
    buffer = io.BytesIO()
    # Few colours, so that the fastest compression is also small.
    Image.fromarray(large).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def by_class(
    images: Float[np.ndarray, "m h w ch"], classes: np.ndarray, *, most: int = 10
) -> list[ImageRow]:
    """Return distilled images as rows of a grid.

    Args:
        images: Images with pixels in [0, 1].
        classes: Class of each image, [m].
        most: Largest number of images of a class.

    Returns:
        One row per class; with one image of each, rows of ten.
    """
    kinds = np.unique(classes)
    if len(kinds) == len(images):
        ordered = images[np.argsort(classes)]
        return [ImageRow(ordered[at : at + 10]) for at in range(0, len(ordered), 10)]
    return [ImageRow(images[classes == kind][:most]) for kind in kinds]
