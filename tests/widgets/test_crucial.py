"""The handles select from scores that were made once; Run compares with every seed."""

from __future__ import annotations

import asyncio
import re

import pytest
from widget_study import changed

from isa_toolkit.analysis import ranking
from isa_toolkit.figures import samples
from isa_toolkit.figures.information import read_and_score
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import CrucialSamples, layout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def panel(study):
    return CrucialSamples(study)


def test_the_cuts_move_the_images_and_the_numbers(panel):
    panel.set(drop=(0.2, 0.0))
    panel.check()
    before, data = panel.images.value, panel.drop.data
    assert "At the easy cut" in before
    assert "At the hard cut" not in before
    panel.drop.value = (0.5, 0.1)
    panel.check()
    assert panel.images.value != before
    assert "At the hard cut" in panel.images.value
    assert panel.drop.data is data  # the browser has what it needs
    easiest = ranking.easiest(panel.scores, 1)[0]
    assert f"score {panel.scores[easiest]:.3g}" in panel.images.value


def test_the_images_at_a_cut_are_the_last_dropped_and_the_first_kept(panel):
    panel.set(drop=(0.3, 0.0))
    row = panel.images.value.split("Easiest")[0]
    texts = re.findall(r'score ([^"]+)" title.*?solid [^#"]*(#\w+)', row)
    order = ranking.order(panel.scores)
    cut = ranking.dropped_count(len(order), 0.3)
    assert texts == [
        (f"{panel.scores[index]:.3g}", "#e69f00" if rank < cut else "#0072b2")
        for rank, index in list(enumerate(order))[cut - 5 : cut + 5]
    ]


def test_within_a_class_all_classes_lose_alike(panel, study):
    panel.set(drop=(0.2, 0.1), within=True)
    panel.check()
    for one in panel.drop.data["classes"]:
        assert abs(one["easy"][20] - 0.2 * one["size"]) <= 1
        assert abs(one["hard"][10] - 0.1 * one["size"]) <= 1
    panel.set(within=False)
    labels = study.dataset.train.labels
    gone = ~ranking.kept(panel.scores, drop_easy=0.2)
    for number, one in enumerate(panel.drop.data["classes"]):
        assert one["easy"][20] == gone[labels == number].sum()


def test_scores_are_means_over_sets_and_networks(study, panel):
    sets = [run.distilled for run in study.runs([Variant("frepo")], 2).values()]
    single = CrucialSamples(study, distilled=sets[0], networks=1)
    assert single.scores == pytest.approx(read_and_score(study, sets[0], 0)[1])
    parts = [
        samples.mean_scores(study, sets[:1]),
        read_and_score(study, sets[1], 1000)[1],
        read_and_score(study, sets[1], 1001)[1],
        read_and_score(study, sets[1], 1002)[1],
    ]
    mean = (3 * parts[0] + sum(parts[1:])) / 6
    assert panel.scores == pytest.approx(mean, rel=1e-5)


def test_selecting_trains_nothing(panel, monkeypatch):
    def never(*arguments, **settings):
        raise AssertionError("a handle asked for work")

    monkeypatch.setattr(panel.model, "start", never)
    monkeypatch.setattr(type(panel.study), "runs", never)
    panel.set(drop=(0.1, 0.1))
    panel.set(within=True)
    panel.set(within=False)
    panel.check()


def test_a_browser_moves_the_cuts_and_the_last_place_is_drawn(panel):
    before = panel.refreshes

    async def dragged():
        for percent in range(10, 40):
            panel.drop.set_state({"value": [percent / 100, 0.0]})
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)

    asyncio.run(dragged())
    panel.check()
    assert panel.drop.value == (0.39, 0.0)
    assert 0 < panel.refreshes - before < 30
    shown = panel.images.value
    panel.set(drop=(0.39, 0.0))
    assert panel.images.value == shown


def test_both_ends_must_leave_something(panel):
    panel.set(drop=(0.6, 0.5))
    assert panel.error.startswith(
        "The fractions to drop must be at least 0 and below 1"
    )
    panel.set(drop=(0.0, 0.0))
    panel.check()
    assert "Nothing is dropped." in panel.caption.value
    panel.run.click()
    assert panel.error.startswith("A fraction to drop must be above 0 to compare")


def test_run_compares_shares_and_overlays_them(study):
    panel = CrucialSamples(study)
    blank = bytes(panel.comparison.value)
    assert panel.seeds.value == 2
    panel.set(drop=(0.2, 0.0))
    panel.run.click()
    panel.wait(120)
    panel.check()
    one = bytes(panel.comparison.value)
    assert one != blank
    assert "FRePo, easy dropped, 20 %" in panel.table.value
    assert "FRePo, hard dropped" not in panel.table.value
    panel.set(drop=(0.3, 0.1))
    panel.run.click()
    panel.wait(120)
    panel.check()
    text = layout.plain_text(panel.table.value)
    for words in ("easy dropped, 20 %", "easy dropped, 30 %", "hard dropped, 10 %"):
        assert words in text
    assert bytes(panel.comparison.value) != one
    assert "2 seeds" in panel.compared.value
    # A move of a handle keeps the comparison.
    drawn = bytes(panel.comparison.value)
    panel.drop.value = (0.4, 0.1)
    assert bytes(panel.comparison.value) == drawn
    # That of other settings stays, greyed, until there is a new one.
    panel.seeds.value = 1
    assert "No comparison" in panel.compared.value
    assert "isa-stale" in panel.comparison._dom_classes
    panel.clear.click()
    assert bytes(panel.comparison.value) == blank
    assert "No comparison" in panel.compared.value


def test_a_study_without_runs_is_refused_or_given_a_set(study, tmp_path):
    empty = changed(study, folder=tmp_path, run_missing=False)
    with pytest.raises(ValueError, match="must hold a FRePo set"):
        CrucialSamples(empty)
    distilled = study.runs([Variant("frepo")], 2)[Variant("frepo"), 0].distilled
    panel = CrucialSamples(empty, distilled=distilled)
    panel.check()
    panel.figure5.click()
    panel.wait(60)
    assert panel.error.startswith("The study must hold the runs of these settings")
