"""The house style holds while a figure is drawn or saved, and not a moment longer."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from drawn import marks
from PIL import Image
from tiny_study import three_digits

from isa_toolkit.figures import demo, quickstart
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.style import COLOURS, house_style, new_figure, png, save
from isa_toolkit.figures.variants import SETTINGS, Variant


def curve_table():
    return pd.DataFrame(
        {"images_per_class": 1, "setting": name, "seed": 0, "step": step,
         "predictor": "network", "network": 0, "accuracy": 0.5}
        for name in ("FRePo", "FRePo + crucial + ISA", "Whole training set")
        for step in (0, 10)
    )  # fmt: skip


def bars_table():
    return pd.DataFrame(
        {
            "set": ["distilled", "random real"], "network": [80.0, 60.0],
            "network ±": [2.0, np.nan], "ridge": [70.0, 50.0], "ridge ±": [1.0, 3.0],
        }
    )  # fmt: skip


def drawings(run):
    runs = {(1, name, 0): run for name in ("FRePo", "FRePo + crucial + ISA")}
    study = demo.Study(curve_table(), runs, three_digits())
    return {
        "grid": lambda: draw_grid([ImageRow(np.zeros((2, 4, 4, 1)), "a")], titles="ab"),
        "demo curve": lambda: demo.draw_curve(curve_table()),
        "demo images": lambda: demo.draw_images(study),
        "quickstart images": lambda: quickstart.draw_images(run),
        "quickstart bars": lambda: quickstart.draw_accuracies(bars_table()),
    }


def test_pictures_heed_no_settings_of_the_reader_and_change_none(tiny):
    run = tiny.runs([Variant("frepo")], 1)[Variant("frepo"), 0]
    for draw in drawings(run).values():
        first = draw()
        with mpl.rc_context({"font.size": 33, "axes.linewidth": 7, "figure.dpi": 31}):
            before = dict(mpl.rcParams)
            second = draw()
            content = png(second)
            assert dict(mpl.rcParams) == before
        assert png(first) == content
        assert first.dpi == 200


def test_the_readers_settings_return_after_an_error_too():
    @house_style
    def fail():
        assert mpl.rcParams["font.size"] == 8.5
        mpl.rcParams["font.size"] = 3
        raise RuntimeError("while drawing")

    with mpl.rc_context({"font.size": 33}):
        with pytest.raises(RuntimeError, match="while drawing"):
            fail()
        assert mpl.rcParams["font.size"] == 33


def test_files_are_whole_and_the_same_every_time(tmp_path):
    @house_style
    def draw():
        figure = new_figure(2, 1)
        figure.subplots().plot([0, 1], [2, 3])
        return figure

    for name in ("one", "two"):
        save(draw(), tmp_path / name)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["one.pdf", "one.png", "two.pdf", "two.png"]
    for suffix in (".png", ".pdf"):
        first, second = (
            (tmp_path / name).with_suffix(suffix) for name in ("one", "two")
        )
        assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "one.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(io.BytesIO(png(draw()))) as image:
        assert image.size == (400, 200)


def test_the_quickstarts_bars_are_its_table():
    figure = quickstart.draw_accuracies(bars_table())
    widths = [[bar.get_width() for bar in ax.patches] for ax in figure.axes]
    assert widths == [[80, 60], [70, 50]]
    [first, _] = figure.axes
    ends = {round(float(x), 6) for part in first.collections
            for line in part.get_segments() for x in line[:, 0]}  # fmt: skip
    # A width that one network cannot tell is none.
    assert ends == {78.0, 82.0, 60.0}
    assert marks(figure)


def test_the_quickstart_spends_what_its_notebook_shows():
    quick = quickstart.settings("quick")
    assert (quick.steps, quick.width, quick.batch_size) == (400, 16, 256)
    assert (quick.learning_rate, quick.networks) == (3e-3, 3)
    assert quick.fit is not None
    assert (quick.fit.steps, quick.fit.learning_rate) == (400, 1e-3)
    paper = quickstart.settings("paper")
    assert (paper.learning_rate, paper.networks, paper.fit) == (3e-4, 5, None)
    with pytest.raises(ValueError, match=r"scale must be one of .*, got 'huge'"):
        quickstart.settings("huge")


def test_one_thing_has_one_colour_in_all_figures():
    labels = {one.label: one.colour for one in SETTINGS.values()}
    for name in set(labels) & set(COLOURS):
        assert labels[name] == COLOURS[name]
    assert len(set(labels) & set(COLOURS)) == 3
