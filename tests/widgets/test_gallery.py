"""Any run of a folder is looked at, at any stored step, its labels on demand."""

from __future__ import annotations

import errno
import json
import shutil

import pytest
from tiny_run import tiny

from isa_toolkit.figures import gallery, style
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import Gallery
from isa_toolkit.widgets import gallery as gallery_panel


def drawn(distilled) -> bytes:
    figure = gallery.draw(gallery.table_of(distilled, "digits"))
    return png(figure, dpi=figure.dpi)


def test_the_picture_is_that_of_the_figure_at_every_step(whole):
    panel = Gallery(whole.path.parent)
    panel.check()
    assert bytes(panel.picture.value) == drawn(whole.distilled)
    steps = [value for _, value in panel.step.options]
    assert steps == [-1, *whole.snapshots]
    last = steps[-1]
    panel.step.value = last
    panel.check()
    assert bytes(panel.picture.value) == drawn(whole.distilled_at(last))
    assert f"step {last}." in panel.caption.value
    assert "drop_easy 0.2" in panel.caption.value


def test_labels_are_listed_on_demand(whole):
    panel = Gallery(whole.path.parent)
    assert panel.table.value == ""
    panel.labels.value = True
    panel.check()
    assert panel.table.value.count("<tr>") == 1 + len(whole.distilled.images)
    assert f"{whole.distilled.labels[0].max():.3f}" in panel.table.value


def test_a_run_that_appears_is_listed_and_one_that_goes_is_said(whole, tmp_path):
    panel = Gallery(tmp_path)
    assert "has images yet" in panel.caption.value
    path = shutil.copytree(whole.path, tmp_path / whole.path.name)
    panel.refresh_list.click()
    panel.check()
    assert panel.found.value == path.name
    assert panel.caption.value.startswith('<div class="isa-caption">digits, 1 image')
    shutil.rmtree(path)
    panel.labels.value = True
    assert panel.error.startswith("There is no run at")
    with pytest.raises(FileNotFoundError):
        panel.check()
    panel.refresh_list.click()
    panel.check()


def test_a_disk_that_is_full_for_a_figure_is_one_line_and_the_panel_goes_on(
    whole, monkeypatch, tmp_path
):
    def kept(figure, dpi=None):
        style.save(figure, tmp_path / "figure")
        return png(figure, dpi)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(gallery_panel, "png", kept)
    panel = Gallery(whole.path.parent)
    panel.check()
    before = bytes(panel.picture.value)
    with monkeypatch.context() as patch:
        patch.setattr(style, "write_atomically", full)
        panel.step.value = panel.step.options[-1][1]
        assert panel.error == (
            "The disk is full (No space left on device). Free some space and try again."
        )
        # What was there is still shown.
        assert bytes(panel.picture.value) == before
        with pytest.raises(OSError, match="No space left"):
            panel.check()
    panel.labels.value = True
    panel.check()
    assert panel.error == ""
    assert bytes(panel.picture.value) != before
    assert (tmp_path / "figure.pdf").is_file()


def test_a_run_that_has_no_result_shows_its_snapshots(whole, tmp_path):
    path = shutil.copytree(whole.path, tmp_path / whole.path.name)
    (path / "distilled.safetensors").unlink()
    # It has begun, and nothing is stored yet.
    bare = tmp_path / tiny().resolve().name
    bare.mkdir()
    (bare / "experiment.json").write_text(json.dumps({}))
    panel = Gallery(tmp_path)
    panel.check()
    assert [value for _, value in panel.found.options] == [path.name]
    assert [value for _, value in panel.step.options] == list(whole.snapshots)
