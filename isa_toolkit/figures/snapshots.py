"""Distilled images during the distillation: one image per class at every stored step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isa_toolkit.annotations import takes_table, typed
from isa_toolkit.distillation import Run
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.study import Study, check_study
from isa_toolkit.figures.style import plain_texts
from isa_toolkit.figures.variants import Variant, setting

VARIANTS = (Variant("frepo"), Variant("isa"))


def compute(study: Study, images_per_class: int | None = None) -> pd.DataFrame:
    """Return ``table_of`` for FRePo and ISA (column ``setting``), seed 0; empty without runs.

    The default size is the smallest of the study.
    """
    size = check_study(study).sizes[0] if images_per_class is None else images_per_class
    runs = study.runs(VARIANTS, size).items()
    tables = [
        table_of(run).assign(setting=variant.key, dataset=study.dataset.name)
        for (variant, seed), run in runs
        if seed == 0
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@typed
def table_of(run: Run) -> pd.DataFrame:
    """Return the first distilled image of each class at every stored step of a run.

    One row per image: ``step``, ``label`` (name of its class) and ``pixels`` ([h, w, ch],
    whitening undone, clipped to [0, 1]; not in the CSV).
    """
    tables = []
    for step in run.snapshots:
        distilled = run.distilled_at(step)
        count = len(distilled.images) // len(distilled.class_names)
        pixels = list(distilled.to_pixels()[::count])
        labels = list(distilled.class_names)
        tables.append(pd.DataFrame({"step": step, "label": labels, "pixels": pixels}))
    return pd.concat(tables, ignore_index=True)


@takes_table(["step", "label", "pixels"])
def draw(table: pd.DataFrame, **how: Any) -> Any:
    """Return a figure of the images, a row per setting and step.

    ``how`` is passed to ``draw_grid``.
    """
    titles = list(plain_texts(table.drop_duplicates("label")).label)
    rows = rows_of(table)
    return draw_grid(rows, titles=titles, caption=lambda: caption(table), **how)


@takes_table(["step", "label", "pixels"])
def rows_of(table: pd.DataFrame) -> list[ImageRow]:
    """Return the images as rows of a grid, one per setting and step."""
    rows = []
    keys = ["setting", "step"] if "setting" in table else ["step"]
    for (*key, step), part in table.groupby(keys, sort=False):
        label, colour = f"step {step}", "black"
        if key:
            look = setting(key[0])
            colour = look.colour
            label = f"{look.label}\n{label}" if step == 0 else label
        rows.append(ImageRow(np.stack(list(part.pixels)), label, colour))
    return rows


@takes_table(["step", "label", "pixels"])
def caption(table: pd.DataFrame) -> str:
    """Return the caption of a table from ``compute``."""
    data = f"{table.dataset.iloc[0]}, one" if "dataset" in table else "One"
    return (
        f"{data} image per class at several steps, seed 0. Step 0 is "
        "real images. Learned images are not confined to the pixel range; they are clipped "
        "to it here."
    )
