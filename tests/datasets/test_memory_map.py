"""Images on the disk behave like the array that they are rows of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isa_toolkit.datasets import Dataset, memory_map
from isa_toolkit.datasets.memory_map import (
    MappedImages,
    as_mapped,
    check_fits,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
LABELS = np.arange(50) % 5


def map_file(path: Path) -> MappedImages:
    return MappedImages(np.load(path, mmap_mode="r"))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, IMAGES)
    return path


@pytest.mark.parametrize(
    "index",
    [
        7,
        -1,
        slice(3, 20),
        slice(None, None, 7),
        np.array([9, 2, 2, 40]),
        np.arange(50) % 2 == 0,
        (slice(4), ..., 0),
        (3, 2, 1),
        (np.array([5, 1]), slice(None), 2),
    ],
    ids=str,
)
def test_whatever_is_taken_is_that_of_the_array(stored: Path, index):
    for images, expected in (
        (map_file(stored), IMAGES),
        (map_file(stored).take(np.arange(49, -1, -1)), IMAGES[::-1]),
    ):
        taken = images[index]
        assert type(taken) is np.ndarray
        np.testing.assert_array_equal(taken, expected[index])
        taken[...] = 0  # a copy: nothing is written to the file
    np.testing.assert_array_equal(np.load(stored), IMAGES)


def test_no_rows_are_an_empty_array(stored: Path):
    images = map_file(stored)
    for none in ([], slice(0, 0)):
        assert images[none].shape == (0, *images.shape[1:])


def test_a_part_of_a_map_is_found_where_it_is(stored: Path):
    # NumPy's slices of a map keep the offset of the whole.
    part = MappedImages(np.load(stored, mmap_mode="r")[10:30])
    rows = np.array([4, 0, 19])
    np.testing.assert_array_equal(part[rows], IMAGES[10:30][rows])


def test_a_file_that_ends_early_is_named(stored: Path):
    images = map_file(stored)
    with stored.open("r+b") as file:
        file.truncate(stored.stat().st_size - 8 * 8 * 3)
    with pytest.raises(OSError, match="ends too early"):
        _ = images[40:]


def test_what_is_no_map_of_bytes_is_left_to_others(stored: Path, tmp_path: Path):
    floats = tmp_path / "floats.npy"
    np.save(floats, IMAGES / 255)
    assert as_mapped(IMAGES) is None
    assert as_mapped(np.load(floats, mmap_mode="r")) is None
    assert as_mapped(np.load(stored, mmap_mode="r")) is not None


def test_a_mapped_data_set_equals_one_in_memory(stored: Path):
    def build(images) -> Dataset:
        return Dataset.from_arrays(images, LABELS, whitening="zca")

    here, there = build(IMAGES), build(np.load(stored, mmap_mode="r"))
    assert isinstance(there.train.images, MappedImages)
    assert there.fingerprint == here.fingerprint
    assert there.preprocessing.fingerprint == here.preprocessing.fingerprint
    np.testing.assert_array_equal(there.inputs("train"), here.inputs("train"))
    smaller, held = there.holdout(0.2)
    expected, expected_held = here.holdout(0.2)
    assert isinstance(smaller.train.images, MappedImages)
    assert smaller.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(held.images, expected_held.images)


def test_resized_images_are_made_in_memory(stored: Path):
    images = np.load(stored, mmap_mode="r")
    assert isinstance(
        Dataset.from_arrays(images, LABELS, resolution=8).train.images, MappedImages
    )
    assert isinstance(
        Dataset.from_arrays(images, LABELS, resolution=4).train.images, np.ndarray
    )


def test_the_memory_is_not_filled(stored: Path, monkeypatch):
    data = Dataset.from_arrays(np.load(stored, mmap_mode="r"), LABELS)
    monkeypatch.setattr(memory_map, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"inputs of 40 train images must fit"):
        data.inputs("train")
    check_fits("ten bytes", 10)
