"""A watcher polls the item that it follows until it ends, in one thread at a time."""

from __future__ import annotations

import threading
import time

import pytest

from isa_toolkit.widgets.polling import FolderWatcher


class Watcher(FolderWatcher):
    """Follows a flag."""

    kind = "run"
    is_running = False

    def found(self):
        return [("a (here)", "a")]

    def open(self, name):
        return name

    def state(self):
        return str(self.is_running), self.is_running

    def update(self, values):
        return {"details": f"{values['found']} {self.is_running}"}


def made(tmp_path) -> Watcher:
    watcher = Watcher(tmp_path, 0.01)
    watcher.make_panel("Test", "", settings={}, buttons={}, outputs={})
    return watcher


def test_one_thread_polls_until_the_item_ends_and_joining_has_a_limit(tmp_path):
    watcher = made(tmp_path)
    watcher.join()
    watcher.is_running = True
    watcher.panel.attach.click()
    first = watcher.thread
    assert first is not None
    watcher.watch("b")
    first.join(5)
    assert not first.is_alive()
    with pytest.raises(TimeoutError, match="The run is still running after"):
        watcher.join(0.05)
    drawn = watcher.panel.refreshes
    watcher.is_running = False
    watcher.join(5)
    assert watcher.panel.refreshes > drawn
    with pytest.raises(ValueError, match="poll_s"):
        Watcher(tmp_path, 0)


def test_an_item_that_is_resumed_while_its_end_is_being_shown_is_polled_on(tmp_path):
    watcher = made(tmp_path)
    watcher.is_running = True
    watcher.panel.attach.click()
    first = watcher.thread
    assert first is not None
    resumed = threading.Event()

    def resume():
        if not watcher.is_running and not resumed.is_set():
            resumed.set()
            watcher.is_running = True
            watcher.watch(watcher.item)
        return [("a (here)", "a")]

    watcher.found = resume  # the list is read anew after the state has changed
    watcher.is_running = False
    assert resumed.wait(5)
    first.join(5)
    drawn = watcher.panel.refreshes
    deadline = time.monotonic() + 5
    while watcher.panel.refreshes < drawn + 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watcher.is_running = False
    watcher.join(5)


def test_an_item_that_has_ended_is_shown_and_not_polled(tmp_path):
    watcher = made(tmp_path)
    watcher.panel.attach.click()
    assert (watcher.item, watcher.thread) == ("a", None)
    assert watcher.panel.refreshes == 1
