"""Cost: every number follows from the seconds, which two compiled loops give in turns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny_study import tiny_study

from isa_toolkit.analysis.intervals import mean_interval, paired_interval
from isa_toolkit.figures import cost

SECONDS = {"frepo": [0.010, 0.030, 0.020], "isa": [0.011, 0.036, 0.022]}


def test_the_rows_follow_from_the_seconds(tiny, monkeypatch):
    reported = []

    class Timed:
        def __init__(self, experiment):
            self.key = "isa" if experiment.method.drop_easy else "frepo"
            self.size = experiment.images_per_class

        def run(self, steps):
            reported.append((self.size, self.key, steps))

    def take_turns(functions, rounds):
        rows = [
            {"name": key, "round": index, "wall": SECONDS[key][index] * cost._STEPS}
            for index in range(rounds)
            for key, function in functions.items()
            for _ in [function()]
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(cost, "TimedLoop", Timed)
    monkeypatch.setattr(cost, "take_turns", take_turns)
    monkeypatch.setattr(cost, "_REPEATS", 3)
    table = cost.compute(tiny)
    # In turns, so that what else the machine does strikes both.
    assert reported == [
        (size, key, cost._STEPS)
        for size in (1, 10)
        for _ in range(1 + 3)  # first both are compiled
        for key in SECONDS
    ]
    one = table[table.images_per_class == 1]
    assert len(one) * 2 == len(table)
    for key, seconds in SECONDS.items():
        for name, unit in (
            ("milliseconds_per_step", 1e3), ("hours_500k_steps", 500_000 / 3600),
        ):  # fmt: skip
            mine = one[(one.setting == key) & (one.quantity == name)]
            assert list(mine[mine.seed.notna()].value) == pytest.approx(
                [unit * value for value in seconds]
            )
            [mean] = mine[mine.seed.isna() & mine.against.isna()].itertuples()
            expected = mean_interval(unit * np.array(seconds))
            assert (mean.value, mean.low, mean.high) == pytest.approx(
                (expected.mean, expected.low, expected.high)
            )
            assert (mean.n, mean.over) == (3, "repeats")
    paired = one[one.against.notna() & (one.quantity == "milliseconds_per_step")]
    [difference] = paired.itertuples()
    expected = paired_interval(
        *(1e3 * np.array(SECONDS[key]) for key in ("isa", "frepo"))
    )
    assert (difference.setting, difference.against) == ("isa", "frepo")
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert difference.over == "paired repeats"
    ratio = one[(one.quantity == "isa_over_frepo_ratio") & one.seed.notna()]
    assert list(ratio.value) == pytest.approx([1.1, 1.2, 1.1])
    assert "1 per class 1.13 [" in cost.caption(table)


@pytest.mark.slow
def test_compiled_loops_are_timed(tiny):
    only = tiny_study(tiny.folder, scale=tiny.budget._replace(steps={1: 4}))
    table = cost.compute(only)
    assert (table[table.seed.notna()].value > 0).all()
    assert table.seed.nunique() == 2
    plain = cost.VARIANTS[0].method(1e-3)
    assert (plain.partner, plain.drop_easy, plain.segment) == ("none", 0, (0, 0))
