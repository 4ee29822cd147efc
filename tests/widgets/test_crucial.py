"""The sliders select from scores that were made once; Run compares with every seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from widget_study import changed

from isa_toolkit.analysis import ranking
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import CrucialSamples, layout


@pytest.fixture(scope="module")
def panel(study):
    return CrucialSamples(study)


def test_the_share_moves_the_cut_the_images_and_the_classes(panel):
    panel.set(drop_easy=0.2, drop_hard=0.0)
    panel.check()
    before = {
        name: bytes(panel.outputs[name].value) for name in ("histogram", "easy_cut")
    }
    easiest, classes = bytes(panel.easiest.value), panel.classes.value
    panel.controls["drop_easy"].value = 0.5
    panel.check()
    for name, picture in before.items():
        assert bytes(panel.outputs[name].value) != picture
    assert panel.classes.value != classes
    # What is easy does not depend on how much of it is dropped.
    assert bytes(panel.easiest.value) == easiest
    dropped = int((~ranking.kept(panel.scores, drop_easy=0.5)).sum())
    assert f"{dropped:,} are dropped from the easy end" in panel.caption.value


def test_what_is_dropped_is_what_the_scores_say(panel, study):
    panel.set(drop_easy=0.3, drop_hard=0.0)
    words = layout.plain_text(panel.classes.value).split()
    gone = ~ranking.kept(panel.scores, drop_easy=0.3)
    labels = study.dataset.train.labels
    shares = [100 * gone[labels == label].mean() for label in range(10)]
    rows = words[words.index("%") + 1 :]
    assert [int(rows[2 * at + 1]) for at in range(10)] == [round(s) for s in shares]


def test_selecting_trains_nothing_and_takes_a_moment(panel, monkeypatch):
    def never(*arguments, **settings):
        raise AssertionError("a slider asked for work")

    monkeypatch.setattr(panel.task, "start", never)
    monkeypatch.setattr(type(panel.task.study), "runs", never)
    panel.set(drop_easy=0.1)
    times = []
    for share in np.linspace(0.1, 0.5, 9):
        began = time.perf_counter()
        panel.drop_easy.value = float(share)
        times.append(time.perf_counter() - began)
    panel.check()
    # A tenth of a second on a machine of its own; the least of nine on a shared one.
    assert min(times) < 0.3


def test_both_ends_must_leave_something(panel):
    panel.set(drop_easy=0.6, drop_hard=0.5)
    assert panel.error.startswith("drop_easy + drop_hard must be below 1, got 1.10.")
    panel.set(drop_easy=0.0, drop_hard=0.0)
    panel.check()
    assert "Nothing is dropped." in panel.classes.value
    panel.run.click()
    assert panel.error.startswith("drop_easy or drop_hard must be above 0")


@pytest.mark.slow
def test_run_compares_shares_and_overlays_them(study):
    panel = CrucialSamples(study)
    blank = bytes(panel.comparison.value)
    assert panel.seeds.value == 2
    panel.set(drop_easy=0.2, drop_hard=0.0)
    panel.run.click()
    panel.wait(120)
    panel.check()
    one = bytes(panel.comparison.value)
    assert one != blank
    assert "FRePo, easy dropped 20 %" in panel.table.value
    assert "FRePo, hard dropped" not in panel.table.value
    panel.set(drop_easy=0.3, drop_hard=0.1)
    panel.run.click()
    panel.wait(120)
    panel.check()
    text = layout.plain_text(panel.table.value)
    for words in ("easy dropped 20 %", "easy dropped 30 %", "hard dropped 10 %"):
        assert words in text
    assert bytes(panel.comparison.value) != one
    assert "2 seeds" in panel.compared.value
    # A move of the slider keeps the comparison.
    drawn = bytes(panel.comparison.value)
    panel.drop_easy.value = 0.4
    assert bytes(panel.comparison.value) == drawn
    panel.clear.click()
    assert "No comparison" in panel.compared.value


def test_a_study_without_runs_is_refused_or_given_a_set(study, tmp_path):
    empty = changed(study, folder=tmp_path, run_missing=False)
    with pytest.raises(ValueError, match="must hold the FRePo set of seed 0"):
        CrucialSamples(empty)
    distilled = study.runs([Variant("frepo")], 2)[Variant("frepo"), 0].distilled
    panel = CrucialSamples(empty, distilled=distilled)
    panel.check()
    panel.figure5.click()
    panel.wait(60)
    assert panel.error.startswith("The study must hold the runs of these settings")
