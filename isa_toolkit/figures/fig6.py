"""Figure 6: where distilled images lie among the real ones, method by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isa_toolkit import checks
from isa_toolkit.analysis import class_geometry, manifold
from isa_toolkit.figures import results_table
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import house_style, new_figure
from isa_toolkit.figures.variants import Variant, setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

VARIANTS = tuple(
    Variant(key) for key in ("frepo", "frepo+drop_hard", "frepo+drop_easy", "isa")
)
MODES = ("anchored", "joint")
SPACES = ("features", "pixels")
K = 5
_CLASS_COLOURS = ("#E69F00", "#0072B2", "#009E73")


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
        same in each), ``kind`` ("real" or "distilled"), ``label`` (class name), ``x``,
        ``y``, and for the whole map ``mode``, ``space``, ``trustworthiness``, ``dataset``
        and ``images_per_class``. Empty if there is no such run.
    """
    import pandas as pd

    checks.check_one_of("mode", mode, MODES)
    checks.check_one_of("space", space, SPACES)
    size = check_study(study).size(images_per_class)
    runs = study.runs(VARIANTS, size)
    shown = {
        variant.key: run.distilled for (variant, at), run in runs.items() if at == seed
    }
    if not shown:
        return pd.DataFrame()
    labels = study.dataset.train.labels
    indices = _sample_each_class(labels, classes, study.budget.map_points)
    real = study.points(study.dataset.inputs("train")[indices], space)
    sets, kinds = {}, {}
    for key, distilled in shown.items():
        mine = np.isin(distilled.classes, classes)
        sets[key] = study.points(distilled.images[mine], space)
        kinds[key] = distilled.classes[mine]
    perplexity = min(30.0, (len(real) - 1) / 3)
    if mode == "anchored":
        anchored = manifold.tsne_map(real, sets, perplexity=perplexity)
        maps = dict.fromkeys(sets, anchored)
    else:
        maps = {
            key: manifold.joint_map(real, {key: points}, perplexity=perplexity)
            for key, points in sets.items()
        }
    names = np.array(study.dataset.class_names)
    parts = [
        pd.DataFrame(points, columns=["x", "y"]).assign(
            setting=key,
            kind=kind,
            label=names[of],
            trustworthiness=made.trustworthiness,
        )
        for key, made in maps.items()
        for kind, points, of in (
            ("real", made.real, labels[indices]),
            ("distilled", made.distilled[key], kinds[key]),
        )
    ]
    return pd.concat(parts, ignore_index=True).assign(
        dataset=study.dataset.name, images_per_class=size, mode=mode, space=space
    )


def measures(study: Study, images_per_class: int | None = None) -> pd.DataFrame:
    """Return overlap, spread and evenness of every setting and seed, in feature space.

    Rows of ``results_table`` over all classes: ``overlap`` (mean fraction of the 5 nearest
    points that are real and of the same class), ``spread`` (mean distance within a class
    over that of the real images) and ``evenness``; differences are to "frepo".
    """
    import pandas as pd

    size = check_study(study).size(images_per_class)
    runs = study.runs(VARIANTS, size)
    if not runs:
        return results_table.as_table([])
    labels = study.dataset.train.labels
    every_class = tuple(range(study.dataset.num_classes))
    indices = _sample_each_class(labels, every_class, study.budget.map_points)
    real, of = study.real_features()[indices], labels[indices]
    cells = []
    for (variant, seed), run in runs.items():
        distilled = run.distilled
        points = study.points(distilled.images, "features")
        arrays = (real, of, points, distilled.classes)
        found = {
            "overlap": class_geometry.overlap(*arrays, k=K),
            "spread": class_geometry.spread(*arrays),
            "evenness": class_geometry.evenness(*arrays),
        }
        # One image per class has no spread; pandas leaves such classes out of a mean.
        values = {name: pd.Series(each).mean() for name, each in found.items()}
        cells.append(({"setting": variant.key, "seed": seed}, values))
    by_seed = results_table.measured(
        cells, dataset=study.dataset.name, images_per_class=size
    )
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


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the panels: real images as dots, distilled ones as stars."""
    keys = list(dict.fromkeys(table.setting))
    names = list(dict.fromkeys(table.label))
    columns = 2 if len(keys) > 1 else 1
    lines = -(-len(keys) // columns)
    figure = new_figure(3.3 * columns, 2.75 * lines + 0.3)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(keys) :]:
        ax.set_visible(False)
    for ax, key in zip(axes, keys, strict=False):
        panel = table[table.setting == key]
        for name, colour in zip(names, _CLASS_COLOURS * 10, strict=False):
            mine = panel[panel.label == name]
            real = mine[mine.kind == "real"]
            stars = mine[mine.kind == "distilled"]
            ax.scatter(real.x, real.y, s=5, color=colour, alpha=0.35, lw=0)
            ax.scatter(
                stars.x, stars.y, s=75, marker="*", color=colour, edgecolor="black",
                lw=0.6, zorder=3, label=name,
            )  # fmt: skip
        ax.set_title(setting(key).label)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("#bbbbbb")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(names), title="class")
    return figure


def star_positions(figure: Figure, table: pd.DataFrame) -> pd.DataFrame:
    """Return the positions of the stars in a figure that has been saved or rendered.

    One row per star: ``setting``, ``star`` (its index within the setting), ``label``, and
    ``left`` and ``top``, in fractions of the figure's width and height.
    """
    stars = table[table.kind == "distilled"].copy()
    stars["star"] = stars.groupby("setting", sort=False).cumcount()
    for ax, key in zip(figure.axes, dict.fromkeys(table.setting), strict=False):
        mine = stars.setting == key
        dots = ax.transData.transform(stars.loc[mine, ["x", "y"]])
        across = figure.transFigure.inverted().transform(dots)
        stars.loc[mine, "left"] = across[:, 0]
        stars.loc[mine, "top"] = 1 - across[:, 1]
    wanted = ["setting", "star", "label", "left", "top"]
    return stars.loc[:, wanted].reset_index(drop=True)


def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
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
    return (
        f"{one.dataset}, {size}, seed 0; dots are real, stars distilled images of three "
        f"classes, in {space}. Mode: {one['mode']} ({how}). Trustworthiness of the map (5 "
        f"neighbours) {one.trustworthiness:.3f}. Distances in the map mean little; overlap, "
        "spread and evenness in feature space, with intervals over seeds, are in the table."
    )
