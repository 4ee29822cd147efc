"""Any run of a folder is looked at, at any stored step, its labels on demand."""

from __future__ import annotations

import base64
import json
import re
import shutil

import pytest
from tiny_run import tiny

from isa_toolkit.figures import gallery
from isa_toolkit.figures.variants import Variant
from isa_toolkit.widgets import Gallery, pictures

pytestmark = pytest.mark.slow


def sources(distilled) -> list[str]:
    table = gallery.table_of(distilled, "digits")
    return [pictures.source(pixels) for pixels in table.pixels]


def shown(panel) -> list[str]:
    return re.findall(r'src="([^"]+)"', panel.images.value)


def test_the_images_are_those_of_the_set_at_every_step(whole):
    panel = Gallery(whole.path.parent)
    panel.check()
    assert shown(panel) == sources(whole.distilled)
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["text/html"].count("<img") == len(whole.distilled.images)
    steps = [value for _, value in panel.step.options]
    assert steps == [*whole.snapshots, -1]
    for step in (steps[0], steps[-2]):
        panel.step.value = step
        panel.check()
        assert shown(panel) == sources(whole.distilled_at(step))
        assert f"step {step}" in panel.images.value


def test_labels_are_shown_on_hover_and_listed_on_demand(whole):
    panel = Gallery(whole.path.parent)
    label = whole.distilled.labels[0].max()
    assert f'title="class 0: {label:.2f}, then' in panel.images.value
    assert panel.table.value == ""
    panel.labels.value = True
    panel.check()
    assert panel.table.value.count("<tr>") == 1 + len(whole.distilled.images)
    assert f"{label:.3f}" in panel.table.value


def test_runs_stand_side_by_side_at_the_last_step_that_each_has(whole, study, tmp_path):
    frepo = Variant("frepo")
    other = study.runs([frepo], 2)[frepo, 0]
    for run in (whole, other):
        shutil.copytree(run.path, tmp_path / run.path.name)
    panel = Gallery(tmp_path)
    panel.pick.value = [other.path.name, whole.path.name]
    panel.check()
    steps = sorted({*whole.snapshots, *other.snapshots})
    assert [value for _, value in panel.step.options] == [*steps, -1]
    panel.step.value = late = max(whole.snapshots)
    panel.check()
    expected = [
        sources(
            other.distilled_at(max(step for step in other.snapshots if step <= late))
        ),
        sources(whole.distilled_at(late)),
    ]
    found = shown(panel)
    assert sorted(found) == sorted([*expected[0], *expected[1]])


def test_a_run_that_appears_is_listed_and_one_that_goes_is_said(whole, tmp_path):
    panel = Gallery(tmp_path)
    assert "has images yet" in panel.caption.value
    path = shutil.copytree(whole.path, tmp_path / whole.path.name)
    panel.refresh_list.click()
    panel.pick.value = [path.name]
    panel.check()
    assert shown(panel) == sources(whole.distilled)
    shutil.rmtree(path)
    before = panel.images.value
    panel.labels.value = True
    assert panel.error.startswith("There is no run at")
    assert panel.images.value == before
    with pytest.raises(FileNotFoundError):
        panel.check()
    panel.refresh_list.click()
    panel.check()


def test_a_run_that_has_no_result_shows_its_snapshots(whole, tmp_path):
    path = shutil.copytree(whole.path, tmp_path / whole.path.name)
    (path / "distilled.safetensors").unlink()
    # It has begun, and nothing is stored yet.
    bare = tmp_path / tiny().resolve().name
    bare.mkdir()
    (bare / "experiment.json").write_text(json.dumps({}))
    panel = Gallery(tmp_path)
    panel.check()
    assert [value for _, value in panel.pick.options] == [path.name]
    assert [value for _, value in panel.step.options] == list(whole.snapshots)
