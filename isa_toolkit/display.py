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


class Markdown(str):
    """Text in Markdown, which a notebook renders."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return str(self)


def class_rows(
    images: Num[Any, "n h w ch"],
    classes: Num[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    columns: int = 10,
    rows: int = 20,
) -> list[tuple[str, np.ndarray]]:
    """Return (class name, images) of up to ``rows`` classes: the first ``columns`` of each.

    ``images`` are uint8, or floats on the scale [0, 1]; ``classes`` are their class
    numbers. Classes without an image are left out.
    """
    indices = [np.flatnonzero(classes == c)[:columns] for c in range(len(class_names))]
    chosen = [
        (str(name), index)
        for name, index in zip(class_names, indices, strict=True)
        if len(index)
    ]
    return [(name, images[index]) for name, index in chosen[:rows]]


def picture_grid(rows: Sequence[np.ndarray], *, side: int = 48, gap: int = 2) -> Image:
    """Return rows of images [k, h, w, ch] as one picture, which a notebook shows by itself.

    Small images are enlarged by a whole factor to at least ``side`` screen pixels, with
    ``gap`` white pixels between them. Floats outside [0, 1] are cut off, and of images
    with neither 1 nor 3 channels the first channel is shown.
    """
    from PIL import Image

    height, width, channels = rows[0].shape[1:]
    factor = max(1, -(-side // max(height, width)))
    step_y, step_x = height * factor + gap, width * factor + gap
    columns = max(len(row) for row in rows)
    shown = 3 if channels == 3 else 1
    size = (len(rows) * step_y - gap, columns * step_x - gap, shown)
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


def html_grid(
    title: str, rows: Sequence[tuple[str, np.ndarray]], *, note: str = ""
) -> str:
    """Return HTML of rows that ``class_rows`` gave, between a title and a note, escaped.

    Each row is one embedded PNG; short rows stand in one line.
    """
    figures = []
    for name, images in rows:
        text, content = html.escape(name[:80]), io.BytesIO()
        picture_grid([images]).save(content, "PNG")
        source = (
            f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
        )
        figures.append(
            f'<figure style="margin:0"><img alt="images of class {text}" '
            f'src="{source}"><figcaption>{text}</figcaption></figure>'
        )
    below = f"<p>{html.escape(note)}</p>" if note else ""
    style = "display:flex;flex-wrap:wrap;gap:8px"
    grid = f'<div style="{style}">{"".join(figures)}</div>'
    return f"<p>{html.escape(title)}</p>{grid}{below}"
