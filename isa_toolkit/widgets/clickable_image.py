"""A picture with spots on it that a pointer or the keyboard picks.

The browser's part is one module in ``spots.js``: no build, no network. Without a browser it
is a picture whose ``selected`` is set from Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import anywidget
import traitlets

from isa_toolkit.widgets import layout

__all__ = ["SpottedPicture"]


@final
class SpottedPicture(anywidget.AnyWidget):
    """A PNG with spots; to point at one, click it or reach it by the keyboard selects it.

    Tab comes to the selected spot, the arrow keys go on to the others, in their order.

    Args:
        width: of the picture where there is room, CSS.
        alt: what the picture shows, for those who do not see it.

    Attributes:
        alt: as above.
        value: the PNG.
        spots: of each spot its place from the left and from the top, as fractions of the
            picture, and its name: ``{"x": 0.5, "y": 0.25, "name": "star 3"}``.
        selected: index of a spot, or -1.
    """

    _esm = Path(__file__).with_name("clickable_image.js")

    value = traitlets.Bytes(layout.BLANK).tag(sync=True)
    spots = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)

    def __init__(self, width: str = "660px", alt: str = "") -> None:
        super().__init__(alt=alt)
        layout.on_card(self, width)

    @traitlets.validate("selected")
    def _there(self, proposal: Any) -> int:
        """Take no spot for one that is not there."""
        index = proposal["value"]
        return index if 0 <= index < len(self.spots) else -1
