"""Figure 5 shows means and paired differences at the dropped share, in percent."""

from __future__ import annotations

import pytest
from drawn import points, vertices
from hand_tables import fig5_table

from isa_toolkit.figures import fig5
from isa_toolkit.figures.variants import setting


def test_the_figure_shows_exactly_the_table():
    table = fig5_table()
    left, right = fig5.draw(table).axes
    rows = table[(table.predictor == "network") & table.seed.isna()]
    [plain] = rows[(rows.setting == "frepo")].itertuples()
    shift = {"frepo+drop_easy": -0.4, "frepo+drop_hard": 0.4}
    for ax, part, lines in (
        (left, rows[rows.against.isna() & (rows.setting != "frepo")], plain.value),
        (right, rows[rows.against.notna()], 0),
    ):
        assert len(part) == 6
        seeds = table[
            (table.predictor == "network") & table.seed.notna() & table.x.notna()
        ]
        dots = {
            (round(100 * row.x + shift[row.setting], 6), round(row.value, 6))
            for row in seeds.itertuples()
        }
        expected = (dots if ax is left else set()) | {
            (round(100 * row.x + shift[row.setting], 6), round(value, 6))
            for row in part.itertuples()
            for value in (row.value, row.low, row.high)
        }
        line = round(lines, 6)
        assert points(ax) == expected | {(0, line), (1, line)}
    [band] = left.patches
    low, high = vertices(band)[:, 1].min(), vertices(band)[:, 1].max()
    assert (low, high) == pytest.approx((plain.low, plain.high))


def test_the_legend_names_each_setting_once_in_its_colour():
    figure = fig5.draw(fig5_table())
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    keys = ["frepo", "frepo+drop_easy", "frepo+drop_hard"]
    assert names == [setting(key).label for key in keys]
    left = figure.axes[0]
    colours = {line.get_color() for line in left.lines}
    assert colours == {setting(key).colour for key in keys}


def test_the_settings_are_three_shares_from_either_end():
    shares = {
        (one.key, one.method(1e-3).drop_easy, one.method(1e-3).drop_hard): place
        for one, place in fig5.variants().items()
    }
    assert shares == {
        ("frepo", 0, 0): 0,
        **{("frepo+drop_easy", p, 0): p for p in (0.1, 0.2, 0.3)},
        **{("frepo+drop_hard", 0, p): p for p in (0.1, 0.2, 0.3)},
    }
