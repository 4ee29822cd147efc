"""Strips: each seed, mean and difference at its place, with its interval."""

from __future__ import annotations

import pytest
from drawn import points
from hand_tables import cost_table, fig3c_table, information_table, recall_table

from isa_toolkit.figures import cost, information, recall
from isa_toolkit.figures.comparisons import FIG3C
from isa_toolkit.figures.variants import setting


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
