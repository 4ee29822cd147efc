"""Images as bytes on the device, or streamed to it, are the same batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_run import STOPPED_AT, metric_rows, result_bytes, stop_at, tiny

from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.datasets.storage import MappedImages
from isa_toolkit.distillation import (
    Experiment,
    Run,
    distill,
    distill_grid,
    loop,
    prefetch,
)
from isa_toolkit.distillation.prefetch import PrefetchLoader, choose_placement
from isa_toolkit.methods import DM, MTT
from isa_toolkit.networks import NetworkSettings, build

pytestmark = pytest.mark.slow

IMAGE_BYTES = 8 * 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    """Make blocks of five steps: neither events nor epochs end with one."""
    monkeypatch.setattr(prefetch, "BLOCK_BYTES", 5 * 32 * IMAGE_BYTES + 7)


@pytest.fixture(scope="module")
def as_bytes(tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("bytes")
    return distill(tiny(), out=out, placement="device_bytes")


def test_streamed_images_give_the_run_that_images_on_the_device_give(
    as_bytes: Run, whole: Run, tmp_path: Path
):
    there = distill(tiny(), out=tmp_path, placement="host")
    # Preprocessed by the same program: to the bit. In NumPy: to rounding.
    assert result_bytes(there.path) == result_bytes(as_bytes.path)
    assert metric_rows(there.path) == metric_rows(as_bytes.path)
    np.testing.assert_allclose(
        there.distilled.images, whole.distilled.images, atol=1e-4
    )


def test_a_stop_between_two_blocks_ends_changes_nothing(as_bytes: Run, tmp_path: Path):
    stopped = distill(
        tiny(), out=tmp_path, placement="host", callbacks=[stop_at(STOPPED_AT)]
    )
    assert not stopped.is_done
    gone_on = distill(tiny(), out=tmp_path, placement="host")
    assert result_bytes(gone_on.path) == result_bytes(as_bytes.path)


def test_images_on_the_disk_and_draws_by_class(tmp_path: Path):
    digits = load_dataset("digits")
    path = tmp_path / "digits.npy"
    np.save(path, np.asarray(digits.train.images))
    mapped = Dataset.from_arrays(
        np.load(path, mmap_mode="r"),
        digits.train.labels,
        digits.test.images,
        digits.test.labels,
        name="digits",
    )
    assert isinstance(mapped.train.images, MappedImages)
    experiment = Experiment(
        dataset=mapped,
        method=DM(),
        network=NetworkSettings(name="convnet_in", width=4, depth=1),
        batch_size=3,
        steps=7,
        selection="last",
        validation_every=0,
    )
    runs = [
        distill(experiment, out=tmp_path / where, placement=where)
        for where in ("device_bytes", "host")
    ]
    assert result_bytes(runs[0].path) == result_bytes(runs[1].path)


def test_runs_of_a_grid_that_streams_go_one_after_the_other(
    as_bytes: Run, tmp_path: Path
):
    runs = distill_grid(tiny(), {"seed": [0, 1]}, out=tmp_path, placement="host")
    assert result_bytes(runs[0].path) == result_bytes(as_bytes.path)
    assert runs[1].is_done


def test_a_block_is_read_while_the_device_works(tmp_path, monkeypatch):
    at = PrefetchLoader.batches_from
    asked: list[tuple[int, int]] = []
    step = 0

    class Reader(ThreadPoolExecutor):
        def submit(self, read, start: int):
            asked.append((start, step))
            return super().submit(read, start)

    def spy_at(self, now: int):
        nonlocal step
        step = now
        return at(self, now)

    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", Reader)
    monkeypatch.setattr(PrefetchLoader, "batches_from", spy_at)
    distill(tiny(), out=tmp_path, placement="host")
    # Each block once, asked for before the run comes to it, none beyond the end.
    assert [start for start, _ in asked] == [0, 5, 10, 15, 20]
    assert all(step < start for start, step in asked[1:])


def test_hyperparameters_and_blocks_share_one_program(tmp_path: Path):
    for drop_easy in (0.1, 0.5):
        distill(tiny(drop_easy=drop_easy), out=tmp_path, placement="host")
    resolved = tiny().resolve()
    program = loop.chunk(
        build(resolved.network, image_shape=(8, 8, 1), num_classes=10),
        batch_size=resolved.batch_size,
        streamed=True,
    )
    assert program._cache_size() == 1


def test_the_place_follows_from_the_size_of_the_device(monkeypatch):
    resolved = tiny().resolve()
    pixels = resolved.train.train.images.nbytes
    places = {}
    for share in (1, 2, 8, 12):
        monkeypatch.setattr(prefetch, "_device_bytes", lambda s=share: s * pixels)
        places[share] = choose_placement(resolved, None)
    assert places == {1: "host", 2: "host", 8: "device_bytes", 12: "device"}
    assert choose_placement(resolved, "host") == "host"
    # There are no images to place.
    assert (
        choose_placement(Experiment(method=MTT(), steps=2).resolve(), "host")
        == "device"
    )
    with pytest.raises(ValueError, match="placement must be one of"):
        choose_placement(resolved, "disk")
