"""Figure 6: where distilled images lie among the real ones, method by method."""

from __future__ import annotations

import colorsys
import string
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from isa_toolkit import checks
from isa_toolkit.analysis import class_geometry, manifold
from isa_toolkit.annotations import takes_table
from isa_toolkit.distillation import Run
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures import information, results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing
from isa_toolkit.figures.variants import Variant, label_of, setting

VARIANTS = tuple(
    Variant(key) for key in ("frepo", "frepo+drop_hard", "frepo+drop_easy", "isa")
)
MODES = ("anchored", "joint")
SPACES = ("features", "pixels")
COLOURS = ("class", "hardness", "method")
K = 5
# Of Okabe and Ito, then of Paul Tol; further classes get computed colours.
_CLASS_COLOURS = (
    "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#332288",
    "#999933", "#882255", "#44AA99", "#661100", "#888888",
)  # fmt: skip
# Fifths of the training images by score; light is easy.
_FIFTHS = {
    "easiest fifth": "#fdd49e",
    "second fifth": "#fdbb84",
    "third fifth": "#fc8d59",
    "fourth fifth": "#d7301f",
    "hardest fifth": "#7f0000",
}
_START = "start"
_COLUMNS = (
    "setting", "kind", "index", "class_index", "label", "x", "y", "hardness", "start_x",
    "start_y", "mode", "space", "trustworthiness",
)  # fmt: skip


def pictures(study: Study) -> dict[str, dict[str, Any]]:
    """Return the pictures of the figure: name -> keywords of ``compute``."""
    del study
    return {f"fig6-{mode}": {"mode": mode} for mode in MODES}


def compute(
    study: Study,
    images_per_class: int | None = None,
    *,
    classes: tuple[int, ...] = (0, 1, 2),
    mode: Literal["anchored", "joint"] = "anchored",
    space: Literal["features", "pixels"] = "features",
    seed: int = 0,
) -> pd.DataFrame:
    """Return the positions of real and distilled images in a t-SNE map.

    ``classes`` are indices; the paper shows three and does not say which. ``mode`` is
    "anchored" for one map of the real images, in which every set is placed, or "joint" for
    a map of each set together with the real images; ``space`` "features" of a network
    trained on real images, or "pixels" of the network inputs. The default size is
    ``study.default_size``.

    Returns:
        One row per point: ``setting`` (the panel; real points of an anchored map are the
        same in each), ``kind`` ("real" or "distilled"), ``index`` (in the training images
        or in the distilled set), ``class_index`` and ``label`` (its name), ``x``, ``y``;
        of a real image ``hardness`` (the fraction of training images that the first set
        predicts better); of a distilled one in an anchored map ``start_x`` and ``start_y``
        (the real image that it started from); and for the whole map ``mode``, ``space``,
        ``trustworthiness``, ``dataset``, ``images_per_class`` and ``seed``. Empty if there
        is no such run.
    """
    checks.check_one_of("mode", mode, MODES)
    checks.check_one_of("space", space, SPACES)
    size = check_study(study).size(images_per_class)
    runs = study.runs(VARIANTS, size)
    mine = {variant.key: run for (variant, at), run in runs.items() if at == seed}
    if not mine:
        return pd.DataFrame()
    labels, names = study.dataset.train.labels, np.array(study.dataset.class_names)
    indices = _sample_each_class(labels, classes, study.budget.map_points)
    real = study.points(study.dataset.inputs("train")[indices], space)
    shown = {key: run.distilled for key, run in mine.items()}
    chosen = {
        key: np.flatnonzero(np.isin(one.classes, classes)) for key, one in shown.items()
    }
    sets = {
        key: study.points(one.images[chosen[key]], space) for key, one in shown.items()
    }
    perplexity = min(30.0, (len(real) - 1) / 3)
    if mode == "anchored":
        # All settings of a seed start from the same real images.
        key, run = next(iter(mine.items()))
        sets[_START] = study.points(run.distilled_at(0).images[chosen[key]], space)
        anchored = manifold.tsne_map(real, sets, perplexity=perplexity)
        maps = dict.fromkeys(shown, anchored)
    else:
        maps = {
            key: manifold.joint_map(real, {key: points}, perplexity=perplexity)
            for key, points in sets.items()
        }
    hardness = _hardness(study, next(iter(shown.values())))[indices]
    parts = []
    for key, made in maps.items():
        for kind, points, index, of in (
            ("real", made.real, indices, labels),
            ("distilled", made.distilled[key], chosen[key], shown[key].classes),
        ):
            part = pd.DataFrame(points, columns=["x", "y"]).assign(
                setting=key, kind=kind, index=index, class_index=of[index],
                label=names[of[index]], trustworthiness=made.trustworthiness,
            )  # fmt: skip
            if kind == "real":
                part["hardness"] = hardness
            else:
                part[["start_x", "start_y"]] = made.distilled.get(_START, np.nan)
            parts.append(part)
    return pd.concat(parts, ignore_index=True).assign(
        dataset=study.dataset.name, images_per_class=size, mode=mode, space=space,
        seed=seed,
    )  # fmt: skip


