"""Every item draws the numbers of its table, and makes none."""

from __future__ import annotations

import importlib
import pkgutil

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn import marks, moved
from hand_tables import TABLES, fig5_table
from tiny_study import three_digits

import isa_toolkit.figures
from isa_toolkit.figures.registry import DEMO, ITEMS

MODULES = {name: ITEMS[name].figure for name in TABLES}
# Whose tables are rows of numbers, of several seeds or of one.
ROWS = [
    "fig3c",
    "fig5",
    "fig8",
    "table6",
    "dd_ranking",
    "recall",
    "information",
    "cost",
]


def figure_modules():
    found = pkgutil.iter_modules(isa_toolkit.figures.__path__, "isa_toolkit.figures.")
    return [importlib.import_module(module.name) for module in found]


@pytest.mark.parametrize("name", TABLES)
def test_draw_makes_no_numbers_and_needs_no_study(monkeypatch, name):
    table = TABLES[name]()
    lines = len(table)

    def refuse(*_, **__):
        raise AssertionError("a number was made while drawing")

    makers = (
        "isa_toolkit.analysis",
        "isa_toolkit.evaluation",
        "isa_toolkit.distillation",
    )
    patched = 0
    for module in figure_modules():
        for key, value in vars(module).copy().items():
            source = getattr(value, "__module__", None) or ""
            is_maker = source.startswith(makers) and callable(value)
            if source == "isa_toolkit.figures.results_table" or is_maker:
                monkeypatch.setattr(module, key, refuse)
                patched += 1
    assert patched > 20
    for kind in ("mean", "median", "std", "sem", "var", "quantile"):
        monkeypatch.setattr(type(table), kind, refuse)
        monkeypatch.setattr(type(table["dataset"]), kind, refuse)
    figure = MODULES[name].draw(table)
    assert sum(map(len, marks(figure))) > 0 or figure.axes[0].images
    assert len(table) == lines


@pytest.mark.parametrize("name", TABLES)
def test_drawing_leaves_the_readers_settings_alone_and_heeds_none(name):
    table = TABLES[name]()
    before = dict(mpl.rcParams)
    first = MODULES[name].draw(table)
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 40, "lines.linewidth": 9, "figure.dpi": 30}):
        second = MODULES[name].draw(table)
    assert second.dpi == first.dpi == 200
    for one, other in zip(first.axes, second.axes, strict=True):
        assert one.xaxis.label.get_size() == other.xaxis.label.get_size() == 8.5
        sizes = [line.get_linewidth() for line in one.lines]
        assert sizes == [line.get_linewidth() for line in other.lines]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("column", ["value", "low"])
