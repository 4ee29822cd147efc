"""Runs of a grid are those that `distill` makes, whoever begins or ends them."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import files_of, metric_rows, result_bytes, tiny

from isa_toolkit.datasets import load_dataset
from isa_toolkit.distillation import (
    DivergedError,
    Experiment,
    Progress,
    Run,
    RunLockedError,
    distill,
    distill_grid,
    loop,
)
from isa_toolkit.distillation import (
    trainer as course,
)
from isa_toolkit.distillation.memory import memory_estimate
from isa_toolkit.distillation.param_grid import programs, resolve_alike
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.methods import DM, MTT, method_of
from isa_toolkit.networks import NetworkSettings, build

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
def in_turns(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs as one program, one after the other; not to be changed."""
    del whole
    return distill_grid(THREE, out=tmp_path_factory.mktemp("turns"), side_by_side=False)


@pytest.fixture(scope="module")
def side_by_side(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs as one program, vmapped; not to be changed."""
    del whole
    return distill_grid(THREE, out=tmp_path_factory.mktemp("vmap"), side_by_side=True)


@pytest.fixture(scope="module")
def halted(in_turns: list[Run], tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return the three runs of a grid, stopped at different steps; to be copied."""
    del in_turns
    seen: list[str] = []

    def stop_in_turn(told: Progress) -> bool:
        seen.append(told.path.name)
        return told.step >= 5 + 2 * len(set(seen[: seen.index(told.path.name) + 1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(course, "_CHUNK_S", 1e-9)
        return distill_grid(
            THREE,
            out=tmp_path_factory.mktemp("halted"),
            callbacks=[stop_in_turn],
            side_by_side=False,
        )


def grid_program(side_by_side: bool) -> Any:
    resolved = tiny().resolve()
    data = resolved.dataset
    network = build(
        resolved.network, image_shape=data.image_shape, num_classes=data.num_classes
    )
    return loop.grid_chunk(
        method_of(resolved.method),
        network,
        num_classes=data.num_classes,
        batch_size=32,
        side_by_side=side_by_side,
    )


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
    in_turns: list[Run], singles: list[Run]
) -> None:
    for run, single in zip(in_turns, singles, strict=True):
        assert_same_run(run, single)
        assert listed(run) == listed(single)


def test_runs_side_by_side_are_single_runs_but_for_rounding(
    side_by_side: list[Run], singles: list[Run]
) -> None:
    for run, single in zip(side_by_side, singles, strict=True):
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
    side_by_side: list[Run], in_turns: list[Run]
) -> None:
    for one, other in zip(side_by_side, in_turns, strict=True):
        assert one.snapshots[0].read_bytes() == other.snapshots[0].read_bytes()


@pytest.mark.parametrize("vmapped", [False, True])
def test_a_second_grid_compiles_nothing(
    vmapped: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.getfixturevalue("side_by_side" if vmapped else "in_turns")
    program = grid_program(vmapped)
    before = program._cache_size()
    distill_grid(
        tiny(steps=4, learning_rate=2e-3),
        drop_easy=[0.1, 0.2, 0.3],
        seeds=[3],
        out=tmp_path,
        side_by_side=vmapped,
    )
    assert before == 1
    assert program._cache_size() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_the_last_list_varies_fastest(whole: Run, tmp_path: Path) -> None:
    del whole
    with pytest.warns(UserWarning, match="in 4 parts"):
        runs = distill_grid(
            tiny(steps=1),
            segment=[(0.0, 0.1), (0, 0.2)],
            seeds=range(2),
            out=tmp_path,
            memory_limit_bytes=1,
        )
    got = [
        (run.experiment["method"]["segment"][1], run.experiment["seed"]) for run in runs
    ]
    assert got == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


def test_equal_experiments_are_run_once(singles: list[Run], tmp_path: Path) -> None:
    runs = distill_grid([THREE[0], tiny(), THREE[0]], out=tmp_path)
    assert len({run.path for run in runs}) == len(list(tmp_path.iterdir())) == 1
    assert_same_run(runs[2], singles[0])


def test_data_are_loaded_and_held_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    load = Experiment.load

    def counted(self: Experiment) -> Any:
        loads.append(1)
        return load(self)

    monkeypatch.setattr(Experiment, "load", counted)
    first, *others = resolve_alike(THREE)
    assert len(loads) == 1
    assert [one.hash for one in others] == [one.resolve().hash for one in THREE[1:]]
    for other in others:
        assert other.train is first.train
        assert other.validation is first.validation


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
    told: dict[str, int] = {}
    runs = distill_grid(
        THREE,
        out=tmp_path,
        callbacks=[lambda tell: told.setdefault(tell.path.name, tell.step) and None],
        side_by_side=False,
    )
    assert list(told.values()) == [8, 10, 12]
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
    runs = distill_grid(THREE, out=tmp_path, side_by_side=False)
    for run, single in zip(runs, singles, strict=True):
        assert_same_run(run, single)


def test_what_is_done_is_left_alone_and_parts_share_the_program(
    singles: list[Run], in_turns: list[Run], tmp_path: Path
) -> None:
    done = copy_all(in_turns[:1], tmp_path)[0]
    before = files_of(done)
    more = [tiny(seed=seed, steps=4) for seed in range(3)]
    estimate = memory_estimate(tiny().resolve(), side_by_side=False)
    program = grid_program(False)
    compiled = program._cache_size()
    with pytest.warns(UserWarning, match=r"^5 runs need .* in 2 parts of at most 3\.$"):
        runs = distill_grid(
            [*THREE, *more],
            out=tmp_path,
            memory_limit_bytes=estimate.total(4) - 1,
            side_by_side=False,
        )
    assert files_of(done) == before
    # The second part has an idle place.
    assert program._cache_size() == compiled
    assert all(run.is_done for run in runs)
    for run, single in zip(runs[:3], singles, strict=True):
        assert_same_run(run, single)
    assert_same_run(runs[-1], distill(more[-1], out=tmp_path / "alone"))


def test_what_does_not_fit_at_all_runs_one_by_one(
    singles: list[Run], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="in 3 parts of at most 1"):
        runs = distill_grid(THREE, out=tmp_path, memory_limit_bytes=1)
    for run, single in zip(runs, singles, strict=True):
        assert_same_run(run, single)


def test_a_stop_file_stops_its_run_alone(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    paths = copy_all(halted, tmp_path)

    def ask(told: Progress) -> None:
        if told.path == paths[0].absolute():
            (told.path / "STOP").touch()

    runs = distill_grid(THREE, out=tmp_path, callbacks=[ask], side_by_side=False)
    assert (runs[0].status["status"], runs[0].step) == ("stopped", 8)
    assert not (paths[0] / "STOP").exists()
    for run, single in zip(runs[1:], singles[1:], strict=True):
        assert_same_run(run, single)


def test_a_signal_stops_all_runs(halted: list[Run], tmp_path: Path) -> None:
    copy_all(halted, tmp_path)
    asked: list[int] = []

    def ask(told: Progress) -> None:
        if not asked:
            asked.append(told.step)
            signal.raise_signal(signal.SIGTERM)

    runs = distill_grid(THREE, out=tmp_path, callbacks=[ask], side_by_side=False)
    assert [run.step for run in runs] == [8, 10, 12]
    assert {run.status["status"] for run in runs} == {"stopped"}


def test_a_callback_that_raises_leaves_each_run_to_go_on(
    halted: list[Run], singles: list[Run], tmp_path: Path
) -> None:
    copy_all(halted, tmp_path)

    def fail(told: Progress) -> None:
        raise ZeroDivisionError(told.path.name)

    with pytest.raises(ZeroDivisionError):
        distill_grid(THREE, out=tmp_path, callbacks=[fail], side_by_side=False)
    for single in singles:
        status = Run.open(tmp_path / single.path.name).status
        assert status["status"] == "failed"
        assert not (tmp_path / single.path.name / "holder.json").exists()
    for run, single in zip(
        distill_grid(THREE, out=tmp_path, side_by_side=False), singles, strict=True
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
    same = request.getfixturevalue("side_by_side" if vmapped else "in_turns")
    experiments = [tiny(online_learning_rate=1e38), *THREE[1:]]
    bad = experiments[0].resolve().name
    with pytest.raises(
        DivergedError,
        match=rf"^1 of 3 runs diverged, the others went on\. {bad}: At step \d+ .*finite",
    ):
        distill_grid(experiments, out=tmp_path, side_by_side=vmapped)
    status = Run.open(tmp_path / bad).status
    assert status["status"] == "failed"
    assert "became not finite" in status["reason"]
    for run in same[1:]:
        assert_same_run(Run.open(tmp_path / run.path.name), run)
    del singles


# --- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"batch_size": 16}, r"batch_size must be the same .*got 32 and 16\. Run them"),
        ({"images_per_class": 2}, "images_per_class must be the same .*got 1 and 2"),
        ({"validation_every": 4}, "validation_every must be the same"),
        ({"selection": "last"}, "selection must be the same"),
        (
            {"limit": 500},
            "limit must be the same in all experiments .*got None and 500",
        ),
        (
            {"partner": "random"},
            "partner must be the same .*got 'nearest' and 'random'",
        ),
        ({"pool_size": 3}, r"pool_size must be the same .*got 2 and 3\."),
    ],
)
def test_what_is_not_traced_must_be_the_same(
    other: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        distill_grid([tiny(), tiny(**other)], out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_method_and_data_must_be_the_same(tmp_path: Path) -> None:
    digits = load_dataset("digits")
    mine = tiny(dataset=digits)
    dm = dataclasses.replace(mine, method=DM())
    with pytest.raises(
        ValueError, match=r"^method must be the same .*'frepo' and 'dm'"
    ):
        distill_grid([mine, dm], out=tmp_path)
    fewer, _ = digits.holdout(0.5)
    with pytest.raises(ValueError, match=r"^dataset must be the same .*digits \("):
        distill_grid([mine, tiny(dataset=fewer)], out=tmp_path)
    assert not list(tmp_path.iterdir())
    groups = programs(
        [mine, dm, tiny(dataset=fewer), dataclasses.replace(mine, seed=1)]
    )
    assert [[one.seed for one in group] for group in groups] == [[0, 1], [0], [0]]


def test_experts_must_be_the_same(tmp_path: Path) -> None:
    mtt = Experiment(
        method=MTT(expert_count=2, expert_epochs=25),
        network=NetworkSettings(width=4, depth=2),
        steps=4,
    )
    # The experts are data that all runs of a program share.
    other = dataclasses.replace(mtt.method, expert_learning_rate=0.1)  # pyright: ignore
    with pytest.raises(ValueError, match=r"^expert_learning_rate must be the same"):
        distill_grid([mtt, dataclasses.replace(mtt, method=other)], out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ({"segment": (0.0, 0.5)}, r"segment must be a list of pairs \(start, stop\)"),
        ({"drop_easy": 0.2}, "drop_easy must be a list of numbers, got 0.2"),
        ({"seeds": []}, "seeds must be a list of numbers, at least one"),
        ({"drop_hard": [1.5]}, r"drop_hard must lie in \[0, 1\), got 1\.5"),
        ({"memory_limit_bytes": 0}, "memory_limit_bytes must be at least 1"),
    ],
)
def test_a_bad_list_gets_one_sentence(
    lists: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        distill_grid(tiny(), out=tmp_path, **lists)
    assert not list(tmp_path.iterdir())


def test_no_experiments_are_refused() -> None:
    for nothing in ([], ["digits"]):
        with pytest.raises(
            ValueError, match=r"^experiments must be an Experiment or a"
        ):
            distill_grid(nothing)  # pyright: ignore[reportArgumentType]


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
