"""A run survives whatever ends it: the bytes are those of one that never stopped."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import (
    STEPS,
    STOPPED_AT,
    files_of,
    metric_rows,
    result_bytes,
    start_child,
    stop_at,
    tiny,
    wait_for_step,
)

from isa_toolkit import distilled, files
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import (
    Experiment,
    Progress,
    Run,
    api,
    distill,
    loop,
    schedule,
    store,
    trainer,
)
from isa_toolkit.distillation.checkpoints import Checkpoints
from isa_toolkit.distillation.run_state import RunState
from isa_toolkit.errors import DivergedError, RunLockedError

pytestmark = pytest.mark.slow


def copy_of(original: Run, out: Path) -> Path:
    """Copy a run folder into ``out`` and return the copy."""
    return Path(shutil.copytree(original.path, out / original.path.name))


def assert_same_result(one: Run, other: Run) -> None:
    assert one.status["status"] == other.status["status"] == "done"
    assert metric_rows(one.path) == metric_rows(other.path)
    assert result_bytes(one.path) == result_bytes(other.path)
    assert list(one.snapshots) == list(other.snapshots)
    for step, file in one.snapshots.items():
        assert file.read_bytes() == other.snapshots[step].read_bytes()


# --- what a run leaves --------------------------------------------------------------


def test_metrics_have_every_row_once(whole: Run) -> None:
    rows = [json.loads(row) for row in metric_rows(whole.path)]
    train = [row["step"] for row in rows if row["kind"] == "train"]
    validation = [row["step"] for row in rows if row["kind"] == "validation"]
    assert train == [4, 8, 12, 16, 20, 24]
    assert validation == [8, 16, 24]
    assert list(whole.snapshots) == [0, *validation]


def test_metrics_are_means_over_their_steps(tmp_path: Path, whole: Run) -> None:
    each = distill(tiny(log_every=1), out=tmp_path)
    fine, coarse = each.metrics, whole.metrics
    fine = fine[fine.kind == "train"]
    coarse = coarse[coarse.kind == "train"]
    for name in ("loss", "target_loss", "label_loss", "target_accuracy", "age"):
        means = fine[name].to_numpy().reshape(-1, 4).mean(axis=1)
        np.testing.assert_allclose(coarse[name].to_numpy(), means, rtol=1e-12)


def test_metrics_keep_what_the_knobs_ask(whole: Run) -> None:
    train = whole.metrics[whole.metrics.kind == "train"]
    # 20 % of 32 rows are dropped, rounded to whole rows.
    assert set(train.kept) <= {25.0, 26.0}


def test_the_selection_sets_in_at_a_fraction_of_the_steps_of_the_run(
    whole: Run, tmp_path: Path
) -> None:
    program = loop.chunk(tiny().resolve().build_network(), batch_size=32)
    compiled: Any = program
    before = compiled._cache_size()
    late = distill(tiny(select_from=0.5), out=tmp_path)
    kept = late.metrics[late.metrics.kind == "train"].kept.tolist()
    assert kept[:3] == [32] * 3
    assert kept[3:] == whole.metrics[whole.metrics.kind == "train"].kept.tolist()[3:]
    assert compiled._cache_size() == before


def test_the_last_status_and_the_closing_files(whole: Run) -> None:
    assert whole.status["step"] == whole.status["steps"] == STEPS
    environment = json.loads((whole.path / "environment.json").read_text())
    assert len(environment["starts"]) == 1
    assert {"jax", "python", "device"} <= set(environment["starts"][0])
    assert not (whole.path / "holder.json").exists()


def test_images_and_labels_have_moved(whole: Run) -> None:
    first, last = whole.distilled_at(0), whole.distilled_at(STEPS)
    assert np.abs(last.images - first.images).max() > 1e-4
    assert np.abs(last.labels - first.labels).max() > 1e-4


# --- stopping and going on ----------------------------------------------------------


def test_a_callback_stops_with_a_checkpoint(stopped: Run) -> None:
    assert stopped.status["status"] == "stopped"
    assert stopped.step == STOPPED_AT
    assert not stopped.is_done
    assert (stopped.path / "checkpoints" / str(STOPPED_AT)).is_dir()
    # Steps 9 to 11 await a row of their own.
    assert json.loads(metric_rows(stopped.path)[-1])["step"] == 8


def test_a_stopped_run_goes_on_as_if_it_had_not(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    copy_of(stopped, tmp_path)
    reported: list[int] = []
    resumed = distill(
        tiny(),
        out=tmp_path,
        callbacks=[lambda progress: reported.append(progress.step)],
    )
    assert reported[0] == STOPPED_AT + 1
    assert reported[-1] == STEPS
    assert_same_result(resumed, whole)


def test_a_stop_file_stops_and_is_taken_away(
    stopped: Run, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(stopped, tmp_path)
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)

    def ask(progress: Progress) -> None:
        if progress.step == 13:
            (path / "STOP").touch()

    again = distill(tiny(), out=tmp_path, callbacks=[ask])
    assert (again.status["status"], again.step) == ("stopped", 13)
    assert not (path / "STOP").exists()
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_stop_file_at_the_last_step_leaves_a_done_run(
    stopped: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)

    def ask(progress: Progress) -> None:
        if progress.step == STEPS:
            (path / "STOP").touch()

    assert distill(tiny(), out=tmp_path, callbacks=[ask]).status["status"] == "done"
    assert not (path / "STOP").exists()


def test_chunk_lengths_do_not_matter(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)
    steps: list[int] = []
    single = distill(
        tiny(), out=tmp_path, callbacks=[lambda progress: steps.append(progress.step)]
    )
    assert steps == list(range(1, STEPS + 1))
    assert_same_result(single, whole)


def test_rows_later_than_the_checkpoint_are_written_once(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)
    with (path / "metrics.jsonl").open("a") as file:
        # What a crash after step 12 leaves: a whole row and a torn one.
        file.write(metric_rows(whole.path)[4] + "\n")
        file.write(metric_rows(whole.path)[5][:20])
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_run_without_checkpoints_starts_again(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)
    shutil.rmtree(path / "checkpoints")
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_run_that_died_before_its_result_was_written_only_finishes(
    whole: Run, tmp_path: Path
) -> None:
    path = copy_of(whole, tmp_path)
    (path / "distilled.safetensors").unlink()
    called: list[Progress] = []
    assert_same_result(distill(tiny(), out=tmp_path, callbacks=[called.append]), whole)
    assert not called


def test_a_done_run_is_returned_without_work(
    whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(whole.path)
    monkeypatch.setattr(api, "Trainer", None)
    again = distill(tiny(), out=whole.path.parent)
    assert again.path == whole.path
    assert files_of(whole.path) == before


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {
            "status": "running",
            "step": 20,
            "steps": 24,
            "steps_per_s": 1,
            "elapsed_s": 2,
        },
    ],
)
def test_a_result_whose_status_was_not_written_any_more_is_told_as_done(
    reported: dict[str, Any] | None, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(whole, tmp_path)
    (path / "status.json").unlink()
    if reported is not None:
        (path / "status.json").write_text(json.dumps(reported))
    again = distill(tiny(), out=tmp_path)
    assert (again.status["status"], again.status["step"]) == ("done", STEPS)


def test_a_run_that_goes_on_tells_where_it_was_from_the_start(
    stopped: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(stopped, tmp_path)
    before = Run.open(path).status["step"]

    def died(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(RunState, "restore", died)
    with pytest.raises(MemoryError):
        distill(tiny(), out=tmp_path)
    assert before == Run.open(path).status["step"] > 0


def test_a_run_works_outside_the_main_thread(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    copy_of(stopped, tmp_path)
    results: list[Run] = []
    thread = threading.Thread(
        target=lambda: results.append(distill(tiny(), out=tmp_path))
    )
    thread.start()
    thread.join()
    assert_same_result(results[0], whole)


def test_signal_handlers_are_put_back(stopped: Run, tmp_path: Path) -> None:
    copy_of(stopped, tmp_path)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    distill(tiny(), out=tmp_path, callbacks=[stop_at(0)])
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_signal_ends_at_once(stopped: Run, tmp_path: Path) -> None:
    path = copy_of(stopped, tmp_path)

    def interrupt(progress: Progress) -> None:
        del progress
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="second signal SIGTERM"):
        distill(tiny(), out=tmp_path, callbacks=[interrupt])
    assert Run.open(path).status["status"] == "failed"


def raising(number: signal.Signals, function):
    """Return ``function`` with a signal just before it."""

    def wrapped(*arguments, **settings):
        signal.raise_signal(number)
        return function(*arguments, **settings)

    return wrapped


@pytest.mark.parametrize(
    ("where", "name"),
    [(Experiment, "load"), (schedule, "first_images"), (RunState, "record")],
)
def test_a_signal_before_the_first_chunk_stops_with_nothing_lost(
    where, name: str, whole: Run, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, raising(signal.SIGTERM, getattr(where, name)))
        patch.setattr(loop, "chunk", lambda *_, **__: None)
        halted = distill(tiny(), out=tmp_path)
    assert (halted.status["status"], halted.step) == ("stopped", 0)
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_signal_while_a_stopped_run_loads_keeps_its_checkpoint(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        first = raising(signal.SIGINT, schedule.first_images)
        patch.setattr(schedule, "first_images", first)
        again = distill(tiny(), out=tmp_path)
    assert (again.status["status"], again.step) == ("stopped", STOPPED_AT)
    assert again.status["elapsed_s"] == stopped.status["elapsed_s"]
    assert metric_rows(path) == metric_rows(stopped.path)
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_signal_during_the_closing_writes_does_not_stop_them(
    whole: Run, tmp_path: Path
) -> None:
    path = copy_of(whole, tmp_path)
    (path / "distilled.safetensors").unlink()
    with pytest.MonkeyPatch.context() as patch:
        read = store.RunStore.own_metrics
        patch.setattr(store.RunStore, "own_metrics", raising(signal.SIGTERM, read))
        assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_what_a_callback_raises_comes_through_as_it_is(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)
    mine = FileNotFoundError(errno.ENOENT, "No such file", "my-notes.txt")

    def fail(progress: Progress) -> None:
        del progress
        raise mine

    with pytest.raises(FileNotFoundError, match="my-notes") as caught:
        distill(tiny(), out=tmp_path, callbacks=[fail])
    assert caught.value is mine
    assert Run.open(path).status["status"] == "failed"
    assert_same_result(distill(tiny(), out=tmp_path), whole)


def test_a_damaged_checkpoint_costs_steps_but_changes_nothing(
    whole: Run, tmp_path: Path
) -> None:
    path = copy_of(whole, tmp_path)
    (path / "distilled.safetensors").unlink()
    (path / "checkpoints" / str(STEPS) / "notes" / "metadata").unlink()
    reported: list[int] = []
    with pytest.warns(
        UserWarning, match=rf"at step {STEPS}\); .* resumes from step 16"
    ):
        resumed = distill(
            tiny(), out=tmp_path, callbacks=[lambda tell: reported.append(tell.step)]
        )
    assert reported[0] == 17
    assert_same_result(resumed, whole)


# --- processes ----------------------------------------------------------------------


def test_kill_9_costs_nothing_and_frees_the_lock(whole: Run, tmp_path: Path) -> None:
    child = start_child(tmp_path)
    try:
        wait_for_step(child, 5)
        with pytest.raises(RunLockedError, match=rf"in use by process {child.pid} "):
            distill(tiny(), out=tmp_path)
        wait_for_step(child, 10)
    finally:
        child.kill()
        child.communicate()
    path = tmp_path / whole.path.name
    assert Run.open(path).status["status"] == "running"
    assert not (path / "distilled.safetensors").exists()
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    reported: list[int] = []
    resumed = distill(
        tiny(),
        out=tmp_path,
        callbacks=[lambda progress: reported.append(progress.step)],
    )
    assert reported[0] > 5
    assert_same_result(resumed, whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_a_checkpoint(
    number: signal.Signals, whole: Run, tmp_path: Path
) -> None:
    child = start_child(tmp_path)
    try:
        wait_for_step(child, 5)
        child.send_signal(number)
        printed, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 0, errors
    assert printed.splitlines()[-1] == "stopped"
    halted = Run.open(tmp_path / whole.path.name)
    assert halted.status["status"] == "stopped"
    assert 5 <= halted.step < STEPS
    assert (halted.path / "checkpoints" / str(halted.step)).is_dir()
    assert_same_result(distill(tiny(), out=tmp_path), whole)


# --- refusals -----------------------------------------------------------------------


def test_resume_false_refuses_a_folder_that_exists(stopped: Run) -> None:
    before = files_of(stopped.path)
    with pytest.raises(FileExistsError, match=r"exists\. Use resume=True"):
        distill(tiny(), out=stopped.path.parent, resume=False)
    assert files_of(stopped.path) == before


def test_a_folder_of_another_experiment_is_refused(
    stopped: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)
    there = json.loads((path / "experiment.json").read_text())
    (path / "experiment.json").write_text(json.dumps({**there, "hash": "f" * 64}))
    before = files_of(path)
    mine = there["hash"][:8]
    with pytest.raises(
        ValueError, match=f"must belong to experiment {mine}, got ffffffff. Choose"
    ):
        distill(tiny(), out=tmp_path)
    assert files_of(path) == before


def test_a_checkpoint_of_another_experiment_is_refused(
    stopped: Run, tmp_path: Path
) -> None:
    other = tiny(seed=1)
    path = tmp_path / other.resolve().name
    shutil.copytree(stopped.path / "checkpoints", path / "checkpoints")
    theirs = stopped.experiment["hash"][:8]
    with pytest.raises(ValueError, match=f"checkpoint .* got {theirs}. Choose"):
        distill(other, out=tmp_path)
    assert (path / "checkpoints" / str(STOPPED_AT)).is_dir()
    assert not (path / "metrics.jsonl").exists()
    assert Run.open(path).status["status"] == "failed"


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(
        NotADirectoryError, match=r"cannot be written: .*choose another"
    ):
        distill(tiny(), out=file)
    assert file.read_text() == "mine"


def test_checkpoint_seconds_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint_s must be above 0, got 0\.0\."):
        distill(tiny(), out=tmp_path, checkpoint_s=0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_last_checkpoint(
    stopped: Run, whole: Run, tmp_path: Path
) -> None:
    path = copy_of(stopped, tmp_path)

    write = files.write_atomically
    is_full = False

    def write_if_space(file: Path, content: bytes) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    def fill(progress: Progress) -> None:
        nonlocal is_full
        is_full = progress.step > STOPPED_AT

    with pytest.MonkeyPatch.context() as patch:
        for module in (files, distilled, store):
            patch.setattr(module, "write_atomically", write_if_space)
        with pytest.raises(OSError, match="No space left on device") as caught:
            distill(tiny(), out=tmp_path, callbacks=[fill])
    assert str(caught.value).count("cannot be written") == 1
    assert "\n" not in str(caught.value)
    with Checkpoints(path / "checkpoints") as checkpoints:
        assert checkpoints.steps[-1] == STOPPED_AT
    assert_same_result(distill(tiny(), out=tmp_path), whole)


# --- divergence ---------------------------------------------------------------------


def one_image() -> Dataset:
    """Return digits in which all training images are one image."""
    digits = tiny().load()
    images, labels = digits.train.images, digits.train.labels
    test = digits.test
    same = np.repeat(images[:1], len(images), axis=0)
    return Dataset.from_arrays(
        same, labels, test.images, test.labels, name="digits", whitening="none"
    )


def test_a_failed_cholesky_names_itself_and_the_step(
    whole: Run, tmp_path: Path
) -> None:
    del whole
    experiment = tiny(dataset=one_image(), ridge=0)
    with pytest.raises(
        DivergedError,
        match=r"At step 0 the ridge readout \(Cholesky solve\) became not finite "
        r".*Raise ridge \(now 0\).*none was written yet\.",
    ):
        distill(experiment, out=tmp_path)
    (path,) = tmp_path.iterdir()
    status = Run.open(path).status
    assert status["status"] == "failed"
    assert "Cholesky" in status["reason"]


def test_the_last_good_checkpoint_survives_divergence(
    stopped: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(stopped, tmp_path)
    chunk = loop.chunk

    def poisoned(*arguments, **options):
        def take(settings, *others):
            nan = settings.ridge * np.float32(np.nan)
            bad = dataclasses.replace(settings, ridge=nan)
            return chunk(*arguments, **options)(bad, *others)

        return take

    monkeypatch.setattr(loop, "chunk", poisoned)
    with pytest.raises(
        DivergedError, match=f"At step {STOPPED_AT} .*: step {STOPPED_AT} is kept"
    ):
        distill(tiny(), out=tmp_path)
    status = Run.open(path).status
    assert status["status"] == "failed"
    assert "not finite" in status["reason"]
    assert_finite_checkpoint(path / "checkpoints", STOPPED_AT)


@pytest.mark.parametrize("name", ["learning_rate", "online_learning_rate"])
def test_a_huge_learning_rate_names_quantity_and_step(
    name: str, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del whole
    # One step at a time: every state is one that could be saved.
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)
    experiment = tiny(**{name: 1e38})
    with pytest.raises(DivergedError, match=r"At step \d+ .* became not finite"):
        distill(experiment, out=tmp_path, checkpoint_s=1e-9)
    (path,) = tmp_path.iterdir()
    assert Run.open(path).status["status"] == "failed"
    assert not (path / "distilled.safetensors").exists()
    kept = sorted((path / "checkpoints").glob("[0-9]*"))
    for checkpoint in kept:
        assert_finite_checkpoint(path / "checkpoints", int(checkpoint.name))


def assert_finite_checkpoint(folder: Path, step: int) -> None:
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(folder) as manager:
        stored = manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )["state"]
    for leaf in stored.values():
        assert np.isfinite(np.asarray(leaf)).all()
