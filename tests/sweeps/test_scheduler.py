"""Groups wait for slots, are started again when they die, and stop when asked."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time

import pytest
from long_run import wait_for
from stand_in_groups import (
    DIVERGED,
    DONE,
    Background,
    is_gone,
    result,
    stand_ins,
    states,
    three,
)

from isa_toolkit.sweeps import Sweep, SweepLockedError, launch, process, scheduler

WAITS = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
HEARS_NOTHING = "trap '' TERM INT; while :; do sleep 0.05; done"


def pids_of(sweep):
    return [
        sweep.group_status(group)["pid"]
        for group in sweep.groups
        if "pid" in sweep.group_status(group)
    ]


# --- groups end -------------------------------------------------------------------------


def test_a_process_that_dies_is_started_again_and_its_reasons_are_kept(
    tmp_path, monkeypatch
):
    start = stand_ins(tmp_path, monkeypatch, f"[ $SEED = 0 ] && kill -9 $$; {DONE}")
    said = []
    sweep = start(retries=2, tell=said.append)
    assert states(sweep) == ["failed", "done", "done"]
    assert sweep.state == "failed"
    first, *others = (sweep.group_status(group) for group in sweep.groups)
    assert first["attempts"] == 3
    assert len(first["reasons"]) == 3
    assert "ended by SIGKILL" in first["reasons"][0]
    assert [one["attempts"] for one in others] == [1, 1]
    assert sum("started again" in line for line in said) == 2
    # A launch by hand tries anew.
    again = start(retries=0)
    assert again.group_status(next(iter(sweep.groups)))["attempts"] == 4
    assert "SIGKILL" in next(iter(again.rows()))["reason"]


def test_what_a_second_start_cannot_mend_is_not_started_again(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch,
        f"[ $SEED = 0 ] && {{ {result(2, 'The data are gone.')}; }}; {DONE}",
    )  # fmt: skip
    sweep = start(retries=3)
    assert states(sweep) == ["failed", "done", "done"]
    row = next(iter(sweep.rows()))
    assert (row["attempts"], row["reason"][:18]) == (1, "The data are gone.")


def test_a_diverged_run_stops_no_other_and_is_not_started_again(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch,
        f"[ $SEED = 1 ] && {{ {DIVERGED}; {result(3, 'NaN at 3.')}; }}; {DONE}",
    )  # fmt: skip
    sweep = start(retries=3)
    assert states(sweep) == ["done", "diverged", "done"]
    assert sweep.state == "done"
    assert list(sweep.rows())[1]["reason"] == "NaN at 3."
    before = [sweep.group_status(group) for group in sweep.groups]
    monkeypatch.setattr(process, "spawn", None)  # to start one would fail
    assert start().state == "done"
    assert [sweep.group_status(group) for group in sweep.groups] == before


def test_a_crash_before_anything_is_said_is_told_by_the_log(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, "echo 'ImportError: no jax'; exit 1")
    sweep = start(retries=0)
    assert states(sweep) == ["failed"] * 3
    reason = next(iter(sweep.rows()))["reason"]
    assert reason.startswith("Its process ended with exit code 1: ImportError: no jax.")


def test_a_run_that_was_stopped_by_itself_is_left_stopped(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch, f"[ $SEED = 0 ] && {{ {result(0, '')}; }}; {DONE}"
    )
    assert states(start(retries=3)) == ["stopped", "done", "done"]


# --- slots ------------------------------------------------------------------------------


def test_no_more_run_than_there_are_slots_and_each_has_its_gpu(tmp_path, monkeypatch):
    start = stand_ins(
        tmp_path, monkeypatch,
        "mkdir $FOLDER/../at-$CUDA_VISIBLE_DEVICES || exit 1", "sleep 0.3",
        "rmdir $FOLDER/../at-$CUDA_VISIBLE_DEVICES", f"echo $CUDA_VISIBLE_DEVICES; {DONE}",
    )  # fmt: skip
    sweep = start(slots=None, gpus=[3, "MIG-7"], retries=0)
    assert states(sweep) == ["done"] * 3
    logs = [
        (sweep.group_path(group) / "log.txt").read_text().split()
        for group in sweep.groups
    ]
    assert logs[:2] == [["3"], ["MIG-7"]]
    assert logs[2] in (["3"], ["MIG-7"])


# --- stop -------------------------------------------------------------------------------


def test_a_file_asks_all_to_stop_and_leaves_no_process(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, WAITS)
    launched = Background(lambda: start(slots=2))
    wait_for((tmp_path / "runs/sweeps/three/groups").is_dir)
    sweep = Sweep.open(tmp_path / "runs/sweeps/three")
    wait_for(lambda: len(sweep.children) == 2)
    assert sweep.state == "running"
    assert sorted(states(sweep)) == ["queued", "running", "running"]
    pids = list(sweep.children.values())
    with pytest.raises(SweepLockedError, match=r"is run by process \d+ on .* --cancel"):
        start()
    with pytest.raises(TimeoutError, match="goes on"):
        sweep.wait(0.01)
    time.sleep(0.1)  # the shell sets its trap
    sweep.cancel()
    launched.join(20)
    assert all(map(is_gone, pids))
    assert (sweep.state, states(sweep)) == ("stopped", ["stopped"] * 3)
    sweep.cancel()  # nothing runs: nothing happens
    assert not (sweep.path / "KILL").exists()


def test_asked_again_it_kills_what_hears_nothing(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, HEARS_NOTHING)
    launched = Background(start)
    wait_for((tmp_path / "runs/sweeps/three/groups").is_dir)
    sweep = Sweep.open(tmp_path / "runs/sweeps/three")
    wait_for(lambda: sweep.children)
    [pid] = sweep.children.values()
    time.sleep(0.1)
    sweep.cancel()
    time.sleep(0.5)
    assert sweep.state == "stopping"
    assert not is_gone(pid)
    sweep.cancel()
    launched.join(20)
    assert is_gone(pid)
    assert states(sweep) == ["stopped"] * 3


def test_signals_ask_and_then_kill(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, HEARS_NOTHING)
    sweep_path = tmp_path / "runs/sweeps/three"

    def interrupt():
        wait_for((sweep_path / "groups").is_dir)
        wait_for(lambda: Sweep.open(sweep_path).children)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        wait_for((sweep_path / "STOP").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    sweep = start()
    assert states(sweep) == ["stopped"] * 3
    assert all(map(is_gone, pids_of(sweep)))
    assert sweep.state == "stopped"


def test_an_error_of_the_scheduler_asks_its_processes_to_stop(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, WAITS)
    write, seen = scheduler.write_json, []

    def full(path, value):
        if value.get("state") == "running" and "pid" in value:
            seen.append(value["pid"])
            time.sleep(0.1)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    monkeypatch.setattr(scheduler, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        start()
    [pid] = seen
    process.reap(pid)
    assert is_gone(pid)
    # The folder is free again.
    assert Sweep.open(tmp_path / "runs/sweeps/three").scheduler is None


# --- plans ------------------------------------------------------------------------------


def test_a_plan_that_grew_keeps_what_is_known(tmp_path, monkeypatch):
    start = stand_ins(tmp_path, monkeypatch, DONE)
    start()
    whole = three(tmp_path / "runs")
    less = whole.__class__(**{**vars(whole), "runs": whole.runs[:2]})
    assert states(launch(less, slots=1, progress=False)) == ["done"] * 2
    assert states(launch(whole, slots=1, progress=False)) == ["done"] * 3


def test_everything_on_the_disk_is_json(tmp_path, monkeypatch):
    sweep = stand_ins(tmp_path, monkeypatch, DONE)()
    files = [path for path in sweep.path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        if path.name not in (".lock", "log.txt"):
            json.loads(path.read_text())
    assert json.dumps(sweep.as_json())
