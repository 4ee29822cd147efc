"""Data made once: kept, shared, gone on with, refused when too large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from tiny_run import tiny

from isa_toolkit.distillation import Experiment
from isa_toolkit.distillation.shards import (
    _write,
    gathered,
    shards_folder,
    wanted_shards,
)
from isa_toolkit.distillation.signals import StopAsked
from isa_toolkit.methods import MTT
from isa_toolkit.methods.base import Shards
from isa_toolkit.networks import NetworkSettings


class Maker:
    """Shards of two numbers each that count how often they are made."""

    def __init__(self, **description: int) -> None:
        self.made: list[int] = []
        self.fails_at: int | None = None
        self.shards = Shards(
            "numbers",
            description,
            (8, 8, 8),
            self.make,
            lambda parts: np.concatenate([part["x"] for part in parts]),
        )

    def make(self, index: int, heed: Callable[[], None]) -> dict[str, np.ndarray]:
        heed()
        if index == self.fails_at:
            raise KeyboardInterrupt
        self.made.append(index)
        return {"x": np.array([index, index + 10], np.float32)}


def test_they_are_made_once_and_told_of(tmp_path: Path) -> None:
    maker, told = Maker(a=1), []
    for _ in range(2):
        whole = gathered(maker.shards, tmp_path, tell=lambda: told.append(1))
        np.testing.assert_array_equal(whole, [0, 10, 1, 11, 2, 12])
    assert maker.made == [0, 1, 2]
    assert len(told) == 6


def test_an_interrupted_making_goes_on_where_it_was(tmp_path: Path) -> None:
    maker = Maker(a=1)
    maker.fails_at = 2
    with pytest.raises(KeyboardInterrupt):
        gathered(maker.shards, tmp_path)
    maker.fails_at = None
    gathered(maker.shards, tmp_path)
    assert maker.made == [0, 1, 2]


def test_a_request_to_stop_is_heeded_within_and_after_a_shard(tmp_path: Path) -> None:
    maker, calls = Maker(a=1), []

    def heed() -> None:
        calls.append(len(maker.made))
        if len(calls) == 4:
            raise StopAsked

    with pytest.raises(StopAsked):
        gathered(maker.shards, tmp_path, heed=heed)
    # Before and after each shard; what was made whole by then is kept.
    assert calls == [0, 1, 1, 2]
    gathered(maker.shards, tmp_path)
    assert maker.made == [0, 1, 2]


def test_another_description_lies_elsewhere(tmp_path: Path) -> None:
    one, other = Maker(a=1), Maker(a=2)
    assert shards_folder(one.shards, tmp_path) != shards_folder(other.shards, tmp_path)
    gathered(one.shards, tmp_path)
    gathered(other.shards, tmp_path)
    assert other.made == [0, 1, 2]


def test_a_damaged_file_is_made_again_with_a_warning(tmp_path: Path) -> None:
    maker = Maker(a=1)
    gathered(maker.shards, tmp_path)
    path = shards_folder(maker.shards, tmp_path) / "0001.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(RuntimeWarning, match="damaged"):
        whole = gathered(maker.shards, tmp_path)
    assert maker.made == [0, 1, 2, 1]
    assert len(whole) == 6


def experts(**changes: int) -> Experiment:
    return Experiment(
        method=MTT(expert_count=12, expert_epochs=6, **changes),
        network=NetworkSettings(name="convnet_in", width=4, depth=2),
        steps=1,
    )


def test_their_size_is_known_before_they_are_made(tmp_path: Path) -> None:
    resolved = experts().resolve()
    shards = wanted_shards(resolved)
    assert shards is not None
    # Two conv layers, two norms, 3x3 maps of four channels, ten classes; seven
    # snapshots; ten experts in the first shard and two in the second.
    numbers = (9 * 4 + 4) + (36 * 4 + 4) + 4 * 4 + (36 * 10 + 10)
    assert shards.sizes == (10 * 7 * 4 * numbers, 2 * 7 * 4 * numbers)
    with pytest.raises(ValueError, match=r"the size of the experts must be at most .*"):
        wanted_shards(resolved, limit_bytes=sum(shards.sizes) - 1)


def test_experts_depend_on_their_own_settings_alone() -> None:
    def folder(experiment: Experiment) -> Path:
        shards = wanted_shards(experiment.resolve())
        assert shards is not None
        return shards_folder(shards, Path())

    base = folder(experts())
    assert folder(experts(student_steps=3)) == base
    assert folder(experts(expert_seed=1)) != base
    assert folder(experts(expert_batch_size=7)) != base


def test_a_method_that_needs_none_wants_none() -> None:
    assert wanted_shards(tiny().resolve()) is None


def test_what_another_process_makes_is_waited_for_and_not_made_again(
    tmp_path: Path,
) -> None:
    maker, folder = Maker(a=1), shards_folder(Maker(a=1).shards, tmp_path)
    folder.mkdir(parents=True)
    theirs = FileLock(folder / ".0001.lock", thread_local=False)
    theirs.acquire()
    waited = []

    def heed() -> None:
        if 2 in maker.made and theirs.is_locked:
            waited.append(list(maker.made))
            # The other one is done.
            _write(folder / "0001.safetensors", {"x": np.array([7, 8], np.float32)})
            theirs.release()

    whole = gathered(maker.shards, tmp_path, heed=heed)
    np.testing.assert_array_equal(whole, [0, 10, 7, 8, 2, 12])
    assert maker.made == [0, 2]
    assert waited == [[0, 2]]
