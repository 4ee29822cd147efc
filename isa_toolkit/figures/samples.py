"""Which real images are easy and which are hard, and what dropping removes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from isa_toolkit.analysis import ranking
from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.figures.images import ImageRow, plot_grid
from isa_toolkit.figures.information import BASE, FRACTION, read_and_score
from isa_toolkit.figures.results_table import format_images_per_class
from isa_toolkit.figures.score_histogram import composition
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import Panels, drawing
from isa_toolkit.figures.variants import setting

# Number of networks that are trained on each distilled set and score the images.
NETWORKS = 3
_SHOWN = 40
_PER_ROW = 20
_COLUMNS = ("kind", "group", "end", "label", "score", "pixels", "p_value")
_ENDS = {end: setting(f"frepo+drop_{end}").colour for end in ("easy", "hard")}


def compute(study: Study, images_per_class: int | None = None) -> pd.DataFrame:
    """Return ``table_of`` for ``mean_scores`` by the FRePo sets; empty without any."""
    size = check_study(study).size(images_per_class)
    runs = study.runs([BASE], size).values()
    if not runs:
        return pd.DataFrame()
    ranked = mean_scores(study, [run.distilled for run in runs])
    return table_of(study, ranked).assign(images_per_class=size, sets=len(runs))


@typed
def mean_scores(
    study: Study, sets: Sequence[DistilledSet], *, networks: int = NETWORKS
) -> np.ndarray:
    """Return the mean score of each real training image, [n]; large is hard.

    As in a run, an image is scored by ridge regression on a distilled set, in features of
    a network that is trained on that set. The mean is over the sets and, for each, over
    ``networks`` networks: a single one says as much about itself as about the images.

    Source: docs/algorithms.md, sections 4.1 and 6.1.
    """
    jobs = [
        (distilled, 1000 * index + network)
        for index, distilled in enumerate(sets)
        for network in range(networks)
    ]
    scored = study.map(
        lambda job: read_and_score(study, *job)[1], jobs, "scores of the real images"
    )
    return np.mean(scored, axis=0)


@typed
def table_of(study: Study, ranked: np.ndarray) -> pd.DataFrame:
    """Return easy, borderline and hard images, and the classes of what is dropped.

    ``ranked`` is the score of each training image, large for hard ones, [n].

    Returns:
        Rows of two kinds (column ``kind``). "image": ``group`` ("easiest", "borderline"
        around the cut of the easy end, "hardest"), ``index`` among the training images,
        ``label``, ``score`` and ``pixels``. "class": ``end`` ("easy" or "hard"), and the
        columns of ``score_histogram.composition``.
    """
    dataset = study.dataset
    count = min(_SHOWN, len(ranked) // 4)
    groups = {
        "easiest": ranking.easiest(ranked, count),
        "borderline": ranking.borderline(ranked, count, fraction=FRACTION),
        "hardest": ranking.hardest(ranked, count),
    }
    names, train = np.array(dataset.class_names), dataset.train
    images = [
        pd.DataFrame(
            {
                "kind": "image", "group": group, "index": index,
                "label": names[train.labels[index]], "score": ranked[index],
                "pixels": list(train.images[index].astype(np.float32) / 255),
            }
        )
        for group, index in groups.items()
    ]  # fmt: skip
    classes = [
        composition(ranked, dataset, fraction=FRACTION, end=end).assign(
            kind="class", end=end
        )
        for end in _ENDS
    ]
    table = pd.concat([*images, *classes], ignore_index=True)
    return table.assign(dataset=dataset.name, fraction=FRACTION)


@takes_table(_COLUMNS)
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    classes = table[table.kind == "class"]
    p_values = classes.groupby("end").p_value.first()
    one = table.iloc[0]
    easy, hard = (
        "< 0.001" if p_values[end] < 0.001 else f"= {p_values[end]:.3f}"
        for end in _ENDS
    )
    size = format_images_per_class(one.images_per_class)
    return (
        f"{one.dataset}, mean scores by FRePo sets of {size}, {int(one.sets)} seeds and "
        f"{NETWORKS} networks trained on each. (a) The easiest training images, (b) those "
        "around the cut, (c) the hardest. (d), (e) Classes of the easiest and hardest "
        f"{100 * one.fraction:g} %; dashes are the numbers expected if classes did not "
        f"matter (chi-square: easy p {easy}, hard p {hard})."
    )


@drawing(
    {"aa": 0.85, "bb": 0.85, "cc": 0.85, "de": 1.6}, caption=caption, columns=_COLUMNS
)
def draw(panels: Panels, table: pd.DataFrame) -> None:
    """Draw the images by difficulty, and the classes of what is dropped."""
    images = table[table.kind == "image"]
    classes = table[table.kind == "class"]
    groups = images.groupby("group", sort=False)
    for ax, (name, group) in zip(panels[:3], groups, strict=True):
        pixels = np.stack(list(group.pixels))
        rows = [
            ImageRow(pixels[at : at + _PER_ROW])
            for at in range(0, len(pixels), _PER_ROW)
        ]
        plot_grid(ax, rows)
        ax.set_title(f"{name} images")
    for ax, (end, colour) in zip(panels[3:], _ENDS.items(), strict=True):
        mine = classes[classes.end == end].head(20)
        positions = range(len(mine))
        ax.bar(positions, mine.dropped, color=colour)
        ax.plot(positions, mine.expected, "_", color="black", ms=11, mew=1.5)
        is_long = mine.label.str.len().max() > 2
        ax.set_xticks(positions, mine.label, rotation=60 if is_long else 0)
        ax.set_title(f"the {end} {100 * classes.fraction.iloc[0]:g} %, by class")
        ax.set_ylabel("images")
