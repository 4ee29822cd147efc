"""The panel of a run says what happens to it, whoever does it."""

from __future__ import annotations

import base64
import errno
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from long_run import long_run, wait_for
from stand_in_workers import BEGUN, script, status, worker_pids
from tiny_run import result_bytes, tiny

from isa_toolkit.figures import training_curves
from isa_toolkit.figures.style import png
from isa_toolkit.widgets import JobFailedError, JobWatcher, layout

pytestmark = pytest.mark.slow

# It holds the lock of the run, as a worker does.
RUNNING = [
    BEGUN,
    status("running", 5),
    "exec 9> $RUN/.lock; flock 9; while :; do sleep 0.05; done",
]


def picture(image) -> bytes:
    return bytes(image.value)


def test_before_a_run_nothing_runs_and_buttons_say_so(tmp_path):
    panel = JobWatcher(tiny(), out=tmp_path, poll_s=0.05)
    assert panel.job is None
    panel.stop.click()
    assert panel.message == "Nothing runs."
    panel.resume.click()
    assert panel.error == "There is no run to resume. Run one, or attach to one."
    panel.attach.click()
    assert panel.error.startswith("There is no run in")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="poll_s must be above 0"):
        JobWatcher(tiny(), out=tmp_path, poll_s=0)


def test_controls_choose_the_run(tmp_path):
    panel = JobWatcher(tiny(), out=tmp_path)
    same = panel.chosen(panel.values)
    assert same.resolve().hash == tiny().resolve().hash
    panel.set(drop_easy=0.3, segment=(-1.0, 0.0), steps=7, seed=5, images_per_class=2)
    asked = panel.chosen(panel.values)
    assert (asked.method.drop_easy, asked.method.segment) == (0.3, (-1.0, 0.0))
    assert (asked.steps, asked.seed, asked.images_per_class) == (7, 5, 2)
    panel.set(drop_easy=0.6, drop_hard=0.6)
    panel.run.click()
    assert panel.error.startswith("drop_easy + drop_hard must be below 1")


def test_a_finished_run_is_shown_with_its_curves_and_images(whole):
    panel = JobWatcher(out=whole.path.parent)
    assert "run" not in panel.controls
    assert panel.curves.data == {}
    assert panel.found.options == (("frepo (done)", whole.path.name),)
    panel.attach.click()
    panel.check()
    assert panel.bar.value == 1.0
    table = training_curves.compute({whole.path.name: whole})
    assert panel.curves.data == training_curves.for_browser(table) != {}
    stored = base64.b64decode(panel._repr_mimebundle_()["image/png"])
    assert stored == png(training_curves.draw(table))
    assert picture(panel.images) not in (layout.BLANK, stored)
    step = whole.distilled.manifest["selection"]["step"]
    assert f"The result: step {step}," in panel.caption.value
    assert panel.thread is None


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys.modules["isa_toolkit.sweeps.sweep"], "write_json", full)
    panel = JobWatcher(tiny(), out=tmp_path / "runs", poll_s=0.05)
    panel.run.click()
    assert "The disk is full (No space left on device). Free some" in panel.error
    with pytest.raises(OSError, match="No space"):
        panel.check()


def test_progress_is_shown_until_the_worker_dies(tmp_path, monkeypatch):
    panel = JobWatcher(tiny(), out=tmp_path / "runs", poll_s=0.05)
    script(tmp_path, monkeypatch, *RUNNING)
    panel.run.click()
    panel.check()
    wait_for(lambda: panel.bar.value == 0.5)
    wait_for(lambda: "2 steps/s, 00:02 left" in panel.details.value)
    assert panel.found.value == panel.job.path.name
    [pid] = worker_pids(tmp_path / "runs/sweeps" / panel.job.path.name)
    os.kill(pid, signal.SIGKILL)
    panel.join(10)
    assert "isa run watcher" not in [thread.name for thread in threading.enumerate()]
    assert "failed at step" in panel.error


def test_two_panels_on_one_run_that_is_killed_and_resumed(whole, tmp_path):
    one = JobWatcher(long_run(), out=tmp_path, poll_s=0.05)
    one.run.click()
    one.check()
    two = JobWatcher(out=tmp_path, poll_s=0.05)
    two.attach.click()
    two.check()
    assert two.job.status.pid == one.job.status.pid
    wait_for(lambda: two.bar.value >= 0.2)
    os.kill(one.job.status.pid, signal.SIGKILL)
    for panel in (one, two):
        panel.join(10)
        assert "failed at step" in panel.error
        with pytest.raises(JobFailedError, match="Resume starts"):
            panel.check()
    assert "(failed)" in two.found.options[0][0]
    assert not (Path(one.job.path) / "distilled.safetensors").exists()
    two.resume.click()
    one.run.click()  # it runs already: the panel only watches
    assert two.job.status.pid == one.job.status.pid
    for panel in (one, two):
        panel.job.wait(60)
        panel.join(10)
        panel.check()
        assert panel.bar.value == 1.0
    assert picture(one.images) == picture(two.images)
    assert result_bytes(one.job.path) == result_bytes(whole.path)
