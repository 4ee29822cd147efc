# pyright: reportAttributeAccessIssue=false
"""Panel of the t-SNE map: where distilled images lie, and the real images next to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import ipywidgets
import numpy as np

from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.figures import fig6
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import setting
from isa_toolkit.widgets import layout
from isa_toolkit.widgets.clickable_image import ClickableImage
from isa_toolkit.widgets.compute_panel import compute_panel, size_dropdown
from isa_toolkit.widgets.panel import Panel

# Number of nearest real images, images per row, and their approximate width.
_NEAREST, _ROW = 8, 4
_PIXELS = 64
_MEASURES = ("overlap", "spread", "evenness")


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


def Manifold(study: Study, *, seed: int = 0) -> Panel:
    """Return the panel of Figure 6: the map, its measures, and each star (distilled image).

    Point at a star, or set *Star of* and *Star*: it gets a ring in the map and is shown with
    the real images nearest to it in feature space, which a map only approximates.

    Args:
        study: Study with the data and the runs.
        seed: Seed of the distilled sets that are shown.

    Returns:
        The panel; *Run* computes the map for classes, space, mode and size; methods and
        stars only redraw. ``panel.picture.selected`` is the index of the star in
        ``panel.picture.spots``; setting it selects a star.

    Source: the paper, Figure 6.
    """
    names = list(study.dataset.class_names)
    keys = [variant.key for variant in fig6.VARIANTS]
    labels = [(setting(key).label, key) for key in keys]

    def compute(working: Study, values: Mapping[str, Any]) -> _Made:
        classes = tuple(sorted(values["classes"]))
        if not classes:
            raise InvalidValueError("classes must name at least one class, got none.")
        size = values["images_per_class"]
        table = fig6.compute(
            working, size, classes=classes, mode=values["mode"],
            space=values["space"], seed=seed,
        )  # fmt: skip
        found = working.runs(fig6.VARIANTS, size)
        sets = {
            one.key: run.distilled for (one, at), run in found.items() if at == seed
        }
        return _Made(table, fig6.measures(working, size), sets)

    def draw(made: _Made, values: Mapping[str, Any]) -> Mapping[str, Any]:
        methods = [key for key in keys if key in values["methods"]]
        if not methods:
            raise InvalidValueError("methods must name at least one method, got none.")
        shown = made.table[made.table.setting.isin(methods)]
        figure = fig6.draw(shown)
        method = values["method"] if values["method"] in made.sets else methods[0]
        distilled = made.sets[method]
        mine = np.flatnonzero(np.isin(distilled.classes, sorted(values["classes"])))
        star = min(values["star"], len(mine) - 1)
        with panel.quietly():
            panel.star.max = len(mine) - 1
        if method in methods:
            order = list(dict.fromkeys(shown.setting))
            points = shown[(shown.setting == method) & (shown.kind == "distilled")]
            one = points.iloc[star]
            ax = figure.axes[order.index(method)]
            ax.plot(one.x, one.y, "o", ms=15, mfc="none", mec="black", mew=1.4)
        images, text = _neighbours(study, distilled, int(mine[star]), values["space"])
        drawn = png(figure)
        stars = fig6.star_positions(figure, shown)
        mark = stars.index[(stars.setting == method) & (stars.star == star)]
        return {
            "picture": {
                "value": drawn,
                "spots": [_spot(row) for row in stars.itertuples()],
                "selected": int(mark[0]) if len(mark) else -1,
            },
            "table": _numbers(made.measures),
            "caption": layout.caption(fig6.caption(shown)),
            "star_image": images,
            "star_caption": layout.caption(
                f"{setting(method).label}, star {star}: {text}"
            ),
        }

    panel = compute_panel(
        "Map of real and distilled images",
        study,
        about="Distances in a map mean little; the measures below it are of feature space.",
        controls={
            "classes": layout.several(
                "Classes", list(range(min(3, len(names)))),
                options=[(name, index) for index, name in enumerate(names)],
            ),
            "methods": layout.several("Methods", keys, options=labels),
            "space": layout.dropdown(
                "Space", "features", options=fig6.SPACES,
                help="Features of a network trained on real images, or network inputs",
            ),
            "mode": layout.dropdown(
                "Map", "anchored", options=fig6.MODES,
                help="One map of the real images for all methods, or one for each method",
            ),
            "images_per_class": size_dropdown(study, study.default_size),
            "method": layout.dropdown(
                "Star of", keys[0], options=labels,
                help="Method whose distilled image is shown",
            ),
            "star": layout.int_slider(
                "Star", 0, min=0, max=3 * study.default_size - 1,
                help="Index of the distilled image to show", continuous_update=False,
            ),
        },
        depends_on=("classes", "space", "mode", "images_per_class"),
        compute=compute,
        draw=draw,
        groups=[
            ["classes", "methods"], ["space", "mode", "images_per_class"],
            ["method", "star"],
        ],
        outputs={
            "picture": ClickableImage(alt="Map of real and distilled images"),
            "star_image": layout.image("auto"),
            "star_caption": layout.text(),
        },
        arrange=_arrange,
    )  # fmt: skip

    def pick(change: Any) -> None:
        if change["new"] < 0:
            return
        spot = panel.picture.spots[change["new"]]
        if (panel.method.value, panel.star.value) == (spot["setting"], spot["star"]):
            return
        with panel.quietly():
            panel.method.value, panel.star.value = spot["setting"], spot["star"]
        panel.follow(change)

    panel.picture.observe(pick, "selected")
    return panel


def _spot(row: Any) -> dict[str, Any]:
    """Return the position of a star as a spot of the image."""
    return {
        "x": round(float(row.left), 4),
        "y": round(float(row.top), 4),
        "name": f"{setting(row.setting).label}, star {row.star}: class {row.label}",
        "setting": row.setting,
        "star": int(row.star),
    }


def _arrange(outputs: Mapping[str, ipywidgets.Widget]) -> ipywidgets.Widget:
    star = [outputs["star_image"], outputs["star_caption"]]
    upper = layout.flow([outputs["picture"], layout.column(star, width="310px")])
    return layout.column([upper, outputs["table"], outputs["caption"]])


def _neighbours(
    study: Study, distilled: DistilledSet, index: int, space: str
) -> tuple[bytes, str]:
    """Return a distilled image above its nearest real images as PNG, and a caption."""
    real = study.dataset.train
    if space == "pixels":
        points = study.dataset.inputs("train").reshape(len(real.labels), -1)
        mine = distilled.images[index].reshape(-1)
    else:
        points = study.real_features()
        mine = study.feature_network().features(distilled.images[index : index + 1])[0]
    distances = np.square(points - mine).sum(axis=1)
    nearest = np.argsort(distances, kind="stable")[:_NEAREST]
    own = distilled.to_pixels()[index : index + 1]
    images = real.images[nearest]
    names = np.array(distilled.class_names)
    classes = ", ".join(names[real.labels[nearest]])
    return (
        layout.images_png([own, images[:_ROW], images[_ROW:]], side=_PIXELS),
        f"class {names[distilled.classes[index]]}. Below it, the {len(nearest)} real training "
        f"images nearest to it in {space}, of the classes {classes}.",
    )


def _numbers(table: Any) -> str:
    means = table[table.seed.isna() & table.against.isna()]
    texts = [
        f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
        for one in means.itertuples()
    ]
    cells = means.assign(text=texts).pivot(
        index="setting", columns="quantity", values="text"
    )
    cells = cells.reindex(means.setting.unique()).reindex(columns=_MEASURES).fillna("")
    rows = [[setting(one[0]).label, *one[1:]] for one in cells.itertuples()]
    return layout.table(["mean (95 %)", *_MEASURES], rows)
