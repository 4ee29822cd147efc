"""Pictures of samples as HTML: each with a text for the pointer that rests on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from markupsafe import Markup
from PIL import Image

from isa_toolkit.display import picture_grid

SIDE = 64
# Larger images are reduced: hundreds of them are sent at each move of a handle.
_LARGEST = 128


def source(image: np.ndarray) -> str:
    """Return one image [h, w, ch] as the address of a PNG that holds its pixels."""
    picture, content = picture_grid([image[None]], side=1), io.BytesIO()
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    picture.save(content, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def figure(
    address: str, text: str, colour: str = "transparent", side: int = SIDE
) -> Markup:
    """Return an image with a text on hover, over a line of a CSS colour."""
    return Markup(
        '<img src="{}" alt="{}" title="{}" style="width:{}px;height:auto;display:block;'
        'image-rendering:pixelated;border-bottom:4px solid {}">'
    ).format(address, text, text, side, colour)


def strip(title: str, figures: Iterable[Markup], columns: int | None = None) -> Markup:
    """Return figures under a title, in rows of ``columns``; None for as many as fit."""
    flow = "display:flex;flex-wrap:wrap"
    if columns is not None:
        flow = f"display:grid;grid-template-columns:repeat({columns},max-content)"
    return Markup(
        '<div class="isa-note" style="margin-top:6px">{}</div>'
        '<div class="isa-scroll" style="{};gap:3px">{}</div>'
    ).format(title, flow, Markup("").join(figures))


def side_by_side(parts: Iterable[str]) -> Markup:
    """Return HTML parts in a row; what does not fit goes to the next line."""
    inside = Markup("").join(
        Markup('<div style="max-width:100%">{}</div>').format(Markup(one))
        for one in parts
    )
    flow = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:10px 24px"
    return Markup('<div style="{}">{}</div>').format(flow, inside) if inside else inside
