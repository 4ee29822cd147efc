"""The first figure: real images and distilled ones, with the test accuracy beside them."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd

from isa_toolkit.annotations import takes_table
from isa_toolkit.evaluation.baselines import kmeans_real
from isa_toolkit.figures import results_table
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.variants import Variant, looks_of

ISA = Variant("isa")
_MOST_CLASSES = 10
_COLUMNS = ("setting", "label", "pixels", "value", "low", "high", "n")


def compute(
    study: Study, images_per_class: int | None = None, *, variant: Variant = ISA
) -> pd.DataFrame:
    """Return random real, k-means and distilled images, with the accuracies they give.

    The first image of each of up to ten classes, of seed 0; the default size is the
    smallest of the study. Empty if there is no such run.

    Returns:
        One row per image: ``setting``, ``label`` (name of its class), ``pixels``, and of
        the whole set ``value``, ``low``, ``high`` and ``n``, the mean test accuracy of
        networks trained on it over seeds, in percent; and one row "full", without pixels,
        of the whole training set.
    """
    size = check_study(study).sizes[0] if images_per_class is None else images_per_class
    run = study.runs([variant], size).get((variant, 0))
    if run is None:
        return pd.DataFrame()
    sets = {
        "random": run.distilled_at(0),
        "kmeans": kmeans_real(study.dataset, size),
        variant.key: run.distilled,
    }
    by_seed = [
        study.initial_accuracies(variant, size),
        study.accuracies([variant], size),
    ]
    means = results_table.means(results_table.concatenate(by_seed))
    accuracies = results_table.concatenate([means, study.baseline_accuracies(size)])
    of_network = accuracies[accuracies.predictor == "network"]
    columns = ["setting", "value", "low", "high", "n"]
    numbers = {one["setting"]: one for one in of_network[columns].to_dict("records")}
    rows: list[dict[str, Any]] = [numbers["full"]]
    for key, images in sets.items():
        pixels = images.to_pixels()
        for label, name in enumerate(images.class_names[:_MOST_CLASSES]):
            first = int(np.flatnonzero(images.classes == label)[0])
            rows.append({**numbers[key], "label": name, "pixels": pixels[first]})
    return pd.DataFrame(rows).assign(dataset=study.dataset.name, images_per_class=size)


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    sets = table.drop_duplicates("setting").set_index("setting")
    one = sets.iloc[0]
    size = results_table.format_images_per_class(one.images_per_class)
    shown = "" if one.images_per_class == 1 else ", of which the first is shown"
    return (
        f"{one.dataset}, {size}{shown}. Test accuracy of new networks that are trained on "
        f"the images of a row: mean over {sets.n.max()} seeds, with its 95 % interval where "
        "there are several sets. Random real images are those that the distillation starts "
        "from; k-means ones are nearest to the centre of their cluster. The whole training "
        f"set gives {sets.value['full']:.1f} %."
    )


@takes_table(_COLUMNS)
def draw(table: pd.DataFrame, **how: Any) -> Any:
    """Return a figure of a row of images for each set, with its name and its accuracy.

    ``how`` is passed to ``draw_grid``: ``ax`` or ``size``.
    """
    groups = table[table.setting != "full"].groupby("setting", sort=False)
    looks = looks_of(groups.groups)
    rows = []
    for key, part in groups:
        one = part.iloc[0]
        ends = results_table.format_interval(one.value, one.low, one.high, decimals=1)
        name = textwrap.fill(looks[key].label, 14)
        note = f"{ends[0]} %\n{ends[1]}".rstrip()
        pixels = np.stack(list(part.pixels))
        rows.append(ImageRow(pixels, name, looks[key].colour, note))
    how = {"size": "text", "caption": lambda: caption(table), **how}
    return draw_grid(rows, **how)
