"""Jobs of a cluster, as far as they can be tried without one: submitit's own stand-ins."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from long_run import long_run, wait_for
from stand_in_groups import Background, is_gone, last_checkpoint, states, three
from tiny_run import result_bytes

from isa_toolkit.distillation import Run
from isa_toolkit.sweeps import Slurm, Sweep, launch, plan, submitted


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"time_min": 0}, "time_min must be at least 1"),
        ({"gpus": -1}, "gpus must be at least 0"),
        ({"cpus": 0}, "cpus must be at least 1"),
        ({"mem_gb": 0}, "mem_gb must be above 0"),
        ({"requeues": -1}, "requeues must be at least 0"),
    ],
)
def test_a_job_asks_for_what_there_can_be(settings, says):
    with pytest.raises(ValueError, match=says):
        Slurm(**settings)


def test_without_submitit_or_slurm_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"needs the command sbatch.*login node"
    ):
        launch(three(tmp_path), backend="slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'isa-toolkit\[slurm\]'"
    ):
        launch(three(tmp_path), backend="submitit-debug")


def test_options_become_submitits(tmp_path, monkeypatch):
    import submitit

    seen = {}

    def keep(self, **settings):
        seen.update(settings)

    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", keep)
    monkeypatch.setattr(submitted, "_check_slurm", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    options = Slurm(partition="p", account="a", gpus=2, mem_gb=8, setup=["module a"])
    submitted.SubmittedBackend("slurm", tmp_path, slots=1, options=options)
    assert seen == {
        "name": "isa-toolkit",
        "timeout_min": 24 * 60,
        "gpus_per_node": 2,
        "cpus_per_task": 4,
        "mem_gb": 8,
        "slurm_partition": "p",
        "slurm_account": "a",
        "slurm_setup": ["module a"],
    }


def test_slurm_gets_a_script_that_asks_for_it(tmp_path, monkeypatch):
    """With a stand-in for sbatch: the script is submitit's, the lines are ours."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    sbatch = scripts / "sbatch"
    sbatch.write_text(
        f"#!/bin/sh\ncp $1 {tmp_path}/job.sh\necho Submitted batch job 7\n"
    )
    srun = scripts / "srun"
    srun.write_text("#!/bin/sh\n")
    for script in (sbatch, srun):
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}:{os.environ['PATH']}")
    options = Slurm(partition="p", time_min=90, gpus=2, mem_gb=8, setup=["module a"])
    backend = submitted.SubmittedBackend(
        "slurm", tmp_path / "submitit", slots=1, options=options
    )
    _, told = backend.start(tmp_path / "group", 0)
    assert told["job"] == "7"
    text = (tmp_path / "job.sh").read_text()
    for line in ("--partition=p", "--time=90", "--gpus-per-node=2", "--mem=8GB"):
        assert f"#SBATCH {line}\n" in text
    assert "\nmodule a\n" in text


def test_a_job_that_ran_out_of_time_is_queued_again_with_its_path():
    task = submitted.GroupTask()
    again = task.checkpoint("some/group")
    assert again.function is task
    assert again.args == ("some/group",)


def test_what_is_pickled_is_a_path_and_a_name(tmp_path):
    import pickle
    import pickletools

    import submitit

    path = tmp_path / "pickled"
    submitit.helpers.DelayedSubmission(submitted.GroupTask(), str(tmp_path)).dump(path)
    texts = {
        argument
        for _, argument, _ in pickletools.genops(path.read_bytes())
        if isinstance(argument, str)
    }
    assert {"GroupTask", "isa_toolkit.sweeps.submitted", str(tmp_path)} <= texts
    assert len(pickle.dumps(submitted.GroupTask())) < 100


# submitit leaves the handlers of its logs open.
@pytest.mark.filterwarnings("ignore:.*_log.(out|err):ResourceWarning")
@pytest.mark.filterwarnings(
    "ignore:.*_log.(out|err):pytest.PytestUnraisableExceptionWarning"
)
def test_debug_runs_in_this_process(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(submitted.process, "spawn", None)
    made = plan(long_run(), out=tmp_path)
    sweep = launch(made, backend="submitit-debug", progress=False)
    assert states(sweep) == ["done"]
    [run] = sweep.runs
    assert result_bytes(run.path) == result_bytes(whole.path)
    job = sweep.group_status(made.runs[0].group)["job"]
    assert job.startswith("DEBUG_")
    gc.collect()


@pytest.mark.slow
def test_a_job_goes_on_after_a_time_out_and_cancel_really_stops_it(
    whole: Run, tmp_path: Path
) -> None:
    del whole
    endless = long_run(steps=10_000_000, validation_every=0, selection="last")
    made = plan(endless, out=tmp_path, name="jobs")
    launched = Background(
        lambda: launch(
            made, backend="submitit-local", slots=1, checkpoint_s=0.01, progress=False
        )
    )
    wait_for((made.path / "plan.json").exists)
    sweep = Sweep.open(made.path)
    try:
        wait_for(lambda: sweep.children and next(iter(sweep.rows()))["step"] > 0)
        [first] = sweep.children.values()
        os.kill(first, signal.SIGUSR2)  # as Slurm does before a time-out
        wait_for(lambda: is_gone(first))
        assert sweep.state == "running"
        wait_for(lambda: first not in sweep.children.values() and sweep.children)
        [second] = sweep.children.values()
        [run] = sweep.runs
        saved = last_checkpoint(run.path)
        wait_for(lambda: run.step > saved)
    finally:
        sweep.cancel()
        launched.join()
    assert is_gone(second)
    assert states(sweep) == ["stopped"]
    told = sweep.group_status(made.runs[0].group)
    assert (told["attempts"], told["reasons"]) == (1, [])
    # Two processes have worked on it, the second from where the first had saved.
    assert len((run.path / "environment.json").read_text().split('"host"')) == 3
