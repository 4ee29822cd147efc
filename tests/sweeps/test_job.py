"""A job survives its kernel, a kill, a deleted folder; its result is as if nothing was."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from long_run import long_run, stand_in, wait_for
from tiny_run import result_bytes, tiny

from isa_toolkit.sweeps import Job, JobFailedError, job

ROOT = Path(__file__).parents[2]


# --- before anything runs ---------------------------------------------------------------


def test_the_run_folder_is_known_before_the_start(tmp_path):
    made = Job(tiny(), out=tmp_path)
    assert made.path == tmp_path / tiny().resolve().name
    assert made.status.state == "new"
    assert made.progress.step == 0
    assert math.isnan(made.progress.eta_s)
    made.stop()
    made.raise_if_failed()
    assert made.wait().state == "new"
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run at .*Choose a run folder"):
        Job.attach(tmp_path)
    assert job.runs_in(tmp_path / "missing") == []


def test_a_finished_run_is_attached_to_and_not_started(whole):
    made = Job.attach(whole.path)
    assert made.start().status.state == "done"
    assert not (whole.path / job.NOTE).exists()
    assert made.progress.fraction == 1.0
    made.raise_if_failed()


def test_the_speed_gives_the_time_that_is_left(tmp_path, whole):
    path = Path(shutil.copytree(whole.path, tmp_path / whole.path.name))
    told = {"status": "stopped", "step": 40, "steps": 100, "steps_per_s": 5.0}
    (path / "status.json").write_text(json.dumps(told))
    assert Job.attach(path).progress == (40, 100, 0.4, 5.0, 12.0)


# --- children that fail (a script in the place of Python) -------------------------------


@pytest.mark.parametrize(
    ("lines", "told", "fix"),
    [
        (
            [
                "echo 'isa-toolkit: warning: x' >&2",
                "echo 'isa-toolkit: a is bad.' >&2",
                "exit 2",
            ],
            "failed at step 0: a is bad.",
            "Correct the setting",
        ),
        (
            ["echo Traceback", "echo 'MemoryError: big'", "exit 1"],
            "MemoryError: big",
            "",
        ),
        (["kill -9 $$"], "was killed", "too much memory"),
        (
            [
                'echo \'{"status": "failed", "step": 3, "reason": "NaN in loss."}\' '
                "> $RUN/status.json",
                "echo 'isa-toolkit: NaN in loss.' >&2",
                "exit 3",
            ],
            "failed at step 3: NaN in loss.",
            "learning_rate",
        ),
    ],
)
def test_a_crashed_child_tells_its_last_line_and_the_fix(
    lines, told, fix, tmp_path, monkeypatch
):
    made = stand_in(tmp_path, monkeypatch, lines)
    status = made.start().wait(10)
    assert status.state in ("failed", "killed")
    with pytest.raises(JobFailedError) as caught:
        made.raise_if_failed()
    assert told in str(caught.value)
    assert fix in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_child_leads_its_own_session_without_a_grab_of_the_gpu(
    tmp_path, monkeypatch
):
    made = stand_in(
        tmp_path,
        monkeypatch,
        ["echo $XLA_PYTHON_CLIENT_PREALLOCATE $MPLBACKEND", 'echo "$@"', "sleep 30"],
    )
    made.start()
    try:
        wait_for(lambda: len(made.last_lines()) == 2)
        assert os.getsid(made.status.pid) == made.status.pid != os.getsid(0)
        first, second = made.last_lines()
        assert first == "false agg"
        assert second.startswith("-m isa_toolkit distill --method frepo")
        assert made.status.state == "starting"
        assert made.start().status.pid == made.status.pid
        with pytest.raises(TimeoutError, match="still runs after"):
            made.wait(0.01)
    finally:
        # While it loads a file would be taken for an old one, so it is a signal.
        made.stop()
    assert made.wait(5).state == "stopped"
    made.raise_if_failed()


def test_only_the_last_start_is_explained(tmp_path, monkeypatch):
    made = stand_in(tmp_path, monkeypatch, ["echo old", "exit 1"])
    made.start().wait(10)
    script = tmp_path / "child"
    script.write_text("#!/bin/sh\necho new\nexit 1\n")
    made.start().wait(10)
    assert made.last_lines() == ["new"]


def test_a_third_stop_kills_what_hears_nothing(tmp_path, monkeypatch):
    made = stand_in(
        tmp_path,
        monkeypatch,
        [
            "trap '' TERM INT",
            'echo \'{"status": "running", "step": 1}\' > $RUN/status.json',
            "while :; do sleep 0.05; done",
        ],
    )
    made.start()
    wait_for(lambda: made.status.state == "running")
    made.stop()
    assert (made.path / "STOP").exists()
    made.stop()
    time.sleep(0.1)
    assert made.status.state == "stopping"
    made.stop()
    assert made.wait(5).state == "stopped"


def test_a_full_disk_is_said_and_leaves_no_child(tmp_path, monkeypatch):
    made = stand_in(tmp_path, monkeypatch, ["sleep 30"])

    def full(path, value):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "write_json", full)
    with pytest.raises(OSError, match=r"cannot be written: No space .* choose another"):
        made.start()
    assert not made.status.is_alive


# --- real children ----------------------------------------------------------------------

_KERNEL = """
import os, sys
from long_run import long_run
from isa_toolkit.sweeps import Job
print(Job(long_run(), out=sys.argv[1], checkpoint_s=0.01).start().path, flush=True)
os._exit(0)  # as a kernel that is killed
"""


@pytest.mark.slow
def test_kernel_restart_kill_9_and_stop_cost_nothing(whole, compiled, tmp_path):
    del compiled
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    kernel = subprocess.run(
        [sys.executable, "-c", _KERNEL, tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    path = Path(kernel.stdout.strip())
    assert path == tmp_path / whole.path.name
    # The kernel is gone, its child is not.
    made = Job.attach(path)
    assert made.status.is_alive
    wait_for(lambda: made.progress.step >= 500)
    assert made.status.state == "running"
    [other] = job.runs_in(tmp_path)
    assert other.status == made.status

    os.kill(made.status.pid, signal.SIGKILL)
    wait_for(lambda: not made.status.is_alive)
    assert made.status.state == "killed"
    assert other.status.state == "killed"
    assert not (path / "distilled.safetensors").exists()
    with pytest.raises(JobFailedError, match=r"was killed at step .*Resume goes on"):
        made.raise_if_failed()
    killed_at = made.progress.step

    resumed = Job.attach(path).start()
    wait_for(lambda: resumed.status.state == "running")
    resumed.stop()
    assert resumed.status.state == "stopping"
    assert resumed.wait(60).state == "stopped"
    assert resumed.progress.step >= min(killed_at, 500)
    assert other.status.state == "stopped"

    # By the experiment alone, as after `jupyter` itself was closed.
    last = Job(long_run(), out=tmp_path)
    assert last.status.state == "stopped"
    assert last.start().wait(60).state == "done"
    last.raise_if_failed()
    assert result_bytes(path) == result_bytes(whole.path)
