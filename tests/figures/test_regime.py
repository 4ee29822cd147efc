"""The regime's branches start where the plain run was, and its figure shows the table."""

from __future__ import annotations

import numpy as np
import pytest
from hand_tables import regime_table

from isa_toolkit.distillation import Run
from isa_toolkit.figures import regime
from isa_toolkit.figures.variants import setting

pytestmark = pytest.mark.slow


def test_the_figure_shows_gains_against_the_accuracy_reached():
    table = regime_table()
    left, right = regime.draw(table).axes
    rows = table[table.seed.isna()]
    reached = rows[rows.quantity == regime.REACHED].set_index("x").value
    gains = rows[(rows.predictor == "network") & rows.against.notna()]
    shown = {
        (line.get_color(), *map(tuple, line.get_xydata()))
        for line in left.lines
        if line.get_marker() == "o"
    }
    expected = set()
    for one in regime.BRANCHES:
        mine = gains[gains.setting == one.key].sort_values("x")
        places = zip(reached[mine.x], mine.value, strict=True)
        expected.add((setting(one.key).colour, *places))
    assert shown == expected
    curves = [line for line in right.lines if line.get_marker() == "o"]
    for line, name in zip(curves, regime.HELD.values(), strict=True):
        mine = rows[rows.quantity == name].sort_values("x")
        assert line.get_ydata().tolist() == mine.value.tolist()


def test_branches_start_from_the_plain_run(tiny, monkeypatch):
    monkeypatch.setattr(regime, "STARTS", (0, 2))
    monkeypatch.setattr(regime, "BRANCHES", regime.BRANCHES[:1])
    monkeypatch.setattr(regime, "_READER_STEPS", 2)
    table = regime.compute(tiny)
    assert set(table.x) == {0, 2}
    runs = {run.path.name: run for run in _runs(tiny, 0)}
    by_start = {run.experiment["start_step"]: run for run in runs.values()}
    branch = by_start.pop(2)
    assert list(by_start) == [None]
    plain = next(run for run in runs.values() if run.step == 4 and run is not branch)
    assert branch.experiment["start_from"] == plain.experiment["hash"]
    assert (branch.step, branch.experiment["method"]["drop_easy"]) == (4, 0.2)
    one = table[(table.seed == 0) & (table.predictor == "batches") & (table.x == 2)]
    metrics = plain.metrics.set_index("step").target_accuracy
    by_setting = one.set_index("setting").value
    assert by_setting["frepo"] == pytest.approx(100 * metrics[4])
    held = table[table.quantity.isin(regime.HELD.values()) & table.seed.notna()]
    assert len(held) == 2 * 2 * 2
    assert np.all((held.value >= 0) & (held.value <= 100))


def _runs(study, seed):
    found = [Run.open(path.parent) for path in study.folder.glob("*/experiment.json")]
    return [
        run
        for run in found
        if run.experiment["method"].get("final_learning_rate") == 1
        and run.experiment["seed"] == seed
    ]
