"""Section G: the distilled images, with whitening undone, and their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.results_table import format_images_per_class
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import plain_texts
from isa_toolkit.figures.variants import Variant

# The galleries of the paper, section G: (data set, images per class) -> letter.
LETTERS = {
    ("mnist", 1): "a", ("fashion_mnist", 1): "b", ("mnist", 10): "c",
    ("fashion_mnist", 10): "d", ("cifar10", 10): "e", ("cifar10", 50): "f",
    ("cifar100", 1): "g", ("cifar100", 10): "h", ("tiny_imagenet", 1): "i",
    ("tiny_imagenet", 10): "j", ("imagenette", 1): "k", ("imagewoof", 1): "l",
    ("imagenette", 10): "m", ("imagewoof", 10): "n", ("imagenet64", 1): "o",
    ("imagenet64", 2): "p",
}  # fmt: skip
_ROWS, _COLUMNS = 20, 10
_TABLE = ("dataset", "images_per_class", "label", "first", "second", "pixels")


def pictures(study: Study) -> dict[str, dict[str, Any]]:
    """Return the pictures of the figure: name -> keywords of ``compute``."""
    return {
        f"gallery-ipc{size}": {"images_per_class": size}
        for size in check_study(study).sizes
    }


def compute(study: Study, images_per_class: int) -> pd.DataFrame:
    """Return ``table_of`` for FRePo with crucial samples and ISA, seed 0.

    It is empty if there is no such run.
    """
    variant = Variant("isa")
    run = check_study(study).runs([variant], images_per_class).get((variant, 0))
    return (
        pd.DataFrame() if run is None else table_of(run.distilled, study.dataset.name)
    )


@typed
def table_of(distilled: DistilledSet, dataset: str) -> pd.DataFrame:
    """Return any distilled set as a table of images.

    Returns:
        One row per image, ordered by class: ``dataset``, ``images_per_class``, ``index``,
        ``label`` (name of its class), ``first`` and ``second`` (largest entries of its
        learned label), ``runner_up`` (class of the second) and ``pixels`` ([h, w, ch],
        whitening undone, not clipped; not in the CSV).
    """
    order = np.argsort(distilled.classes, kind="stable")
    ranked = np.argsort(-distilled.labels, axis=1)
    names = np.array(distilled.class_names)
    ordered = np.take_along_axis(distilled.labels, ranked, axis=1)
    table = pd.DataFrame(
        {
            "dataset": dataset,
            "images_per_class": len(order) // len(names),
            "index": np.arange(len(order)),
            "label": names[distilled.classes],
            "first": ordered[:, 0],
            "second": ordered[:, 1],
            "runner_up": names[ranked[:, 1]],
            "pixels": list(distilled.to_pixels(clip=False)),
        }
    )
    return table.iloc[order].reset_index(drop=True)


@takes_table(_TABLE)
def draw(table: pd.DataFrame, **how: Any) -> Any:
    """Return the gallery: a row per class; with one image per class, a row for all.

    Pixels are clipped to [0, 1]. There are at most 20 rows of 10 images; ``how`` is of
    ``draw_grid``.
    """
    given, table = table, plain_texts(table)
    names, pixels = list(table.label.unique()), np.stack(list(table.pixels))
    side = 0.4 if pixels.shape[1] <= 32 else 0.6
    how = {"image_in": side, "caption": lambda: caption(given), **how}
    if len(table) == len(names) <= _COLUMNS:
        return draw_grid([ImageRow(pixels)], titles=names, **how)
    if len(table) == len(names):
        starts = range(0, min(len(names), _ROWS * _COLUMNS), _COLUMNS)
        rows = [ImageRow(pixels[at : at + _COLUMNS], names[at]) for at in starts]
    else:
        labels = table.label.to_numpy()
        rows = [
            ImageRow(pixels[labels == name][:_COLUMNS], name) for name in names[:_ROWS]
        ]
    return draw_grid(rows, **how)


@takes_table(_TABLE)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    one = table.iloc[0]
    letter = LETTERS.get((one.dataset, int(one.images_per_class)))
    which = f"Gallery ({letter}) of the paper: " if letter else ""
    names, count = len(set(table.label)), int(one.images_per_class)
    most = _ROWS if count > 1 else _ROWS * _COLUMNS
    shown = "" if names <= most else f" The first {most} of {names} classes."
    if count > _COLUMNS:
        shown += f" The first {_COLUMNS} images of each class."
    gap = (table["first"] - table["second"]).median()
    return (
        f"{which}{one.dataset}, {format_images_per_class(count)}, FRePo + crucial + ISA, "
        f"seed 0.{shown} Whitening is undone; pixels are clipped to the range of real "
        f"images. Learned labels: median gap between the two largest entries {gap:.2f}; "
        "all are in the CSV."
    )
