"""Figure 6: every point of the table once, in its panel and colour; measures by seed."""

from __future__ import annotations

import numpy as np
import pytest
from hand_tables import fig6_table

from isa_toolkit.figures import fig6
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import setting

pytestmark = pytest.mark.slow


def drawn(ax):
    return [part.get_offsets().tolist() for part in ax.collections]


@pytest.mark.parametrize("mode", fig6.MODES)
@pytest.mark.parametrize("colour_by", fig6.COLOURS)
def test_the_panels_show_exactly_the_points(mode, colour_by):
    table = fig6_table(mode)
    groups, colours = fig6.colouring(table, colour_by)
    figure = fig6.draw(table, colour_by=colour_by)
    keys = list(dict.fromkeys(table.setting))
    panels = [ax for ax in figure.axes if ax.get_visible()]
    parts = {setting(key).label: table.setting == key for key in keys}
    if (mode, colour_by) == ("anchored", "method"):
        parts = {"all methods": (table.setting == keys[0]) | (table.kind != "real")}
    assert [ax.get_title() for ax in panels] == list(parts)
    for ax, at in zip(panels, parts.values(), strict=True):
        assert drawn(ax) == [
            mine[mine.kind == kind][["x", "y"]].to_numpy().tolist()
            for name in colours
            for mine in [table[at & (groups == name)]]
            for kind in ("real", "distilled")
        ]
        lines = [line.get_xydata().tolist() for line in ax.lines]
        stars = table[at & table.start_x.notna()]
        assert lines == [
            [[row.start_x, row.start_y], [row.x, row.y]] for row in stars.itertuples()
        ]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [name for name in colours if (groups == name).any()]


def test_classes_have_their_own_colours_in_their_own_order():
    names = tuple(f"class {at}" for at in range(10))
    figure = fig6.draw(fig6_table(names=names))
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == list(names)
    assert len({fig6.class_colour(at) for at in range(100)}) == 100
    # The legend is inside the picture, with one panel too.
    for table in (fig6_table(names=names), fig6_table(names=names)[:60]):
        figure = fig6.draw(table)
        png(figure)
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_the_caption_says_which_classes_and_which_seed():
    table = fig6_table()
    assert "of the classes zero, one, two" in fig6.caption(table)
    assert "of 10 classes" in fig6.caption(
        fig6_table(names=tuple(map(str, range(10)))).assign(seed=3)
    )
    assert "seed 3" in fig6.caption(table.assign(seed=3))
    assert "a line leads" in fig6.caption(table)
    assert "a line leads" not in fig6.caption(fig6_table("joint"))


@pytest.mark.parametrize("mode", fig6.MODES)
def test_the_map_holds_every_chosen_image(tiny, monkeypatch, mode):
    from isa_toolkit.analysis import manifold

    made = {}

    def pretend(real, sets, **_):
        # The map itself is tested where it is made; here, who is where.
        made[tuple(sets)] = real
        placed = {key: points[:, :2] + 1 for key, points in sets.items()}
        return manifold.Map(real[:, :2], placed, 0.5, 1.0)

    name = "tsne_map" if mode == "anchored" else "joint_map"
    monkeypatch.setattr(manifold, name, pretend)
    table = fig6.compute(tiny, mode=mode, space="pixels", classes=(0, 2))
    keys = ["frepo", "frepo+drop_hard", "frepo+drop_easy", "isa"]
    sets = [(*keys, "start")] if mode == "anchored" else [(key,) for key in keys]
    assert list(made) == sets
    assert set(table.label) == {"zero", "two"}
    for key in keys:
        panel = table[table.setting == key]
        # 20 real images of each class at most; 10 distilled ones.
        counts = panel.groupby(["kind", "label"]).size().to_dict()
        assert counts == {
            ("real", "zero"): 20, ("real", "two"): 20, ("distilled", "zero"): 10,
            ("distilled", "two"): 10,
        }  # fmt: skip
        run = tiny.runs([fig6.Variant(key)], 10)[fig6.Variant(key), 0].distilled
        mine = run.images[np.isin(run.classes, (0, 2))].reshape(20, -1)
        stars = panel[panel.kind == "distilled"]
        np.testing.assert_array_equal(stars[["x", "y"]], mine[:, :2] + 1)
        assert stars.start_x.notna().all() == (mode == "anchored")
        real = panel[panel.kind == "real"]
        labels = tiny.dataset.train.labels[real["index"]]
        np.testing.assert_array_equal(labels, real.class_index)
        assert real.hardness.between(0, 1, inclusive="left").all()
    assert f"Mode: {mode}" in fig6.caption(table)
    assert "network inputs" in fig6.caption(table)


@pytest.mark.parametrize("name", ["mode", "space"])
def test_unknown_words_are_one_sentence(tiny, name):
    with pytest.raises(ValueError, match=f"^{name} must be one of .*, got 'other'"):
        fig6.compute(tiny, **{name: "other"})


def test_measures_are_of_every_setting_and_seed(tiny):
    table = fig6.measures(tiny)
    by_seed = table[table.seed.notna()]
    assert len(by_seed) == 4 * 2 * 3
    assert set(table.quantity) == {"overlap", "spread", "evenness"}
    assert by_seed[by_seed.quantity == "overlap"].value.between(0, 1).all()
    assert set(table[table.against.notna()].setting) == {
        "frepo+drop_hard", "frepo+drop_easy", "isa",
    }  # fmt: skip
    # One image per class has no spread, and no number is made up for it.
    assert "spread" not in set(fig6.measures(tiny, 1).quantity)
