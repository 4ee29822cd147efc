"""Tables 6 and 7: bars of both predictors at every size, with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import vertices
from hand_tables import table6_table
from tiny_study import three_digits, tiny_study

from isa_toolkit.datasets import Dataset
from isa_toolkit.figures import table6
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.variants import setting

pytestmark = pytest.mark.slow


def test_the_bars_show_exactly_the_table():
    table = table6_table()
    figure = table6.draw(table)
    rows = table[table.seed.isna() & table.against.isna()]
    keys = ["random", "frepo", "isa"]
    for ax, predictor in zip(figure.axes, ("network", "ridge"), strict=True):
        mine = rows[rows.predictor == predictor].set_index(
            ["setting", "images_per_class"]
        )
        expected = [mine.loc[(key, size)] for key in keys for size in (1, 10)]
        heights = [bar.get_height() for bar in ax.patches]
        assert heights == [row.value for row in expected]
        assert {bar.get_y() for bar in ax.patches} == {0}
        ends = np.concatenate([vertices(part)[:, 1] for part in ax.collections])
        wanted = [end for row in expected for end in (row.low, row.high)]
        assert ends == pytest.approx(wanted)
        # Each error bar in the middle of its bar, bars of one size side by side.
        middles = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
        at = np.concatenate([vertices(part)[::2, 0] for part in ax.collections])
        assert at == pytest.approx(middles)
        assert [round(middle) for middle in middles] == [0, 1] * 3
        assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "10"]
        assert ax.get_ylim() == (0, 100)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [setting(key).label for key in keys]


def test_random_real_is_what_each_seed_starts_from(tiny):
    table = table6.compute(tiny)
    assert sorted(table.images_per_class.unique()) == [1, 10]
    assert set(table.setting) == {"random", "frepo", "isa"}
    random = table[(table.setting == "random") & table.seed.notna()]
    # Two sizes, two seeds, two predictors.
    assert len(random) == 8
    from isa_toolkit.figures import fig8

    start = fig8.compute(tiny)
    start = start[(start.x == 0) & (start.setting == "frepo") & start.seed.notna()]
    one = random[random.images_per_class == 1]
    pairs = [
        {(row.seed, row.predictor, row.value) for row in part.itertuples()}
        for part in (one, start)
    ]
    assert pairs[0] == pairs[1]


def test_table_7_is_table_6_of_an_imagenet_subset(tiny):
    item = ITEMS["table7"]
    assert item.figure is table6
    assert item.pictures("table7", tiny) == {}
    digits = three_digits()
    train, test = digits.train, digits.test
    subset = Dataset.from_arrays(
        train.images, train.labels, test.images, test.labels, name="imagenette"
    )
    study = tiny_study(tiny.folder, dataset=subset, run_missing=False)
    assert item.pictures("table7", study) == {"table7": {}}
