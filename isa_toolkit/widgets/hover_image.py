"""The image of the point under the pointer, shown at the pointer by the browser alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import anywidget
import numpy as np
import traitlets

from isa_toolkit.display import picture_grid

_COLUMNS = 40


@final
class HoverImage(anywidget.AnyWidget):
    """Images of all points, of which the one of ``index`` is shown beside the pointer.

    Linked in the browser to the ``hovering`` of plots, it shows an image and passes the
    point on to the other plots without a message to the kernel.

    Attributes:
        index: Index of the image that is shown; None or -1 for none.
        hovering: The same, -1 for none.
        sprite: PNG of all images in rows of ``columns``.
        size: Height and width of one image in it.
        names: Text below each image.
    """

    _esm = Path(__file__).with_name("hover_image.js")

    index = traitlets.Int(None, allow_none=True).tag(sync=True)
    hovering = traitlets.Int(-1).tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    columns = traitlets.Int(_COLUMNS).tag(sync=True)
    size = traitlets.Tuple((1, 1)).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def show(self, images: np.ndarray, names: Sequence[str]) -> None:
        """Take other images [n, h, w, ch], uint8, and the text of each."""
        rows = [images[at : at + _COLUMNS] for at in range(0, len(images), _COLUMNS)]
        content: Any = io.BytesIO()
        picture_grid(rows, side=1, gap=0).save(content, "PNG")
        with self.hold_sync():
            self.sprite, self.names = content.getvalue(), list(names)
            self.size = images.shape[1:3]
