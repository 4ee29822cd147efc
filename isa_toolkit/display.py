"""Pictures of image sets for notebooks: rows of images, as one picture or as HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Num

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["class_rows", "data_url", "html_grid", "picture_grid"]

_GAP = 2  # pixels between images


def class_rows(
    images: Num[Any, "n h w ch"],
    classes: Num[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    columns: int = 10,
    rows: int = 20,
) -> list[tuple[str, np.ndarray]]:
    """Return the first images of each of the first classes.

    Args:
        images: Images, uint8 or floats on the scale [0, 1], [n, h, w, ch].
        classes: Class number of each image, [n].
        class_names: Name of each class.
        columns: Highest number of images of a class.
        rows: Highest number of classes.

    Returns:
        (class name, images [k, h, w, ch]) for each class that has an image.
    """
    indices = [np.flatnonzero(classes == c)[:columns] for c in range(len(class_names))]
    chosen = [
        (str(name), index)
        for name, index in zip(class_names, indices, strict=True)
        if len(index)
    ]
    return [(name, images[index]) for name, index in chosen[:rows]]


def picture_grid(rows: Sequence[np.ndarray], *, side: int = 48) -> Image:
    """Return rows of images as one picture, which a notebook shows by itself.

    Args:
        rows: Images of each row, uint8 or floats on the scale [0, 1], [k, h, w, ch].
        side: Least width and height of an image in screen pixels; small images are
            enlarged by a whole factor.

    Returns:
        The picture, a Pillow image; floats outside [0, 1] are cut off, and of images with
        neither 1 nor 3 channels the first channel is shown.
    """
    from PIL import Image

    height, width, channels = rows[0].shape[1:]
    factor = max(1, -(-side // max(height, width)))
    step_y, step_x = height * factor + _GAP, width * factor + _GAP
    columns = max(len(row) for row in rows)
    shown = 3 if channels == 3 else 1
    size = (len(rows) * step_y - _GAP, columns * step_x - _GAP, shown)
    canvas = np.full(size, 255, np.uint8)
    for y, row in enumerate(rows):
        levels = row[..., :shown]
        if levels.dtype != np.uint8:
            levels = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)
        large = levels.repeat(factor, axis=1).repeat(factor, axis=2)
        for x, image in enumerate(large):
            top, left = y * step_y, x * step_x
            canvas[top : top + height * factor, left : left + width * factor] = image
    return Image.fromarray(canvas if shown == 3 else canvas[..., 0])


def data_url(picture: Image) -> str:
    """Return a picture as the source of an HTML image: an embedded PNG.

    Args:
        picture: Pillow image.
    """
    content = io.BytesIO()
    picture.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def html_grid(
    title: str, rows: Sequence[tuple[str, np.ndarray]], *, note: str = ""
) -> str:
    """Return named rows of images; short rows stand in one line.

    Args:
        title: Text above the images.
        rows: Name and images of each row, as ``class_rows`` returns them.
        note: Text below the images, or none.

    Returns:
        HTML in which all text is escaped and each row is one embedded PNG.
    """
    figures = []
    for name, images in rows:
        text = html.escape(name[:80])
        figures.append(
            f'<figure style="margin:0"><img alt="images of class {text}" '
            f'src="{data_url(picture_grid([images]))}"><figcaption>{text}</figcaption></figure>'
        )
    below = f"<p>{html.escape(note)}</p>" if note else ""
    style = "display:flex;flex-wrap:wrap;gap:8px"
    grid = f'<div style="{style}">{"".join(figures)}</div>'
    return f"<p>{html.escape(title)}</p>{grid}{below}"
