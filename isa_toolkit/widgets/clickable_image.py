"""An image with spots that a pointer or the keyboard selects.

The browser's part is one module, ``clickable_image.js``: no build, no network. Without a
browser it is an image whose ``selected`` is set from Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import anywidget
import traitlets

from isa_toolkit.widgets import layout


@final
class ClickableImage(anywidget.AnyWidget):
    """A PNG with spots; hovering, clicking or reaching one by the keyboard selects it.

    Tab moves to the selected spot, the arrow keys to the others in their order.

    Attributes:
        value: The PNG.
        spots: Position of each spot from the left and from the top, as fractions of the
            image, and its name: ``{"x": 0.5, "y": 0.25, "name": "star 3"}``.
        selected: Index of a spot, or -1.
        alt: Alternative text of the image.
    """

    _esm = Path(__file__).with_name("clickable_image.js")

    value = traitlets.Bytes(layout.BLANK).tag(sync=True)
    spots = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)

    def __init__(self, width: str = "660px", alt: str = "") -> None:
        super().__init__(alt=alt)
        self.layout = {"width": f"max({width}, 50%)", "max_width": "100%"}
        self.add_class("isa-figure")

    @traitlets.validate("selected")
    def _valid_index(self, proposal: Any) -> int:
        """Replace an index without a spot by -1."""
        index = proposal["value"]
        return index if 0 <= index < len(self.spots) else -1
