"""The house style holds while a figure is drawn or saved, and not a moment longer."""

from __future__ import annotations

import io

import matplotlib as mpl
import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

from isa_toolkit.figures import snapshots, training_curves
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.style import house_style, new_figure, png, save
from isa_toolkit.figures.variants import Variant


def drawings(run):
    return {
        "grid": lambda: draw_grid([ImageRow(np.zeros((2, 4, 4, 1)), "a")], titles="ab"),
        "snapshots": lambda: snapshots.draw(snapshots.table_of(run)),
        "run": lambda: training_curves.plot_run(run),
    }


@pytest.mark.slow
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


def test_a_notebook_shows_a_figure_once_with_its_caption():
    lines = {
        "plain": "draw(table)",
        "inline": "%matplotlib inline\nimport matplotlib.pyplot as plt\ndraw(table)",
        "own": "_, axes = plt.subplots(1, 2)\ndraw(table, ax=axes)",
    }
    setup = (
        "import pandas as pd\n"
        "from isa_toolkit.figures.style import drawing\n"
        "def plot(panels, table):\n    panels[0].plot(table.x)\n"
        "draw = drawing({'ab': 1}, caption=lambda table: f'{len(table)} < 4')(plot)\n"
        "table = pd.DataFrame({'x': [1, 2, 3]})"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in (setup, *lines.values())]
    made = nbclient.execute(
        nbformat.v4.new_notebook(cells=cells), kernel_name="python3"
    )
    outputs = [cell.outputs for cell in made.cells]
    assert outputs[0] == []
    for shown in outputs[1:3]:
        picture, caption = (output.data for output in shown)
        assert list(picture) == ["image/png"]
        assert "3 &lt; 4" in caption["text/html"]
    [shown] = outputs[3]
    assert "image/png" in shown.data


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
