"""Figure 8 shows every seed, the mean and the paired difference at every step."""

from __future__ import annotations

from drawn import vertices
from hand_tables import fig8_table

from isa_toolkit.figures import fig8
from isa_toolkit.figures.variants import setting


def curve(rows):
    return [tuple(pair) for pair in rows.sort_values("x")[["x", "value"]].to_numpy()]


def test_the_figure_shows_exactly_the_table():
    table = fig8_table()
    left, right = fig8.draw(table).axes
    rows = table[table.predictor == "network"]
    expected, differences = [], []
    for key in ("frepo", "isa"):
        mine, colour = rows[rows.setting == key], setting(key).colour
        parts = [mine[mine.seed == seed] for seed in range(3)]
        parts.append(mine[mine.seed.isna() & mine.against.isna()])
        expected += [(colour, curve(part)) for part in parts]
        differences.append(mine[mine.against.notna()])
    drawn = [
        (line.get_color(), [tuple(at) for at in line.get_xydata()])
        for line in left.lines
    ]
    assert drawn == expected
    none, isa = differences
    assert len(none) == 0
    lines = [[tuple(at) for at in line.get_xydata()] for line in right.lines]
    assert curve(isa) in lines
    [band] = [part for part in right.collections if len(vertices(part))]
    shown = {(x, round(y, 6)) for x, y in vertices(band)}
    for row in isa.itertuples():
        assert {(row.x, round(row.low, 6)), (row.x, round(row.high, 6))} <= shown
    assert {y for _, y in shown} == {
        round(end, 6) for end in (*isa.low, *isa.high)
    }  # fmt: skip


def test_the_steps_are_those_that_were_stored(tiny):
    table = fig8.compute(tiny)
    mine = table[(table.predictor == "network") & (table.seed == 0)]
    assert list(mine[mine.setting == "isa"].x) == [0, 1, 2, 3, 4]
    # Both start from the same images and are evaluated by the same networks.
    start = table[(table.x == 0) & table.against.notna()]
    assert len(start) == 2
    assert (start[["value", "low", "high"]] == 0).all(axis=None)
