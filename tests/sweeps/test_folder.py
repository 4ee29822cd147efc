"""The folder of a sweep tells any process how it is."""

from __future__ import annotations

import datetime
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from stand_in_groups import DONE, stand_ins, states, three

from isa_toolkit.distillation.store import held
from isa_toolkit.sweeps import Sweep, sweeps_in
from isa_toolkit.sweeps.folder import write_plan


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sweep at .*no plan\.json"):
        Sweep.open(tmp_path)
    assert sweeps_in(tmp_path / "missing") == []


def test_a_plan_that_was_never_launched_is_planned(tmp_path):
    made = three(tmp_path)
    write_plan(made)
    [sweep] = sweeps_in(tmp_path)
    assert sweep.path == made.path
    assert (sweep.state, states(sweep)) == ("planned", ["planned"] * 3)
    assert (sweep.scheduler, sweep.children, sweep.runs) == (None, {}, [])
    assert [row["steps"] for row in sweep.rows()] == [24] * 3
    sweep.cancel()
    assert not sweep.is_asked_to_stop
    assert sweep.wait() == "planned"
    assert repr(sweep) == f"Sweep({str(sweep.path)!r}, planned)"


def test_the_table_has_a_row_for_each_run_and_goes_through_json(tmp_path, monkeypatch):
    sweep = stand_ins(tmp_path, monkeypatch, DONE)()
    table = sweep.table()
    assert list(table.run) == [run.name for run in three(tmp_path).runs]
    assert list(table.seed) == [0, 1, 2]
    assert table.eta_s.isna().all()
    told = json.loads(json.dumps(sweep.as_json()))
    assert (told["state"], told["scheduler"]) == ("done", None)
    assert [row["state"] for row in told["runs"]] == ["done"] * 3
    assert [run.path.name for run in sweep.runs] == list(table.run)


def test_what_a_dead_scheduler_left_is_killed(tmp_path):
    made = three(tmp_path)
    write_plan(made)
    sweep = Sweep.open(made.path)
    (sweep.path / "status.json").write_text('{"state": "running"}')
    (sweep.path / "holder.json").write_text('{"pid": 2147483646, "host": "elsewhere"}')
    # A name is no proof that the other machine is there (it may have been a container).
    assert sweep.state == "killed"
    with held(sweep.path, ValueError):
        text = '{"pid": 2147483646, "host": "elsewhere"}'
        (sweep.path / "holder.json").write_text(text)
        assert sweep.scheduler == 2147483646
        assert sweep.state == "running"
    group = next(iter(sweep.groups))
    sweep.group_path(group).mkdir(parents=True)
    status = {"state": "running", "pid": 2147483646, "begun_s": 0}
    (sweep.group_path(group) / "status.json").write_text(json.dumps(status))
    assert sweep.state == "killed"
    assert states(sweep) == ["killed", "planned", "planned"]


def test_cancel_reaches_processes_that_have_no_scheduler(tmp_path):
    made = three(tmp_path)
    write_plan(made)
    sweep = Sweep.open(made.path)
    child = subprocess.Popen(["sleep", "60"])
    group = next(iter(sweep.groups))
    sweep.group_path(group).mkdir(parents=True)
    status = {
        "state": "running",
        "pid": child.pid,
        "host": socket.gethostname(),
        "begun_s": time.time(),
    }
    (sweep.group_path(group) / "status.json").write_text(json.dumps(status))
    assert sweep.state == "unattended"
    assert sweep.children == {group: child.pid}
    sweep.cancel()
    assert child.wait(5) == -signal.SIGTERM
    assert sweep.wait(5) == "stopped"
    assert states(sweep) == ["stopped", "planned", "planned"]


def test_a_number_that_came_around_is_no_scheduler(tmp_path):
    made = three(tmp_path)
    write_plan(made)
    sweep = Sweep.open(made.path)
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    (sweep.path / "holder.json").write_text(json.dumps(holder))
    assert sweep.scheduler is None
    with held(sweep.path, ValueError):
        assert sweep.scheduler == os.getpid()


def test_cancel_reaches_runs_and_jobs_elsewhere_that_have_no_scheduler(tmp_path):
    made = three(tmp_path)
    write_plan(made)
    sweep = Sweep.open(made.path)
    (sweep.path / "status.json").write_text('{"state": "running"}')
    sweep.cancel()
    assert not sweep.is_asked_to_stop  # nothing runs
    # A job of a cluster, which may still wait ...
    group = next(iter(sweep.groups))
    sweep.group_path(group).mkdir(parents=True)
    (sweep.group_path(group) / "status.json").write_text(
        '{"state": "queued", "job": 7}'
    )
    sweep.cancel()
    assert sweep.is_asked_to_stop
    (sweep.path / "STOP").unlink()
    # ... and a run that another machine says it works on.
    (sweep.group_path(group) / "status.json").unlink()
    (sweep.path / "status.json").write_text('{"state": "running"}')
    folder = sweep.out / sweep.groups[group][0]["name"]
    folder.mkdir(parents=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for name, told in {
        "experiment.json": {},
        "holder.json": {"pid": 1, "host": "elsewhere", "since": now},
        "status.json": {"status": "running", "step": 3, "heartbeat": now},
    }.items():
        (folder / name).write_text(json.dumps(told))
    assert sweep.state == "unattended"
    assert states(sweep) == ["running", "planned", "planned"]
    sweep.cancel()
    assert sweep.is_asked_to_stop
    assert sweep.state == "stopping"
