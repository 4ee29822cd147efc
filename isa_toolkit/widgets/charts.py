"""Charts that a browser draws and redraws while a handle moves, without the kernel.

Each is an ES module, made of ``charts.js`` and one file of its own: no build, no network.
Where there are handles, a pointer drags them, Tab and the arrow keys reach them, and
``value`` follows. Without a browser a chart is its ``value`` and its ``data``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import anywidget
import traitlets

_HERE = Path(__file__).parent


def _module(name: str) -> str:
    return "\n".join((_HERE / one).read_text("utf-8") for one in ("charts.js", name))


class _Chart(anywidget.AnyWidget):
    """A chart as wide as the panel.

    Attributes:
        data: What is drawn; a message is sent only when it is replaced.
    """

    data = traitlets.Dict().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(layout={"width": "100%"}, **traits)


@final
class Curves(_Chart):
    """Training curves; ``data`` is made by ``training_curves.for_browser``."""

    _esm = _module("curves.js")


class _HandlesChart(_Chart):
    """A chart with two handles; ``value`` holds their positions."""

    value = traitlets.Tuple(traitlets.Float(), traitlets.Float()).tag(sync=True)


@final
class CutHistogram(_HandlesChart):
    """Scores with two cuts, and which part of each class they drop.

    ``value`` holds the fractions to drop from the easy and from the hard end; ``data`` is
    made by ``score_histogram.for_browser``.
    """

    _esm = _module("cut_histogram.js")


@final
class SegmentChart(_HandlesChart):
    """A pair of samples, the loss along a segment, and the mean of sampled losses.

    Attributes:
        picked: Index of the point of the plane that was clicked, or -1.
        draws: Positions of the sampled points in the segment, in [0, 1], as float32 bytes.
    """

    _esm = _module("segment_chart.js")

    picked = traitlets.Int(-1).tag(sync=True)
    draws = traitlets.Bytes().tag(sync=True)
