"""Snapshots: one row of images per setting and step, as they are in the table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isa_toolkit.figures import snapshots
from isa_toolkit.figures.images import image_sheet


def table():
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "dataset": "toy", "setting": key, "step": step, "label": label,
            "pixels": [draw.random((4, 4, 1))],
        }
        for key in ("frepo", "isa")
        for step in (0, 5)
        for label in ("zero", "one")
    ).assign(pixels=lambda frame: [one[0] for one in frame.pixels])  # fmt: skip


def test_the_grid_has_a_row_per_setting_and_step():
    some = table()
    [axes] = snapshots.draw(some).axes
    texts = [text.get_text() for text in axes.texts]
    assert texts == [
        "FRePo\nstep 0", "step 5", "FRePo + crucial + ISA\nstep 0", "step 5", "zero", "one",
    ]  # fmt: skip
    rows = snapshots.rows_of(some)
    np.testing.assert_array_equal(rows[1].images, np.stack(list(some.pixels[2:4])))
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(shown, image_sheet(rows))
    assert snapshots.caption(some).startswith("toy, one image per class")


def test_one_run_has_a_row_per_step_without_a_setting():
    one = table().query("setting == 'isa'").drop(columns="setting")
    assert [row.label for row in snapshots.rows_of(one)] == ["step 0", "step 5"]
