# pyright: reportAttributeAccessIssue=false
"""Panel of the t-SNE map: where distilled images lie, and the real images next to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import ipywidgets
import numpy as np

from isa_toolkit.annotations import typed
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig6
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import setting
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.compute_panel import (
    BackgroundTask,
    compute_panel,
    size_dropdown,
    summary_table,
)
from isa_toolkit.widgets.panel import Panel

# Nearest training images beside a selected point, and points that are listed.
_NEAREST, _LISTED = 8, 24
# A stored map is in a notebook twice, as PNG and in HTML.
_DPI = 120
_MISSING = (
    "This map is a picture only: jupyter-scatter, which lets it be zoomed, pointed at and "
    "lassoed, is not installed. Install it with: pip install jupyter-scatter"
)


class _Made(NamedTuple):
    """Results of *Run*.

    table: Points of the map.
    measures: Overlap, spread and evenness in feature space.
    sets: Distilled set of each setting.
    """

    table: Any
    measures: Any
    sets: dict[str, DistilledSet]

    def __len__(self) -> int:
        return len(self.table)


@typed
def Manifold(study: Study, *, seed: int = 0) -> Panel:
    """Return the panel of Figure 6: a map per method, its measures, and chosen points.

    Drag to pan and scroll to zoom, in all maps at once; point at a dot to see its image;
    click one, or lasso many, to list them beside their nearest training images. Without
    jupyter-scatter the map is a picture.

    Args:
        study: Study with the data and the runs.
        seed: Seed of the distilled sets that are shown.

    Returns:
        The panel. *Run* computes the map for classes, space, mode and size; methods and
        colours only redraw. ``panel.points`` holds a row for each point of the map,
        ``panel.selected`` the rows that are selected, and ``panel.select(rows)`` selects.

    Source: the paper, Figure 6.
    """
    names = list(study.dataset.class_names)
    keys = [variant.key for variant in fig6.VARIANTS]
    model = _Manifold(study, seed)
    is_live = _linked_maps() is not None
    outputs: dict[str, ipywidgets.Widget] = {
        "legend": layout.text(),
        "picture": layout.grid("370px") if is_live else layout.image(),
        **{name: layout.text() for name in ("gallery", "table", "caption")},
    }
    panel = compute_panel(
        "Map of real and distilled images",
        study,
        about="" if is_live else _MISSING,
        controls={
            "classes": layout.Chips(
                "Classes", range(min(3, len(names))),
                options=[(name, index) for index, name in enumerate(names)],
                help="Classes whose images are mapped",
            ),
            "methods": layout.Chips(
                "Methods", keys, options=[(setting(key).label, key) for key in keys],
                help="Methods whose distilled images are shown",
            ),
            "colour_by": layout.dropdown(
                "Colour by", "class", options=fig6.COLOURS,
                help="Class; how badly FRePo's set predicts a real image; or the method, "
                "all in one map",
            ),
            "space": layout.dropdown(
                "Space", "features", options=fig6.SPACES,
                help="Features of a network trained on real images, or network inputs",
            ),
            "mode": layout.dropdown(
                "Map", "anchored", options=fig6.MODES,
                help="One map of the real images for all methods, or one for each method",
            ),
            "images_per_class": size_dropdown(study, study.default_size),
        },
        depends_on=("classes", "space", "mode", "images_per_class"),
        compute=model.compute,
        draw=model.draw,
        groups=[
            ["classes"], ["methods"], ["colour_by", "space", "mode", "images_per_class"],
        ],
        outputs=outputs,
        task=model,
        still=model.still if is_live else None,
    )  # fmt: skip
    model.panel = panel
    return panel


def _linked_maps() -> Any:
    """Return the module of the maps in the browser; None without jupyter-scatter."""
    try:
        from isa_toolkit.widgets import linked_maps
    except ModuleNotFoundError as error:
        if error.name != "jscatter":
            raise
        return None
    return linked_maps


@final
class _Manifold(BackgroundTask):
    """The map that is shown, and the points of it that are selected."""

    panel: Panel

    def __init__(self, study: Study, seed: int) -> None:
        super().__init__(study)
        self.seed = seed
        self.points: Any = None
        self.selected: list[int] = []
        self._made: _Made | None = None
        # Of the map that is shown: its plots, methods, space, table of measures, and each
        # point's image and name.
        self._maps: Any = None
        self._summary = ""
        self._methods: list[str] = []
        self._space: Any = ""
        self._images = np.empty(0)
        self._names: list[str] = []

    def compute(self, working: Study, values: Mapping[str, Any]) -> _Made:
        if not values["classes"]:
            raise InvalidValueError("classes must name at least one class, got none.")
        size = values["images_per_class"]
        table = fig6.compute(
            working, size, classes=values["classes"], mode=values["mode"],
            space=values["space"], seed=self.seed,
        )  # fmt: skip
        found = working.runs(fig6.VARIANTS, size)
        sets = {
            one.key: run.distilled
            for (one, at), run in found.items()
            if at == self.seed
        }
        return _Made(table, fig6.measures(working, size), sets)

    def draw(self, made: _Made, values: Mapping[str, Any]) -> Mapping[str, Any]:
        methods = [key for key in made.sets if key in values["methods"]]
        if not methods:
            raise InvalidValueError("methods must name at least one method, got none.")
        before = self._maps
        if made is not self._made:
            self._take(made, values["space"])
        self._methods, by = methods, values["colour_by"]
        shown = self._shown
        _, colours = fig6.colouring(shown, by)
        outputs = {
            "legend": layout.legend(colours),
            "gallery": self._gallery(),
            "table": self._summary,
            "caption": layout.caption(fig6.caption(shown)),
        }
        if self._maps is None:
            return {**outputs, "picture": self.still() or layout.BLANK}
        views = self._maps.views(methods, by)
        self._maps.select(np.array(self.selected, int))
        self.panel.picture.children = views
        if before is not None and before is not self._maps:
            before.close()
        return {**outputs, "picture": {"children": views}}

    @property
    def _shown(self) -> Any:
        assert self._made is not None
        return self._made.table[self._made.table.setting.isin(self._methods)]

    def still(self) -> bytes | None:
        """Return the map as a PNG, or None before there is one."""
        if self._made is None:
            return None
        figure = fig6.draw(self._shown, colour_by=self.panel.values["colour_by"])
        return layout.fewer_colours(png(figure, dpi=_DPI))

    def select(self, rows: Sequence[int] | np.ndarray) -> None:
        """Select points by their rows in ``points``; none for an empty sequence.

        Raises:
            ValueError: A row is not in ``points``.
        """
        chosen = [int(row) for row in rows]
        most = 0 if self.points is None else len(self.points)
        if wrong := [row for row in chosen if not 0 <= row < most]:
            raise InvalidValueError(
                f"rows must be below {most}, the number of points, got {wrong[0]}."
            )
        if chosen == self.selected:
            return
        self.selected = chosen
        if self._maps is not None:
            self._maps.select(np.array(chosen, int))
        self.panel.write({"gallery": self._gallery()})

    def _take(self, made: _Made, space: str) -> None:
        """Show another map; nothing of it is selected yet."""
        self._made, self._space, self.selected = made, space, []
        self._summary = summary_table(made.measures)
        self.points = fig6.points_of(made.table)
        pixels = {
            key: np.rint(255 * one.to_pixels()).astype(np.uint8)
            for key, one in made.sets.items()
        }
        real = self.study.dataset.train.images
        self._images = np.concatenate(
            [
                (real if kind == "real" else pixels[key])[mine["index"].to_numpy()]
                for (kind, key), mine in self.points.groupby(
                    ["kind", "setting"], sort=False
                )
            ]
        )
        self._names = [_name(row) for row in self.points.itertuples()]
        if module := _linked_maps():
            self._maps = module.LinkedMaps(
                made.table, self._images, self._names, self.select
            )

    def _gallery(self) -> str:
        """Return the selected points beside their nearest training images."""
        if not self.selected:
            return layout.note(
                "Large dots are distilled images, small dots real ones. Click a dot, or lasso "
                "several, to list them here."
                if self._maps is not None
                else "panel.select(rows) lists points of panel.points here."
            )
        made, train = self._made, self.study.dataset.train
        assert made is not None
        listed = self.points.iloc[self.selected[:_LISTED]]
        if self._space == "features":
            real = self.study.real_features()
        else:
            real = self.study.points(self.study.dataset.inputs("train"), "pixels")
        rows = []
        for row in listed.itertuples():
            if row.kind == "real":
                mine = real[row.index]
            else:
                images = made.sets[row.setting].images[row.index : row.index + 1]
                mine = self.study.points(images, self._space)[0]
            near = np.argsort(np.square(real - mine).sum(axis=1), kind="stable")
            if row.kind == "real":
                near = near[near != row.index]
            near = near[:_NEAREST]
            same = int((train.labels[near] == row.class_index).sum())
            pictures = map(
                layout.thumbnails, (self._images[[row.Index]], train.images[near])
            )
            rows.append([self._names[row.Index], *pictures, f"{same} of {len(near)}"])
        heads = ["point", "image", f"nearest in {self._space}", "of its class"]
        more = len(self.selected) - len(listed)
        rest = layout.caption(f"{more} more points are selected.") if more else ""
        return layout.table(heads, rows) + rest


def _name(row: Any) -> str:
    """Return the text below the image of a point."""
    if row.kind == "real":
        what = f"training image {row.index}: class {row.label}"
        return f"{what}, harder than {100 * row.hardness:.0f} %"
    return (
        f"{setting(row.setting).label}, distilled image {row.index}: class {row.label}"
    )
