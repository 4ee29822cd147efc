"""Groups as tasks of Ray: resumed after a kill, stopped without a process left."""

from __future__ import annotations

import importlib.util
import os
import signal

import pytest
from long_run import endless, wait_for
from stand_in_workers import is_gone, last_checkpoint, states, three, worker_pids

from isa_toolkit.sweeps import plan

pytestmark = pytest.mark.slow


def test_without_ray_the_message_has_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'isa-toolkit\[ray\]'"):
        three(tmp_path).run("ray")


def test_a_killed_worker_is_resumed_and_cancel_leaves_no_process(whole, tmp_path):
    del whole
    pytest.importorskip("ray")
    made = plan(endless(), {"seed": range(2)}, out=tmp_path, name="two").run(
        "ray", slots=2, wait=False, checkpoint_s=0.01
    )
    try:
        wait_for(lambda: all(status.step > 10 for status in made.plan.statuses()), 300)
        first = made.runs[0]
        [pid] = worker_pids(made.path, first.path.name)
        os.kill(pid, signal.SIGKILL)
        saved = last_checkpoint(first.path)
        others = wait_for(
            lambda: [
                one for one in worker_pids(made.path, first.path.name) if one != pid
            ]
        )
        wait_for(lambda: first.step > saved)
    finally:  # a test that fails leaves no process, either
        made.cancel()
    assert made.wait(120) == "stopped"
    assert all(map(is_gone, others))
    assert states(made) == ["stopped"] * 2
    assert not worker_pids(made.path)
