"""The first figure: the images of each set, and the accuracy that they give beside them."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.evaluation.baselines import kmeans_real
from isa_toolkit.figures import first
from isa_toolkit.figures import study as studies
from isa_toolkit.figures.images import ImageRow, image_sheet
from isa_toolkit.figures.variants import Variant, setting


@pytest.fixture
def table(tiny, monkeypatch):
    monkeypatch.setattr(studies, "_FULL_FIT", tiny.budget.fit)
    return first.compute(tiny)


def test_rows_are_the_images_of_seed_0_and_the_accuracies_of_the_study(table, tiny):
    run = tiny.runs([Variant("isa")], 1)[Variant("isa"), 0]
    sets = {
        "random": run.distilled_at(0),
        "kmeans": kmeans_real(tiny.dataset, 1),
        "isa": run.distilled,
    }
    for key, images in sets.items():
        mine = table[table.setting == key]
        assert list(mine.label) == ["zero", "one", "two"]
        np.testing.assert_allclose(np.stack(list(mine.pixels)), images.to_pixels())
    by_seed = tiny.accuracies([Variant("isa")], 1)
    expected = by_seed[by_seed.predictor == "network"].value
    mine = table[table.setting == "isa"].iloc[0]
    assert (mine.value, mine.n) == (pytest.approx(expected.mean()), len(expected))
    assert np.isnan(table[table.setting == "kmeans"].low).all()
    assert list(table.setting.unique()) == ["full", "random", "kmeans", "isa"]


@pytest.mark.parametrize("size", ["page", "column"])
def test_each_row_has_its_name_and_its_accuracy_in_its_colour(table, size):
    figure = first.draw(table, size=size)
    [ax] = figure.axes
    rows = [
        ImageRow(np.stack(list(part.pixels)))
        for _, part in table[table.setting != "full"].groupby("setting", sort=False)
    ]
    np.testing.assert_array_equal(ax.images[0].get_array(), image_sheet(rows))
    labels, accuracies = ax.texts[:3], ax.texts[3:]
    for key, label, text in zip(
        ("random", "kmeans", "isa"), labels, accuracies, strict=True
    ):
        look = setting(key)
        assert label.get_text().replace("\n", " ") == look.label
        assert label.get_color() == text.get_color() == look.colour
        one = table[table.setting == key].iloc[0]
        assert text.get_text().startswith(f"{one.value:.1f} %")
        assert text.xy[1] == label.xy[1]
    assert figure.get_figwidth() <= {"page": 6.75, "column": 3.25}[size] + 0.01
    figure.draw_without_rendering()
    for text in ax.texts:
        box = text.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1


def test_the_caption_is_made_from_the_numbers(table):
    text = first.caption(table)
    full = table[table.setting == "full"].value.iloc[0]
    assert "three_digits, 1 image per class" in text
    assert f"The whole training set gives {full:.1f} %." in text
