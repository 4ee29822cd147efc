"""Runs of a grid are those that `distill` makes, whoever begins or ends them."""

from __future__ import annotations

import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import files_of, metric_rows, result_bytes, tiny

from isa_toolkit.distillation import (
    Progress,
    Run,
    distill,
    distill_grid,
    loop,
    trainer,
)
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import DivergedError, RunLockedError
from isa_toolkit.networks import build

pytestmark = pytest.mark.slow

SHORT = 16
THREE = (
    tiny(),
    tiny(drop_easy=0.0, drop_hard=0.3, segment=(-1.0, 0.5), learning_rate=1e-3),
    tiny(seed=1, steps=SHORT),
)


@pytest.fixture(scope="module")
def singles(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs, each made alone; not to be changed."""
    out = tmp_path_factory.mktemp("singles")
    return [whole, *(distill(one, out=out) for one in THREE[1:])]


@pytest.fixture(scope="module")
def sequential(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs as one program, one after the other; not to be changed."""
    del whole
    return distill_grid(THREE, out=tmp_path_factory.mktemp("turns"), vmap=False)


@pytest.fixture(scope="module")
def vmapped_runs(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs as one program, vmapped; not to be changed."""
    del whole
    return distill_grid(THREE, out=tmp_path_factory.mktemp("vmap"), vmap=True)


@pytest.fixture(scope="module")
def halted(
    sequential: list[Run], tmp_path_factory: pytest.TempPathFactory
) -> list[Run]:
    """Return the three runs of a grid, stopped at different steps; to be copied."""
    del sequential
    seen: list[str] = []

    def stop_in_turn(reported: Progress) -> bool:
        seen.append(reported.path.name)
        return reported.step >= 5 + 2 * len(
            set(seen[: seen.index(reported.path.name) + 1])
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_CHUNK_S", 1e-9)
        return distill_grid(
            THREE,
            out=tmp_path_factory.mktemp("halted"),
            callbacks=[stop_in_turn],
            vmap=False,
        )


def grid_program(vmapped: bool) -> Any:
    resolved = tiny().resolve()
    data = resolved.dataset
    network = build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )
    return loop.chunk(network, batch_size=32, vmapped=vmapped)


def last_state(path: Path) -> dict[str, np.ndarray]:
    """Return everything that a run's last checkpoint holds: pool and moments, too."""
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(path / "checkpoints") as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        stored = manager.restore(manager.latest_step(), args=args)["state"]
    return {name: np.asarray(leaf) for name, leaf in stored.items()}


def assert_same_run(one: Run, other: Run) -> None:
    """Assert equal bytes of result, metrics, snapshots and everything else carried."""
    assert one.path.name == other.path.name
    assert one.status["status"] == other.status["status"] == "done"
    assert metric_rows(one.path) == metric_rows(other.path)
    assert result_bytes(one.path) == result_bytes(other.path)
    assert list(one.snapshots) == list(other.snapshots)
    for step, file in one.snapshots.items():
        assert file.read_bytes() == other.snapshots[step].read_bytes()
    mine, its = last_state(one.path), last_state(other.path)
    assert list(mine) == list(its)
    for name, leaf in mine.items():
        assert leaf.tobytes() == its[name].tobytes(), name


def listed(run: Run) -> list[str]:
    """Return what lies in a run's folder, but for the names that Orbax gives."""
    found = [path.relative_to(run.path) for path in run.path.rglob("*")]
    return sorted(
        str(path)
        for path in found
        if path.parts[0] != "checkpoints" or len(path.parts) == 2
    )


def copy_all(runs: list[Run], out: Path) -> list[Path]:
    return [Path(shutil.copytree(run.path, out / run.path.name)) for run in runs]


# --- the same runs ------------------------------------------------------------------


def test_runs_that_take_turns_are_single_runs_to_the_bit(
    sequential: list[Run], singles: list[Run]
) -> None:
    for run, single in zip(sequential, singles, strict=True):
        assert_same_run(run, single)
        assert listed(run) == listed(single)


def test_runs_side_by_side_are_single_runs_but_for_rounding(
    vmapped_runs: list[Run], singles: list[Run]
) -> None:
    for run, single in zip(vmapped_runs, singles, strict=True):
        assert (run.path.name, run.step) == (single.path.name, single.step)
        mine, its = last_state(run.path), last_state(single.path)
        assert list(mine) == list(its)
        for name, leaf in mine.items():
            if not np.issubdtype(leaf.dtype, np.floating):
                np.testing.assert_array_equal(leaf, its[name])
                continue
            # Measured: 6e-5.
            scale = np.abs(its[name]).max()
            assert np.abs(leaf - its[name]).max() <= 1e-3 * scale, name
        moved = single.distilled_at(single.step).images - single.distilled_at(0).images
        apart = run.distilled.images - single.distilled.images
        assert np.linalg.norm(apart) < 1e-3 * np.linalg.norm(moved)


def test_a_grid_starts_from_the_same_images_however_it_runs(
    vmapped_runs: list[Run], sequential: list[Run]
) -> None:
    for one, other in zip(vmapped_runs, sequential, strict=True):
        assert one.snapshots[0].read_bytes() == other.snapshots[0].read_bytes()


@pytest.mark.parametrize("vmapped", [False, True])
def test_a_second_grid_compiles_nothing(
    vmapped: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue("vmapped_runs" if vmapped else "sequential")
    program = grid_program(vmapped)
    before = program._cache_size()
    distill_grid(
        tiny(steps=4, learning_rate=2e-3),
        {"drop_easy": [0.1, 0.2, 0.3], "seed": [3]},
        out=tmp_path,
        vmap=vmapped,
    )
    assert before >= 1
    assert program._cache_size() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_runs_come_in_the_order_of_the_grid(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del whole
    monkeypatch.setattr(trainer, "_free_bytes", lambda _: 1)
    with pytest.warns(UserWarning, match="groups of at most 1"):
        runs = distill_grid(
            tiny(steps=1),
            {"segment": [(0.0, 0.1), (0, 0.2)], "seed": range(2)},
            out=tmp_path,
        )
    got = [
        (run.experiment["seed"], run.experiment["method"]["segment"][1]) for run in runs
    ]
    assert got == [(0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2)]


def test_runs_of_several_programs_follow_each_other(
    singles: list[Run], tmp_path: Path
) -> None:
    runs = distill_grid(
        [tiny(steps=1, batch_size=16), tiny(), tiny(steps=1, batch_size=16, seed=1)],
        out=tmp_path,
    )
    assert [run.experiment["batch_size"] for run in runs] == [16, 32, 16]
    assert_same_run(runs[1], singles[0])


def test_a_short_run_at_the_published_rate_warns(tmp_path: Path) -> None:
    def stop(_: Progress) -> bool:
        return True

    with pytest.warns(UserWarning, match=r"^\d+ steps at the published learning rate"):
        distill(tiny(), out=tmp_path, callbacks=[stop])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distill(tiny(learning_rate=3e-3), out=tmp_path, callbacks=[stop])


def test_equal_experiments_are_run_once(singles: list[Run], tmp_path: Path) -> None:
    runs = distill_grid([THREE[0], tiny(), THREE[0]], out=tmp_path)
    assert len({run.path for run in runs}) == len(list(tmp_path.iterdir())) == 1
    assert_same_run(runs[2], singles[0])


# --- stopping and going on ----------------------------------------------------------


def test_a_callback_stops_each_run_at_its_own_step(halted: list[Run]) -> None:
    assert [run.step for run in halted] == [7, 9, 11]
    for run in halted:
        assert run.status["status"] == "stopped"
        assert (run.path / "checkpoints" / str(run.step)).is_dir()


def test_a_grid_goes_on_from_different_steps(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    copy_all(halted, tmp_path)
    reported: dict[str, int] = {}
    runs = distill_grid(
        THREE,
        out=tmp_path,
        callbacks=[
            lambda tell: reported.setdefault(tell.path.name, tell.step) and None
        ],
        vmap=False,
    )
    assert list(reported.values()) == [8, 10, 12]
    for run, single in zip(runs, singles, strict=True):
        assert_same_run(run, single)


def test_a_run_begun_in_a_grid_ends_alone(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    copy_all(halted, tmp_path)
    for experiment, single in zip(THREE[:2], singles[:2], strict=True):
        assert_same_run(distill(experiment, out=tmp_path), single)


def test_a_run_begun_alone_ends_in_a_grid(
    stopped: Run, singles: list[Run], tmp_path: Path
) -> None:
    copy_all([stopped], tmp_path)
    runs = distill_grid(THREE, out=tmp_path, vmap=False)
    for run, single in zip(runs, singles, strict=True):
        assert_same_run(run, single)


def test_what_is_done_is_left_alone_and_groups_share_the_program(
    singles: list[Run],
    sequential: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = copy_all(sequential[:1], tmp_path)[0]
    before = files_of(done)
    more = [tiny(seed=seed, steps=4) for seed in range(3)]
    program = grid_program(False)
    compiled = program._cache_size()
    monkeypatch.setattr(
        trainer.Trainer, "_program_bytes", lambda _, size, data: 10 * size
    )
    monkeypatch.setattr(trainer, "_free_bytes", lambda _: 49 / 0.8)
    with pytest.warns(UserWarning, match="5 runs need .* groups of at most 3"):
        runs = distill_grid([*THREE, *more], out=tmp_path, vmap=False)
    assert files_of(done) == before
    # The second group has an idle slot.
    assert program._cache_size() == compiled
    assert all(run.is_done for run in runs)
    for run, single in zip(runs[:3], singles, strict=True):
        assert_same_run(run, single)
    assert_same_run(runs[-1], distill(more[-1], out=tmp_path / "alone"))


def test_a_stop_file_stops_its_run_alone(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    paths = copy_all(halted, tmp_path)

    def ask(reported: Progress) -> None:
        if reported.path == paths[0].absolute():
            (reported.path / "STOP").touch()

    runs = distill_grid(THREE, out=tmp_path, callbacks=[ask], vmap=False)
    assert (runs[0].status["status"], runs[0].step) == ("stopped", 8)
    assert not (paths[0] / "STOP").exists()
    for run, single in zip(runs[1:], singles[1:], strict=True):
        assert_same_run(run, single)


def test_a_signal_stops_all_runs(halted: list[Run], tmp_path: Path) -> None:
    copy_all(halted, tmp_path)
    asked: list[int] = []

    def ask(reported: Progress) -> None:
        if not asked:
            asked.append(reported.step)
            signal.raise_signal(signal.SIGTERM)

    runs = distill_grid(THREE, out=tmp_path, callbacks=[ask], vmap=False)
    assert [run.step for run in runs] == [8, 10, 12]
    assert {run.status["status"] for run in runs} == {"stopped"}


def test_a_callback_that_raises_leaves_each_run_to_go_on(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    copy_all(halted, tmp_path)

    def fail(reported: Progress) -> None:
        raise ZeroDivisionError(reported.path.name)

    with pytest.raises(ZeroDivisionError):
        distill_grid(THREE, out=tmp_path, callbacks=[fail], vmap=False)
    for single in singles:
        status = Run.open(tmp_path / single.path.name).status
        assert status["status"] == "failed"
        assert not (tmp_path / single.path.name / "holder.json").exists()
    for run, single in zip(
        distill_grid(THREE, out=tmp_path, vmap=False), singles, strict=True
    ):
        assert_same_run(run, single)


# --- divergence ---------------------------------------------------------------------


@pytest.mark.parametrize("vmapped", [False, True])
def test_a_run_that_diverges_leaves_the_others_alone(
    vmapped: bool,
    request: pytest.FixtureRequest,
    singles: list[Run],
    tmp_path: Path,
) -> None:
    same = request.getfixturevalue("vmapped_runs" if vmapped else "sequential")
    experiments = [tiny(online_learning_rate=1e38), *THREE[1:]]
    bad = experiments[0].resolve().name
    with pytest.raises(
        DivergedError,
        match=rf"^1 of 3 runs diverged, the others continued\. {bad}: At step \d+ .*finite",
    ):
        distill_grid(experiments, out=tmp_path, vmap=vmapped)
    status = Run.open(tmp_path / bad).status
    assert status["status"] == "failed"
    assert "became not finite" in status["reason"]
    for run in same[1:]:
        assert_same_run(Run.open(tmp_path / run.path.name), run)
    del singles


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [[], ["digits"], "digits", tiny().load()])
def test_what_is_no_experiment_is_refused(nothing: Any) -> None:
    for make in (distill, distill_grid):
        with pytest.raises(TypeError, match="experiment must be an Experiment"):
            make(nothing)


def test_resume_false_refuses_before_anything_is_made(
    singles: list[Run], tmp_path: Path
) -> None:
    copy_all(singles[2:], tmp_path)
    with pytest.raises(FileExistsError, match=singles[2].path.name):
        distill_grid(THREE, out=tmp_path, resume=False)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_in_use_is_refused_and_the_others_are_freed(
    singles: list[Run], tmp_path: Path
) -> None:
    path = tmp_path / singles[1].path.name
    with RunStore(path).lock(), pytest.raises(RunLockedError, match=path.name):
        distill_grid(THREE, out=tmp_path)
    with RunStore(tmp_path / singles[0].path.name).lock():
        pass
