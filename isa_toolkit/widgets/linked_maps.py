"""Maps of one table in the browser, one per setting: jupyter-scatter, linked."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import ipywidgets
import numpy as np
import pandas as pd
from markupsafe import escape

from isa_toolkit.figures import fig6
from isa_toolkit.figures.variants import setting
from isa_toolkit.widgets.hover_image import HoverImage

with warnings.catch_warnings():
    # It calls pandas in a deprecated way, which is nobody's business here.
    warnings.simplefilter("ignore", DeprecationWarning)
    import jscatter

_HEIGHT = 340
_BUTTONS = ["pan_zoom", "lasso", "full_screen", "reset"]
_GREY = "#777777"


@final
class LinkedMaps:
    """Scatter plots of a table of Figure 6: one camera, one selection, one hovered point.

    Points are those of ``fig6.points_of``; each plot hides the distilled sets of the others.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        images: np.ndarray,
        names: Sequence[str],
        on_select: Callable[[np.ndarray], Any],
    ) -> None:
        self.points: Any = fig6.points_of(table)
        self._on_select = on_select
        self._camera, self._links = uuid.uuid4().hex, []
        self.hover = HoverImage(layout={"display": "none"})
        self.hover.show(images, names)
        self._plots: dict[str, Any] = {}
        self._groups = {by: fig6.colouring(self.points, by) for by in fig6.COLOURS}
        self._table = table
        # Lines to the stars of each setting from the images they started from.
        line: Any = jscatter.Line  # of which the type of the vertices is wrong
        moved = self.points.dropna(subset=["start_x"])
        self._lines = {
            key: [
                line([(row.start_x, row.start_y), (row.x, row.y)], line_color=_GREY)
                for row in mine.itertuples()
            ]
            for key, mine in moved.groupby("setting", sort=False)
        }
        self._boxes: dict[str, ipywidgets.VBox] = {}
        # Of each plot, its settings and colours.
        self._looks: dict[str, tuple[list[str], str]] = {}

    def views(
        self, keys: Sequence[str], colour_by: Literal["class", "hardness", "method"]
    ) -> list[ipywidgets.Widget]:
        """Return the plots of settings under their titles, or one plot of all of them."""
        parts = {setting(key).label: [key] for key in keys}
        if len(keys) > 1 and fig6.is_one_map(self._table, colour_by):
            parts = {"all methods": list(keys)}
        shown = [self._view(title, mine, colour_by) for title, mine in parts.items()]
        return [*shown, self.hover]

    def _view(self, title: str, keys: list[str], colour_by: str) -> ipywidgets.VBox:
        """Return a plot under its title, the same box each time: it is not drawn again."""
        if title not in self._boxes:
            self._plots[title] = self._new_plot(keys[0])
            heading = ipywidgets.HTML(f"<b>{escape(title)}</b>")
            heading.add_class("isa-note")
            self._boxes[title] = ipywidgets.VBox([heading, self._plots[title].widget])
        plot = self._plots[title]
        shown, by = self._looks.get(title, ([], ""))
        self._looks[title] = keys, colour_by
        # Each call takes some milliseconds, and a message to the browser.
        if by != colour_by:
            plot.color(by=colour_by, map=self._groups[colour_by][1])
        if shown != keys:
            is_shown = (self.points.kind == "real") | self.points.setting.isin(keys)
            plot.filter(np.flatnonzero(is_shown))
            plot.annotations([one for key in keys for one in self._lines.get(key, [])])
        return self._boxes[title]

    def select(self, rows: np.ndarray) -> None:
        """Mark points in every plot that shows them."""
        for plot in self._plots.values():
            mine = np.intersect1d(rows, plot.filter()).astype("uint32")
            if not np.array_equal(mine, plot.widget.selection):
                plot.widget.selection = mine

    def close(self) -> None:
        """End the plots, when others take their place."""
        for one in (*self._links, *(plot.widget for plot in self._plots.values())):
            one.close()
        self.hover.close()

    def _new_plot(self, key: str) -> Any:
        at = self.points[["x", "y"]].to_numpy(copy=True)
        is_mine = (self._table.setting == key) & (self._table.kind == "real")
        at[(self.points.kind == "real").to_numpy()] = self._table.loc[
            is_mine, ["x", "y"]
        ]
        groups = {
            by: pd.Categorical(of, categories=list(colours))
            for by, (of, colours) in self._groups.items()
        }
        data = pd.DataFrame({"x": at[:, 0], "y": at[:, 1], **groups}).assign(
            kind=pd.Categorical(self.points.kind, categories=["real", "distilled"])
        )
        plot: Any = jscatter.Scatter(
            data=data, x="x", y="y", height=_HEIGHT, axes=False,
            x_scale=_range(data.x), y_scale=_range(data.y),
            size_by="kind", size_map={"real": 5, "distilled": 12},
            opacity_by="kind", opacity_map={"real": 0.7, "distilled": 1.0},
            color_hover=_GREY, reticle=False,
        )  # fmt: skip
        plot.show(buttons=_BUTTONS)
        plot.widget.view_sync = self._camera
        plot.widget.add_class("isa-figure")
        plot.widget.observe(lambda change: self._on_select(change["new"]), "selection")
        self._links += [
            ipywidgets.jsdlink((plot.widget, "hovering"), (self.hover, "index")),
            ipywidgets.jsdlink((self.hover, "hovering"), (plot.widget, "hovering")),
        ]
        return plot


def _range(values: pd.Series) -> tuple[float, float]:
    """Return the ends of an axis that leave some room around the points."""
    low, high = float(values.min()), float(values.max())
    room = 0.05 * (high - low)
    return low - room, high + room
