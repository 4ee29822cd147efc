"""All runs of a folder in a table; those picked over each other in one picture."""

from __future__ import annotations

import shutil

from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import CompareRuns, layout


def test_what_is_picked_is_what_is_drawn(study, whole, tmp_path):
    frepo = Variant("frepo")
    other = study.runs([frepo], 2)[frepo, 0]
    for run in (whole, other):
        shutil.copytree(run.path, tmp_path / run.path.name)
    panel = CompareRuns(tmp_path)
    panel.check()
    assert len(panel.pick.value) == 2
    both = bytes(panel.picture.value)
    panel.pick.value = [whole.path.name]
    panel.check()
    one = png(training_curves.draw(training_curves.compute({whole.path.name: whole})))
    assert bytes(panel.picture.value) == one != both
    panel.pick.value = []
    assert "Pick runs" in panel.caption.value


def test_the_table_tells_what_tells_runs_apart(whole):
    panel = CompareRuns(whole.path.parent)
    words = layout.plain_text(panel.table.value).split()
    best = 100 * whole.metrics.accuracy.max()
    assert words[words.index(whole.path.name) :][1:] == [
        "done", "2,500", "of", "2,500", "1", "0.2", "0", "0", "to", "0.5", "0",
        f"{best:.1f}",
    ]  # fmt: skip


def test_a_folder_without_runs_says_so_and_fills(whole, tmp_path):
    panel = CompareRuns(tmp_path / "none")
    panel.check()
    assert "Pick runs" in panel.caption.value
    shutil.copytree(whole.path, tmp_path / "none" / whole.path.name)
    panel.refresh_list.click()
    panel.check()
    assert whole.path.name in panel.table.value
    panel.pick.value = [whole.path.name]
    panel.check()
    shutil.rmtree(tmp_path / "none")
    panel.refresh_list.click()
    panel.check()
    assert panel.pick.value == ()
