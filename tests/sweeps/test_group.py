"""A group runs in whatever process is given its folder, and says how it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_run import result_bytes, tiny

from isa_toolkit.distillation import Run
from isa_toolkit.distillation.store import held
from isa_toolkit.sweeps import group, plan
from isa_toolkit.sweeps.states import run_state


def folder_for(out: Path, experiments, *, pack=1, change=None) -> Path:
    """Write the folder of the first group of a plan, as a scheduler does."""
    made = plan(experiments, out=out, name="test", pack=pack)
    name, runs = next(iter(made.groups.items()))
    folder = made.path / "groups" / name
    folder.mkdir(parents=True)
    job = {
        "runs": [
            {key: getattr(run, key) for key in ("name", "hash", "where", "description")}
            for run in runs
        ],
        "checkpoint_s": 60.0,
        "shards_limit_bytes": 0,
    }
    if change is not None:
        change(job)
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def short(**changes):
    """Return an experiment without validations, which are no business of a group."""
    return tiny(selection="last", validation_every=0, **changes)


@pytest.fixture(scope="module")
def packed(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a group of two runs, one of which diverges; return its folder."""
    del compiled
    out = tmp_path_factory.mktemp("packed")
    folder = folder_for(out, [short(), short(learning_rate=1e30)], pack=True)
    assert group.run_group(folder) == 3
    return folder


def test_a_packed_group_runs_all_and_tells_of_the_one_that_diverged(packed):
    code, reason = group.read_result(packed)
    assert code == group.DIVERGED
    assert reason.startswith("1 of 2 runs diverged, the others went on.")
    out = packed.parents[3]
    found = [run_state(path) for path in sorted(out.glob("digits-*"))]
    assert sorted(one.state for one in found) == ["diverged", "done"]
    [lost] = [one for one in found if one.state == "diverged"]
    assert "became not finite" in lost.reason
    assert not (packed / "holder.json").exists()


def test_what_is_done_or_diverged_is_not_run_again(packed, monkeypatch):
    monkeypatch.setattr(group, "distill", None)
    monkeypatch.setattr(group, "distill_grid", None)
    assert group.run_group(packed) == 0
    assert group.read_result(packed) == (0, "")


def test_a_group_of_one_is_a_plain_run(packed, tmp_path):
    folder = folder_for(tmp_path, short())
    assert group.run_group(str(folder)) == 0
    [path] = tmp_path.glob("digits-*")
    assert result_bytes(path) == result_bytes(packed.parents[3] / path.name)


def test_a_file_stop_in_the_sweep_ends_it_with_a_checkpoint(packed, tmp_path):
    del packed
    folder = folder_for(tmp_path, short(seed=5))
    (folder.parents[1] / "STOP").touch()
    assert group.run_group(folder) == 0
    [path] = tmp_path.glob("digits-*")
    assert Run.open(path).status["status"] == "stopped"
    found = run_state(path)
    assert (found.state, found.step) == ("resumable", 1)


def test_changed_data_are_refused(tmp_path, capsys):
    def change(job):
        job["runs"][0]["where"]["limit"] = 500

    folder = folder_for(tmp_path, tiny(), change=change)
    assert group.run_group(folder) == 2
    code, reason = group.read_result(folder)
    assert code == group.USAGE
    assert "must be the one that was planned, got digits-ipc1-frepo-" in reason
    assert capsys.readouterr().err == f"isa-toolkit: {reason}\n"
    assert not list(tmp_path.glob("digits-*"))


def test_a_group_that_another_process_runs_is_refused(tmp_path):
    folder = folder_for(tmp_path, tiny())
    with held(folder, ValueError):
        assert group.run_group(folder) == group.LOCKED
        assert group.read_result(folder) is None


def test_any_error_becomes_a_reason(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **settings):
        raise MemoryError("too\nmuch")

    monkeypatch.setattr(group, "distill", fail)
    folder = folder_for(tmp_path, tiny())
    assert group.run_group(folder) == group.FAILED
    assert group.read_result(folder) == (1, "MemoryError: too")
    assert "Traceback" in capsys.readouterr().err


def test_a_folder_without_a_group_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no group of a sweep at"):
        group.run_group(tmp_path)
