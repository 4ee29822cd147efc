"""The house style holds while a figure is drawn or saved, and not a moment longer."""

from __future__ import annotations

import io

import matplotlib as mpl
import nbclient
import nbformat
import numpy as np
import pytest
from drawn import points
from hand_tables import cost_table, fig3c_table, information_table, recall_table
from PIL import Image

from isa_toolkit.figures import cost, information, recall, snapshots, training_curves
from isa_toolkit.figures.comparisons import FIG3C
from isa_toolkit.figures.images import ImageRow, draw_grid
from isa_toolkit.figures.style import house_style, new_figure, png, save
from isa_toolkit.figures.variants import Variant, setting


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


def places(rows, keys):
    """Return where the values of the rows, and their intervals' ends, should lie."""
    return {
        (round(value, 6), place)
        for place, key in enumerate(keys)
        for row in rows[rows.key == key].itertuples()
        for value in (row.value, row.low, row.high)
        if value == value
    }


KEYS = ["frepo+drop_easy", "mixup", "single_step", "isa"]
RECALL = ["random", "frepo", "frepo+drop_easy", "frepo+drop_hard", "isa"]


def cases():
    # Name, module, table, the rows that are shown, settings from top to bottom.
    table = fig3c_table()
    yield "fig3c", FIG3C, table, table[table.predictor == "network"], KEYS
    table = recall_table()
    yield "recall", recall, table, table[table.quantity == "recall_k5"], RECALL
    table = cost_table()
    mine = table[
        (table.quantity == "milliseconds_per_step") & (table.images_per_class == 10)
    ]
    yield "cost", cost, table, mine, ["frepo", "isa"]


@pytest.mark.parametrize("case", [*cases()], ids=lambda case: case[0])
def test_strips_show_exactly_the_table(case):
    _, module, table, mine, keys = case
    left, right = module.draw(table).axes
    mine = mine.assign(key=mine.setting)
    assert points(left) == places(mine[mine.against.isna()], keys)
    # The line at 0 runs from the bottom to the top of the axes, 0 to 1.
    assert points(right) == places(mine[mine.against.notna()], keys) | {(0, 0), (0, 1)}
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert labels == [setting(key).label for key in keys]
    assert left.get_ylim() == (len(keys) - 0.5, -0.5)
    # The same setting has the same colour wherever it is drawn.
    for line in left.lines:
        for _, place in line.get_xydata():
            assert line.get_color() == setting(keys[int(place)]).colour


def test_the_information_strips_show_exactly_the_table():
    table = information_table()
    left, right = information.draw(table).axes
    keys = [information.EASY, information.RANDOM, information.HARD]
    mine = table.assign(key=table.quantity)
    assert points(left) == places(mine[mine.against.isna()], keys)
    assert points(right) == places(mine[mine.against.notna()], keys) | {(0, 0), (0, 1)}
    assert left.get_xlim()[0] == 0
