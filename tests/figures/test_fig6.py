"""Figure 6: every point of the table once, in its panel and colour; measures by seed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hand_tables import fig6_table
from PIL import Image

from isa_toolkit.figures import fig6
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import setting

pytestmark = pytest.mark.slow


def test_the_panels_show_exactly_the_points():
    table = fig6_table()
    figure = fig6.draw(table)
    keys = list(dict.fromkeys(table.setting))
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [setting(key).label for key in keys]
    for ax, key in zip(panels, keys, strict=True):
        drawn = [part.get_offsets().tolist() for part in ax.collections]
        expected = [
            mine[mine.kind == kind][["x", "y"]].to_numpy().tolist()
            for label in ("zero", "one", "two")
            for mine in [table[(table.setting == key) & (table.label == label)]]
            for kind in ("real", "distilled")
        ]
        assert drawn == expected
        colours = [tuple(part.get_facecolor()[0][:3]) for part in ax.collections]
        assert colours[::2] == colours[1::2]
        assert len(set(colours)) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["zero", "one", "two"]


def test_each_star_is_where_it_is_said_to_be():
    table = fig6_table()
    figure = fig6.draw(table)
    picture = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))
    places = fig6.star_positions(figure, table)
    stars = table[table.kind == "distilled"]
    assert places.setting.tolist() == stars.setting.tolist()
    assert places.star.tolist() == 3 * list(range(6))
    colours = dict(zip(("zero", "one", "two"), fig6._CLASS_COLOURS, strict=True))
    height, width = picture.shape[:2]
    for row in places.itertuples():
        dot = picture[int(row.top * height), int(row.left * width)]
        assert dot.tolist() == list(bytes.fromhex(colours[row.label][1:]))


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
    assert list(made) == ([tuple(keys)] if mode == "anchored" else [(k,) for k in keys])
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
