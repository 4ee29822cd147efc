"""Panels on a study compute behind Run, keep what they made, and redraw at once."""

from __future__ import annotations

import errno

import pytest
from hand_tables import regime_table
from widget_study import changed

from isa_toolkit.figures import study as figures_study
from isa_toolkit.widgets import (
    Diversity,
    Information,
    Predictors,
    Regime,
    layout,
)

pytestmark = pytest.mark.slow


def ran(panel):
    panel.run.click()
    panel.wait(240)
    panel.check()
    return panel


def never(*arguments, **settings):
    raise AssertionError("a redraw asked for work")


@pytest.mark.parametrize("make", [Diversity, Information, Predictors, Regime])
def test_before_run_a_panel_says_what_to_press(make, study):
    panel = make(study)
    panel.check()
    assert "press Run" in panel.message
    assert not layout.is_picture(panel.picture.value)
    assert panel.table.value == ""
    assert all(widget.tooltip for widget in panel.controls.values())


def test_a_study_without_runs_says_so(study, tmp_path):
    empty = changed(study, folder=tmp_path, run_missing=False)
    panel = Predictors(empty)
    panel.run.click()
    panel.wait(60)
    assert panel.error.startswith("The study must hold the runs of these settings")


def test_a_full_disk_ends_the_work_in_one_line_and_run_can_be_pressed_again(
    study, tmp_path, monkeypatch
):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figures_study, "distill", full)
    panel = Predictors(changed(study, folder=tmp_path))
    for _ in range(2):
        panel.run.click()
        panel.wait(60)
        assert panel.error.startswith("The disk is full (No space left on device).")
        assert not panel.run.disabled
        assert panel.stop.disabled


def test_stop_ends_the_work_and_run_goes_on(study, tmp_path):
    panel = Predictors(changed(study, folder=tmp_path))
    panel.run.click()
    panel.stop.click()
    panel.wait(60)
    panel.check()
    assert panel.message.startswith("Stopped: ")
    assert not layout.is_picture(panel.picture.value)
    assert not list(tmp_path.glob("*/distilled.safetensors"))


def test_diversity_redraws_for_the_space_and_asks_for_k(study, monkeypatch):
    panel = ran(Diversity(study))
    features = bytes(panel.picture.value), panel.table.value
    assert panel.k.value == 5
    assert "neighbour number 5" in panel.caption.value
    with monkeypatch.context() as patch:
        patch.setattr(panel.model, "start", never)
        panel.space.value = "pixels"
        panel.check()
        assert bytes(panel.picture.value) != features[0]
        assert panel.table.value != features[1]
        assert "network inputs" in panel.caption.value
    before = bytes(panel.picture.value)
    panel.k.value = 2
    assert "press Run" in panel.message
    assert bytes(panel.picture.value) == before
    ran(panel)
    assert "neighbour number 2" in panel.caption.value
    panel.set(k=5, space="features")
    assert (bytes(panel.picture.value), panel.table.value) == features


def test_predictors_list_rows_of_either(study):
    panel = ran(Predictors(study))
    both = layout.plain_text(panel.table.value)
    panel.predictor.value = "ridge"
    ridge = layout.plain_text(panel.table.value)
    assert "network, %" in both
    assert "ridge, %" in both
    assert "network" not in ridge
    assert "FRePo + crucial + ISA" in ridge
    assert panel.table.value.count("<tr>") == 4


def test_regime_lists_each_branch_of_a_predictor(study):
    panel = Regime(study)
    panel.tables[panel.images_per_class.value,] = regime_table()
    panel.refresh()
    panel.check()
    before = bytes(panel.picture.value)
    shown = layout.plain_text(panel.table.value)
    assert "FRePo, easy dropped, step 40" in shown
    # Three branches of each of five settings.
    assert panel.table.value.count("<tr>") == 1 + 15
    panel.predictor.value = "ridge"
    panel.check()
    assert bytes(panel.picture.value) != before


def test_information_takes_any_share(study):
    panel = Information(study)
    panel.fraction.value = 0.4
    ran(panel)
    assert "Of the easiest 40 %" in panel.caption.value
    assert panel.table.value.count("<tr>") == 4
    assert panel.tables.keys() == {(0.4, 2)}
