"""Job arrays, as far as they can be tried without a cluster: submitit's own executors."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickletools
import signal
from pathlib import Path

import pytest
from long_run import endless, wait_for
from stand_in_workers import (
    DONE,
    Background,
    is_gone,
    last_checkpoint,
    stand_ins,
    states,
    three,
    worker_pids,
)

from isa_toolkit.sweeps import Sweep, plan
from isa_toolkit.sweeps.engines import SlurmEngine

pytestmark = pytest.mark.slow


def test_without_submitit_or_slurm_the_message_has_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the command sbatch.*login node"):
        three(tmp_path).run("slurm")
    with pytest.raises(TypeError, match="timeout_minutes"):
        SlurmEngine(cluster="local", timeout_minutes=3)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'isa-toolkit\[slurm\]'"
    ):
        three(tmp_path).run("slurm", cluster="debug")


def test_slurm_gets_one_array_that_asks_for_the_parameters(tmp_path, monkeypatch):
    """A stand-in for sbatch keeps the script that submitit writes."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    sbatch = f"cp $1 {tmp_path}/job.sh; echo Submitted batch job 7"
    for name, line in {"sbatch": sbatch, "srun": "true"}.items():
        (scripts / name).write_text(f"#!/bin/sh\n{line}\n")
        (scripts / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}:{os.environ['PATH']}")
    made = three(tmp_path / "runs").run(
        "slurm", wait=False, slots=2, timeout_min=90, gpus_per_node=2, mem_gb=8,
        slurm_partition="p", slurm_setup=["module a"],
    )  # fmt: skip
    text = (tmp_path / "job.sh").read_text()
    for line in (
        "--array=0-2%2", "--partition=p", "--time=90", "--gpus-per-node=2", "--mem=8GB"
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in text
    assert "\nmodule a\n" in text
    assert (made.state, states(made)) == ("queued", ["queued"] * 3)
    # What submitit pickles are names and paths.
    [first, *_] = sorted((made.path / "submitit").rglob("*.pkl"))
    texts = [
        argument
        for _, argument, _ in pickletools.genops(first.read_bytes())
        if isinstance(argument, str)
    ]
    assert "GroupTask" in texts
    assert str(made.plan.group_path(three(tmp_path).runs[0].group)) in texts


# submitit leaves the handlers of its logs open.
@pytest.mark.filterwarnings("ignore:.*_log.(out|err):ResourceWarning")
@pytest.mark.filterwarnings(
    "ignore:.*_log.(out|err):pytest.PytestUnraisableExceptionWarning"
)
def test_debug_runs_one_group_after_the_other(tmp_path, monkeypatch):
    made = stand_ins(tmp_path, monkeypatch, DONE)(
        engine="slurm", cluster="debug", slots=None
    )
    assert states(made) == ["done"] * 3
    gc.collect()


def test_a_job_at_its_time_limit_is_queued_again_and_resumes(whole, tmp_path):
    del whole
    made = plan(endless(), out=tmp_path)
    running = Background(
        lambda: made.run("slurm", cluster="local", checkpoint_s=0.01, progress=False)
    )
    path = made.path
    wait_for((path / "launch.json").exists)
    sweep = Sweep(path)
    try:
        wait_for(lambda: sweep.plan.statuses()[0].step > 0 and worker_pids(path))
        [first] = worker_pids(path)
        status = Path(f"/proc/{first}/stat").read_text()
        parent = int(status.rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGUSR2)  # as Slurm does before the time limit
        wait_for(lambda: is_gone(first))
        [run] = sweep.runs
        saved = last_checkpoint(run.path)
        wait_for(lambda: [pid for pid in worker_pids(path) if pid != first])
        wait_for(lambda: run.step > saved)
    finally:
        sweep.cancel()
        running.join()
    assert not worker_pids(path)
    assert states(sweep) == ["stopped"]