def test_one_number_of_the_table_moves_its_mark_and_no_other(name, column):
    module, table = MODULES[name], TABLES[name]()
    before = marks(module.draw(table))
    shown = 0
    of_means = table[table.seed.isna()].index
    chosen = of_means[:: max(1, len(of_means) // 4)]
    if column == "value":
        # One of a seed, too.
        chosen = [*chosen, table[table.seed.notna()].index[-1]]
    for place in chosen:
        other = table.copy()
        other.loc[place, column] -= 0.125
        changed = moved(before, marks(module.draw(other)))
        shown += bool(changed)
        for step in changed:
            # By as much as the table says, along one axis, and nothing else of it.
            amounts = np.unique(np.round(step[np.abs(step) > 1e-9], 6))
            assert amounts.tolist() == [-0.125]
        if column == "value":
            assert len(changed) <= 1
    assert shown > 0


def test_every_row_that_a_figure_is_about_is_drawn():
    """Each mean of the network's accuracy moves a mark; the ridge predictor's none."""
    table = fig5_table()
    draw = MODULES["fig5"].draw
    before = marks(draw(table))
    for place in table[table.seed.isna()].index:
        other = table.copy()
        other.loc[place, "value"] += 1
        changed = moved(before, marks(draw(other)))
        assert len(changed) == (table.predictor[place] == "network")


@pytest.mark.parametrize("name", ROWS)
def test_one_seed_has_no_interval_and_is_drawn_all_the_same(name):
    table = TABLES[name](seeds=1)
    assert table[table.seed.isna() & table.against.isna()].low.isna().all()
    MODULES[name].draw(table).canvas.draw()
    assert "1 seed" in MODULES[name].caption(table) or name in ("cost", "fig5")


@pytest.mark.parametrize("name", [*ROWS, "fig6"])
def test_a_table_with_gaps_is_drawn(name):
    table = TABLES[name]()
    if name == "information":
        part = table[table.quantity != "mse_random_20_from_80"]
    else:
        part = table[table.setting == table.setting.iloc[-1]]
    MODULES[name].draw(part).canvas.draw()
    assert MODULES[name].caption(part)


@pytest.mark.parametrize("name", [*ROWS, "fig7"])
def test_axes_of_the_user_get_the_same_marks_and_no_letters(name):
    module, table = MODULES[name], TABLES[name]()
    own = module.draw(table)
    figure, axes = plt.subplots(1, len(own.axes))
    try:
        assert module.draw(table, ax=axes) is None
        for mine, theirs in zip(figure.axes, own.axes, strict=True):
            assert theirs.get_title("left") in ("a", "b", "c", "d")
            assert mine.get_title("left") == ""
            assert mine.get_xlabel() == theirs.get_xlabel()
        assert moved(marks(own), marks(figure)) == []
        with pytest.raises(
            ValueError, match=r"^ax must be [234] axes, got 1 \(Axes\)\."
        ):
            module.draw(table, ax=axes[0])
    finally:
        plt.close(figure)


@pytest.mark.parametrize("name", [*ROWS, "fig7"])
def test_a_narrow_figure_has_the_same_marks_below_each_other(name):
    module, table = MODULES[name], TABLES[name]()
    wide, narrow = (module.draw(table, size=size) for size in ("page", "column"))
    assert (wide.get_figwidth(), narrow.get_figwidth()) == (6.75, 3.25)
    assert moved(marks(wide), marks(narrow)) == []
    narrow.draw_without_rendering()
    first, *_, last = (ax.get_position() for ax in narrow.axes)
    assert first.y0 > last.y1
    page = narrow.bbox
    for ax in narrow.axes:
        box = ax.get_tightbbox()
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
    assert tuple(module.draw(table, size=(4, 3)).get_size_inches()) == (4, 3)
    with pytest.raises(ValueError, match=r"^size must be one of"):
        module.draw(table, size="broad")


@pytest.mark.parametrize("name", TABLES)
def test_captions_name_the_data(name):
    assert "toy" in MODULES[name].caption(TABLES[name]())


def test_items_are_complete(tiny):
    assert set(ITEMS) >= {*TABLES, "table7"}
    pictures = {name: list(item.pictures(name, tiny)) for name, item in ITEMS.items()}
    files = [picture for names in pictures.values() for picture in names]
    assert len(set(files)) == len(files)
    assert not set(files) & {f"{name}-numbers" for name in ITEMS}
    assert pictures["fig6"] == ["fig6-anchored", "fig6-joint"]
    assert pictures["gallery"] == ["gallery-ipc1", "gallery-ipc10"]
    assert pictures["table7"] == []
    assert len(ITEMS["fig7"].numbers(tiny, [TABLES["fig7"]()])) == 0


@pytest.mark.parametrize("name", [*ITEMS, *DEMO])
def test_a_data_set_instead_of_a_study_is_one_sentence(name):
    figure = {**ITEMS, **DEMO}[name].figure
    arguments = [1] if name == "gallery" else []
    with pytest.raises(TypeError, match=r"^study must be a Study, got Dataset\."):
        figure.compute(three_digits(), *arguments)