def _hardness(study: Study, distilled: DistilledSet) -> np.ndarray:
    """Return the fraction of training images with a smaller score, for each of them."""
    scores = information.scores(
        study.feature_network(),
        distilled,
        study.real_features(),
        study.dataset.targets("train"),
    )
    return scores.argsort(kind="stable").argsort() / len(scores)


def measures(study: Study, images_per_class: int | None = None) -> pd.DataFrame:
    """Return overlap, spread and evenness of every setting and seed, in feature space.

    Rows of ``results_table`` over all classes: ``overlap`` (mean fraction of the 5 nearest
    points that are real and of the same class), ``spread`` (mean distance within a class
    over that of the real images) and ``evenness``; differences are to "frepo".
    """
    size = check_study(study).size(images_per_class)
    runs = study.runs(VARIANTS, size)
    if not runs:
        return results_table.as_table([])
    labels = study.dataset.train.labels
    every_class = tuple(range(study.dataset.num_classes))
    indices = _sample_each_class(labels, every_class, study.budget.map_points)
    real, of = study.real_features()[indices], labels[indices]

    def measure(run: Run) -> dict[str, float]:
        distilled = run.distilled
        points = study.points(distilled.images, "features")
        arrays = (real, of, points, distilled.classes)
        found = {
            "overlap": class_geometry.overlap(*arrays, k=K),
            "spread": class_geometry.spread(*arrays),
            "evenness": class_geometry.evenness(*arrays),
        }
        # One image per class has no spread; pandas leaves such classes out of a mean.
        return {name: pd.Series(each).mean() for name, each in found.items()}

    jobs = [({"setting": one.key, "seed": at}, run) for (one, at), run in runs.items()]
    by_seed = study.measure(measure, jobs, "geometry", images_per_class=size)
    return results_table.with_means(by_seed, against="frepo")


def _sample_each_class(
    labels: np.ndarray, classes: tuple[int, ...], most: int
) -> np.ndarray:
    """Return sorted indices of at most ``most`` random images of each class."""
    draw = np.random.default_rng(0)
    chosen = [
        draw.permutation(np.flatnonzero(labels == label))[:most] for label in classes
    ]
    return np.sort(np.concatenate(chosen))


