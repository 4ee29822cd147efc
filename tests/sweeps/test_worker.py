"""A worker runs a group in whatever process it is, and leaves how that ended."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from long_run import endless
from tiny_run import result_bytes, tiny

from isa_toolkit.distillation.store import lock_folder
from isa_toolkit.errors import DIVERGED, FAILED, LOCKED, USAGE
from isa_toolkit.sweeps import plan, worker
from isa_toolkit.sweeps.states import run_status
from isa_toolkit.sweeps.sweep import write
from isa_toolkit.sweeps.worker import run_group

pytestmark = pytest.mark.slow


def group(out: Path, *experiments) -> Path:
    """Write the folder of a group, as a launch does."""
    made = plan(experiments, out=out, name="test", pack=True)
    return write(made, {"checkpoint_s": 60.0}).plan.group_path(next(iter(made.groups)))


def result_of(folder: Path) -> tuple[int, str]:
    stored = json.loads((folder / "worker.json").read_text())
    return stored["code"], stored["reason"]


def short(**changes):
    return tiny(selection="last", validation_every=0, **changes)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a group of two runs, one of which diverges; return its folder."""
    folder = group(
        tmp_path_factory.mktemp("packed"), short(), short(learning_rate=1e30)
    )
    assert run_group(folder) == DIVERGED
    return folder


def test_a_packed_group_runs_all_and_reports_the_run_that_diverged(packed):
    code, reason = result_of(packed)
    assert (code, reason[:4]) == (DIVERGED, "1 of")
    found = [run_status(path) for path in packed.parents[3].glob("digits-*")]
    assert sorted(one.state for one in found) == ["diverged", "done"]
    [diverged] = [one for one in found if one.state == "diverged"]
    assert "not finite" in diverged.reason
    assert not (packed / "holder.json").exists()


def test_what_is_done_or_diverged_is_not_run_again(packed, monkeypatch):
    monkeypatch.setattr(worker, "distill_grid", None)
    assert run_group(packed) == 0
    assert result_of(packed) == (0, "")


def test_a_group_of_one_is_a_plain_run(packed, tmp_path):
    assert run_group(str(group(tmp_path, short()))) == 0
    [path] = tmp_path.glob("digits-*")
    assert result_bytes(path) == result_bytes(packed.parents[3] / path.name)


def test_branches_are_planned_shown_and_run_from_where_their_source_is(
    packed, tmp_path, monkeypatch
):
    [source] = [
        path.parent for path in packed.parents[3].glob("*/distilled.safetensors")
    ]
    monkeypatch.chdir(source.parent)
    grid = {"start_from": [source.name], "start_step": [24], "seed": [0, 1]}
    made = plan(short(steps=26), grid, out=tmp_path, pack=True)
    assert json.loads(json.dumps(grid)) == grid
    assert {run.where["start_from"] for run in made.runs} == {str(source)}
    assert {run.description["start_step"] for run in made.runs} == {24}
    paced = dataclasses.replace(made.runs[0], pace=(1.0, 10.0))
    assert paced.seconds_left(run_status(tmp_path)) == 1 + 2 * 10
    folder = write(made, {"keep_checkpoints": None}).plan.group_path(made.runs[0].group)
    monkeypatch.chdir(tmp_path)
    assert run_group(folder) == 0
    rows = made.table()
    assert (list(rows.state), list(rows.step)) == (["done"] * 2, [26] * 2)
    branch = short(steps=26, start_from=source)
    shown = plan([short(), branch], out=tmp_path)
    hashed = json.loads((source / "experiment.json").read_text())["hash"][:8]
    assert list(shown.table().differs) == [
        "start_from=None, start_step=None",
        f"start_from={hashed}, start_step=24",
    ]


def test_a_stop_file_ends_it_before_it_begins(tmp_path):
    folder = group(tmp_path, short(seed=5))
    (folder.parents[1] / "STOP").touch()
    assert run_group(folder) == 0
    assert not list(tmp_path.glob("digits-*"))


def test_the_end_of_its_parent_stops_it_with_a_checkpoint(
    packed, tmp_path, monkeypatch
):
    del packed
    monkeypatch.setenv(worker.PARENT, "1")
    folder = group(tmp_path, endless())
    assert run_group(folder) == 0
    [path] = tmp_path.glob("digits-*")
    assert run_status(path).state == "stopped"


def test_changed_data_are_refused(tmp_path, capsys):
    folder = group(tmp_path, tiny())
    job = json.loads((folder / "job.json").read_text())
    job["runs"][0]["where"]["limit"] = 500
    (folder / "job.json").write_text(json.dumps(job))
    assert run_group(folder) == USAGE
    code, reason = result_of(folder)
    assert code == USAGE
    assert "must be the one that was planned" in reason
    assert capsys.readouterr().err == f"isa-toolkit: {reason}\n"
    assert not list(tmp_path.glob("digits-*"))


def test_a_group_that_another_process_runs_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_LOCK_WAIT_S", 0.0)
    folder = group(tmp_path, tiny())
    with lock_folder(folder, ValueError):
        assert run_group(folder) == LOCKED
        assert not (folder / "worker.json").exists()


def test_any_error_becomes_a_reason(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **settings):
        raise MemoryError("too\nmuch")

    monkeypatch.setattr(worker, "distill_grid", fail)
    folder = group(tmp_path, tiny())
    assert run_group(folder) == FAILED
    assert result_of(folder) == (1, "MemoryError: too")
    assert "Traceback" in capsys.readouterr().err


def test_a_deleted_run_folder_fails_the_run(packed, tmp_path, monkeypatch):
    del packed
    folder = group(tmp_path, short(seed=6))
    real = worker.distill_grid

    def distill(experiment, **settings):
        def delete(progress):
            shutil.rmtree(progress.path)

        return real(experiment, callbacks=[delete], **settings)

    monkeypatch.setattr(worker, "distill_grid", distill)
    assert run_group(folder) == FAILED
    assert "was deleted" in result_of(folder)[1]


def test_a_folder_without_a_group_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no group of a sweep at"):
        run_group(tmp_path)
