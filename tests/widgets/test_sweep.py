"""The panel of a sweep shows the plan, what becomes of it, and whoever launched it."""

from __future__ import annotations

import json

import pytest
from long_run import long_run, wait_for
from stand_in_workers import (
    DONE,
    WAITS,
    Background,
    is_gone,
    stand_ins,
    states,
    three,
    worker_pids,
)

from isa_toolkit.sweeps import Sweep, plan
from isa_toolkit.sweeps.sweep import write
from isa_toolkit.widgets import SweepPanel

pytestmark = pytest.mark.slow


def test_before_a_launch_the_plan_is_shown_with_what_it_costs(tmp_path):
    made = three(tmp_path)
    panel = SweepPanel(made)
    assert panel.sweep is None
    assert all(run.name in panel.table.value for run in made.runs)
    assert "Time: unknown" in panel.details.value
    assert panel.controls["stop"].disabled
    panel.stop.click()
    assert panel.message == "Nothing runs."
    panel.attach.click()
    assert panel.error.startswith("There is no sweep in")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="engine must be one of"):
        SweepPanel(made, engine="dask")
    with pytest.raises(ValueError, match="poll_s must be above 0"):
        SweepPanel(made, poll_s=0)


def test_without_a_plan_it_only_watches(tmp_path, monkeypatch):
    panel = SweepPanel(out=tmp_path / "runs")
    assert "slots" not in panel.controls
    assert "No sweep is watched yet. Attach to a sweep of runs/." in panel.details.value
    panel.run.click()
    assert panel.error.startswith("There is no plan. Attach to a sweep of")
    stand_ins(tmp_path, monkeypatch, f"[ $SEED = 1 ] && exit 1; {DONE}")(retries=0)
    panel.refresh_list.click()
    assert panel.found.options == (("three (failed)", "three"),)
    panel.attach.click()
    panel.check()
    assert "three: failed: 2 done, 1 failed. Launch tries again" in panel.details.value
    assert "exit code 1" in panel.details.value
    assert panel.bar.bar_style == "danger"


def test_what_another_process_has_launched_is_watched_and_cancelled(
    tmp_path, monkeypatch
):
    start = stand_ins(tmp_path, monkeypatch, WAITS)
    launched = Background(lambda: start(slots=2))
    path = three(tmp_path / "runs").path
    pids = wait_for(lambda: len(worker_pids(path)) >= 2 and worker_pids(path))
    there = Sweep(path)
    panel = SweepPanel(three(tmp_path / "runs"), poll_s=0.05)
    assert panel.sweep.path == there.path
    wait_for(lambda: "2 starting, 1 queued" in panel.details.value)
    assert panel.controls["run"].disabled
    panel.stop.click()
    launched.join(20)
    panel.join(20)
    panel.check()
    assert "three: " in panel.details.value
    assert all(map(is_gone, pids))
    assert not panel.controls["run"].disabled


def test_a_launch_is_a_process_of_its_own_that_any_panel_can_follow(whole, tmp_path):
    made = plan(long_run(), out=tmp_path, name="one")
    panel = SweepPanel(made, poll_s=0.05, retries=3)
    panel.slots.value = 2
    panel.run.click()
    panel.wait(120)
    panel.check()
    other = SweepPanel(out=tmp_path, poll_s=0.05)
    other.attach.click()
    other.check()
    for one in (panel, other):
        one.join(120)
        one.check()
        assert one.bar.value == 1.0
        assert one.bar.bar_style == "success"
        assert "one: done: 1 done." in one.details.value
    assert states(panel.sweep) == ["done"]
    stored = json.loads((panel.sweep.path / "launch.json").read_text())
    assert stored["options"] == {"slots": 2, "retries": 3}
    assert panel.sweep.runs[0].path.name == whole.path.name


def test_a_sweep_of_one_name_and_another_plan_is_not_taken_for_it(tmp_path):
    made = three(tmp_path)
    write(made)
    panel = SweepPanel(made)
    assert panel.sweep is None
    assert "Time: unknown" in panel.details.value