@takes_table(_COLUMNS)
def points_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return each image of a table once: real ones, then the distilled sets.

    Positions of real images are those of the first panel.
    """
    is_real = table.kind == "real"
    first = table.setting == table.setting.iloc[0]
    return pd.concat([table[first & is_real], table[~is_real]], ignore_index=True)


def colouring(
    table: pd.DataFrame, by: Literal["class", "hardness", "method"]
) -> tuple[pd.Series, dict[str, str]]:
    """Return the group of each point, and the colour of each group in the legend's order.

    ``by`` is the class, the fifth of the training images by hardness (distilled images
    are one more group), or the setting (real images are one more group).
    """
    checks.check_one_of("colour_by", by, COLOURS)
    is_real = table.kind == "real"
    if by == "class":
        order = table.drop_duplicates("class_index").sort_values("class_index")
        pairs = order[["label", "class_index"]].itertuples(index=False)
        return table.label, {label: class_colour(index) for label, index in pairs}
    if by == "hardness":
        fifths = np.array(list(_FIFTHS))
        index = (5 * table.hardness.fillna(0)).astype(int).clip(0, 4)
        groups = table.label.where(~is_real, fifths[index]).where(is_real, "distilled")
        return groups, {**_FIFTHS, "distilled": "#000000"}
    looks = [setting(key) for key in table.setting.unique()]
    groups = table.setting.map(label_of).where(~is_real, "real")
    return groups, {"real": "#999999", **{look.label: look.colour for look in looks}}


def class_colour(index: int) -> str:
    """Return the colour of a class by its number; no two classes have the same."""
    if index < len(_CLASS_COLOURS):
        return _CLASS_COLOURS[index]
    # Steps of the golden ratio keep the hues apart, however many there are.
    hue, lightness = (0.618034 * index) % 1, (0.35, 0.5, 0.65)[index % 3]
    return "#" + "".join(
        f"{round(255 * part):02X}" for part in colorsys.hls_to_rgb(hue, lightness, 0.7)
    )


def is_one_map(table: pd.DataFrame, colour_by: str) -> bool:
    """Return whether all settings are drawn in one panel, which only some maps allow."""
    return colour_by == "method" and table["mode"].iloc[0] == "anchored"


def _rows(table: pd.DataFrame, colour_by: str = "class") -> dict[str, float]:
    """Return rows of two panels, or of the only one."""
    count = 1 if is_one_map(table, colour_by) else table.setting.nunique()
    letters = string.ascii_lowercase[:count]
    if count == 1:
        return {letters: 4.7}
    return {f"{letters[at : at + 2]:.<2}": 2.9 for at in range(0, count, 2)}


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame, *, colour_by: str = "class") -> str:
    """Return the caption of a table from ``compute``, however it is coloured."""
    del colour_by
    one = table.iloc[0]
    how = (
        "openTSNE: the real images are embedded once and each set is placed in that map, "
        "so the panels can be compared"
        if one["mode"] == "anchored"
        else "scikit-learn t-SNE of real and distilled images together, each panel on "
        "its own, so positions cannot be compared between panels"
    )
    space = (
        "penultimate features of a network trained on real images"
        if one["space"] == "features"
        else "network inputs"
    )
    size = results_table.format_images_per_class(one.images_per_class)
    order = table.drop_duplicates("class_index").sort_values("class_index").label
    what = f"{len(order)} classes"
    if len(order) <= 5:
        what = f"the class{'es' * (len(order) > 1)} {', '.join(order)}"
    lines = (
        "; a line leads to a large mark from the real image that it started from"
        if table.start_x.notna().any()
        else ""
    )
    return (
        f"{one.dataset}, {size}, seed {one.seed}; small dots are real, large marks "
        f"distilled images of {what}, in {space}{lines}. Mode: {one['mode']} ({how}). "
        f"Trustworthiness of the map (5 neighbours) {one.trustworthiness:.3f}. "
        "Distances in the map mean little; overlap, spread and evenness in feature space, with "
        "intervals over seeds, are in the table."
    )


@drawing(_rows, caption=caption, columns=_COLUMNS)
def draw(
    panels: Panels,
    table: pd.DataFrame,
    *,
    colour_by: Literal["class", "hardness", "method"] = "class",
) -> None:
    """Draw a panel per setting: real images as dots, distilled ones as stars.

    A line leads to a star from the real image that it started from. Coloured by method, an
    anchored map is one panel with the stars of all settings.
    """
    groups, colours = colouring(table, colour_by)
    keys = list(table.setting.unique())
    rows = {label_of(key): table.setting == key for key in keys}
    if is_one_map(table, colour_by):
        of_first = (table.setting == keys[0]) | (table.kind == "distilled")
        rows = {"all methods" if len(keys) > 1 else label_of(keys[0]): of_first}
    for ax, (title, at) in zip(panels, rows.items(), strict=True):
        panel = table[at]
        moved = panel.dropna(subset=["start_x"])
        for row in moved.itertuples():
            ax.plot([row.start_x, row.x], [row.start_y, row.y], color="#777777", lw=0.5)
        for name, colour in colours.items():
            mine = panel[groups[at] == name]
            real = mine[mine.kind == "real"]
            stars = mine[mine.kind == "distilled"]
            ax.scatter(
                real.x, real.y, s=5, color=colour, lw=0, label=name,
                alpha=0.35 if colour_by != "hardness" else 0.8,
            )  # fmt: skip
            ax.scatter(
                stars.x, stars.y, s=75, marker="*", color=colour, edgecolor="black",
                lw=0.6, zorder=3, label=name,
            )  # fmt: skip
        ax.set_title(title)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("#bbbbbb")
    seen = groups[np.logical_or.reduce(list(rows.values()))]
    handles = [
        Line2D([], [], marker="o", ls="", ms=5, color=colour, label=name)
        for name, colour in colours.items()
        if (seen == name).any()
    ]
    title = f"{colour_by} (dot: real image, star: distilled image)"
    panels.legend(handles=handles, columns=10, title=title)
