# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false
"""Which real images are easy and which are hard, and what dropping takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isa_toolkit.analysis import ranking
from isa_toolkit.figures.images import ImageRow, sheet
from isa_toolkit.figures.information import BASE, SHARE, read, scores
from isa_toolkit.figures.results_table import per_class
from isa_toolkit.figures.study import Study
from isa_toolkit.figures.style import house_style, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TITLE", "caption", "compute", "draw", "of"]

TITLE = "Easy and hard samples"
_SHOWN = 40
_PER_ROW = 20
_ENDS = {"easy": "#E69F00", "hard": "#009E73"}
_GROUPS = ("easiest", "borderline", "hardest")


def compute(
    study: Study, images_per_class: int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Return easy, borderline and hard images, and the classes of what is dropped.

    Args:
        study: the data and the runs.
        images_per_class: of the FRePo set that scores; None for ``study.many``.
        seed: of that set.

    Returns:
        See ``of``; empty if there is no such run.
    """
    import pandas as pd

    size = study.many if images_per_class is None else images_per_class
    runs = study.runs([BASE], size)
    if (BASE, seed) not in runs:
        return pd.DataFrame()
    distilled = runs[BASE, seed].distilled
    network, real = read(study, distilled, seed)
    ranked = scores(network, distilled, real, study.dataset.targets("train"))
    return of(study, ranked).assign(images_per_class=size)


def of(study: Study, ranked: np.ndarray, *, share: float = SHARE) -> pd.DataFrame:
    """Return the table of any scores of the training images.

    Args:
        study: the data.
        ranked: one score per training image, large is hard, [n].
        share: of the images that is dropped.

    Returns:
        Rows of two kinds (column ``kind``). "image": ``group`` ("easiest", "borderline":
        around the cut of the easy end, "hardest"), ``index`` among the training images,
        ``label``, ``score`` and ``pixels``. "class": ``end`` ("easy" or "hard"), ``label``,
        ``dropped`` and ``expected`` (numbers of images), ``residual`` (adjusted
        standardised) and ``p_value`` (of all classes together).
    """
    import pandas as pd

    dataset = study.dataset
    count = min(_SHOWN, len(ranked) // 4)
    groups = {
        "easiest": ranking.easiest(ranked, count),
        "borderline": ranking.borderline(ranked, count, fraction=share),
        "hardest": ranking.hardest(ranked, count),
    }
    rows: list[dict[str, Any]] = [
        {
            "kind": "image",
            "group": group,
            "index": int(place),
            "label": dataset.class_names[dataset.train.labels[place]],
            "score": float(ranked[place]),
            "pixels": dataset.train.images[place].astype(np.float32) / 255,
        }
        for group, places in groups.items()
        for place in places
    ]
    for end in _ENDS:
        found = ranking.class_composition(
            ranked, dataset.train.labels, fraction=share, end=end
        )
        rows += [
            {
                "kind": "class",
                "end": end,
                "label": dataset.class_names[label],
                "dropped": int(dropped),
                "expected": float(expected),
                "residual": float(residual),
                "p_value": found.p_value,
            }
            for label, dropped, expected, residual in zip(
                found.classes,
                found.dropped,
                found.expected,
                found.residuals,
                strict=True,
            )
        ]
    return pd.DataFrame(rows).assign(dataset=dataset.name, share=share)


@house_style
def draw(table: pd.DataFrame) -> Figure:
    """Return the figure: images by difficulty above, classes of what is dropped below.

    Args:
        table: from ``compute``.

    Returns:
        The figure.
    """
    images = table[table.kind == "image"]
    classes = table[table.kind == "class"]
    is_gray = images.pixels.iloc[0].shape[-1] == 1
    figure = new_figure(6.6, 3.9)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.7, 1])
    for ax, group in zip(top.subplots(3, 1), _GROUPS, strict=True):
        pixels = np.stack(list(images[images.group == group].pixels))
        lines = [
            ImageRow(pixels[at : at + _PER_ROW])
            for at in range(0, len(pixels), _PER_ROW)
        ]
        ax.imshow(sheet(lines, dark_ink=is_gray), interpolation="none")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(group, rotation=0, ha="right", va="center")
    for ax, (end, colour) in zip(bottom.subplots(1, 2), _ENDS.items(), strict=True):
        mine = classes[classes.end == end].head(20)
        places = range(len(mine))
        ax.bar(places, mine.dropped, color=colour)
        ax.plot(places, mine.expected, "_", color="black", ms=11, mew=1.5)
        is_long = mine.label.str.len().max() > 2
        ax.set_xticks(places, mine.label, rotation=60 if is_long else 0)
        share = 100 * classes["share"].iloc[0]
        ax.set_title(f"the {end} {share:g} %, by class")
        ax.set_ylabel("images")
    return figure


def caption(table: pd.DataFrame) -> str:
    """Return what the figure shows.

    Args:
        table: from ``compute``.
    """
    classes = table[table.kind == "class"]
    p_values = classes.groupby("end").p_value.first()
    one = table.iloc[0]
    easy, hard = (_p(p_values[end]) for end in _ENDS)
    return (
        f"{one.dataset}, scored by a FRePo set of {per_class(one.images_per_class)}, seed 0. "
        "Above: the easiest training images, those around the cut, and the hardest. Below: "
        f"classes of the easiest and hardest {100 * one.share:g} %; dashes are what no "
        f"preference for a class would drop (chi-square: easy p {easy}, hard p {hard})."
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
