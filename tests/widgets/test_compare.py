"""All runs of a folder in a table; those picked over each other in one picture."""

from __future__ import annotations

import base64
import shutil

import pytest

from isa_toolkit.distillation.run_names import run_names
from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import CompareRuns, layout

pytestmark = pytest.mark.slow


def test_what_is_picked_is_what_is_drawn_and_listed(study, whole, tmp_path):
    frepo = Variant("frepo")
    other = study.runs([frepo], 2)[frepo, 0]
    for run in (whole, other):
        shutil.copytree(run.path, tmp_path / run.path.name)
    panel = CompareRuns(tmp_path)
    panel.check()
    assert len(panel.pick.value) == 2
    both = panel.curves.data
    assert [name for name, _ in both["legend"]] == [
        text for text, _ in panel.pick.options
    ]
    texts = dict(panel.pick.options)
    assert set(texts.values()) == {whole.path.name, other.path.name}
    assert all(text in panel.table.value for text in texts)
    # The picture names runs by what differs between those that are picked.
    by_name = {run.path.name: run for run in (whole, other)}
    picked = [by_name[name] for name in panel.pick.value]
    short = run_names([run.experiment for run in picked])
    drawn = training_curves.compute(dict(zip(short, picked, strict=True)))
    stored = base64.b64decode(panel._repr_mimebundle_()["image/png"])
    assert stored == png(training_curves.draw(drawn))
    panel.pick.value = [whole.path.name]
    panel.check()
    [text] = [text for text, name in texts.items() if name == whole.path.name]
    table = training_curves.compute({text: whole})
    assert panel.curves.data == training_curves.for_browser(table) != both
    stored = base64.b64decode(panel._repr_mimebundle_()["image/png"])
    assert stored == png(training_curves.draw(table))
    assert panel.table.value.count("<tr>") == 2
    panel.pick.value = []
    assert "Pick runs" in panel.caption.value
    assert panel.curves.data == {}
    assert "image/png" not in panel._repr_mimebundle_()


def test_a_search_lists_the_runs_with_all_words_and_keeps_the_picked(
    study, whole, tmp_path
):
    frepo = Variant("frepo")
    runs = [*study.runs([frepo], 2).values(), whole]
    for run in runs:
        shutil.copytree(run.path, tmp_path / run.path.name)
    panel = CompareRuns(tmp_path)
    panel.set(pick=[whole.path.name])
    panel.set(search="2 per seed=1")
    listed = [name for _, name in panel.pick.options]
    assert sorted(listed) == sorted([runs[1].path.name, whole.path.name])
    assert panel.pick.value == (whole.path.name,)
    panel.set(search="")
    assert len(panel.pick.options) == len(runs)


def test_the_table_has_the_settings_of_a_run(whole):
    panel = CompareRuns(whole.path.parent)
    words = layout.plain_text(panel.table.value).split()
    best = 100 * whole.metrics.accuracy.max()
    assert words[words.index("frepo") :][1:] == [
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
    panel.pick.value = [whole.path.name]
    panel.check()
    assert "2,500 of 2,500" in panel.table.value
    shutil.rmtree(tmp_path / "none")
    panel.refresh_list.click()
    assert panel.pick.value == ()
    assert panel.pick.options == ()
