"""Images on the disk are those of the array; large sets are decoded there once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, put_image, write_parquet

from isa_toolkit import environment
from isa_toolkit.datasets import Dataset, load_dataset, storage
from isa_toolkit.datasets.storage import MappedImages, as_mapped

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
CLASSES = np.arange(50) % 5


def map_file(path: Path) -> MappedImages:
    return MappedImages(np.load(path, mmap_mode="r"))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, PIXELS)
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
        (map_file(stored), PIXELS),
        (map_file(stored).take(np.arange(49, -1, -1)), PIXELS[::-1]),
    ):
        taken = images[index]
        assert type(taken) is np.ndarray
        np.testing.assert_array_equal(taken, expected[index])
        taken[...] = 0  # a copy: nothing is written to the file
    np.testing.assert_array_equal(np.load(stored), PIXELS)


def test_no_rows_are_an_empty_array(stored: Path):
    images = map_file(stored)
    for none in ([], slice(0, 0)):
        assert images[none].shape == (0, *images.shape[1:])


def test_a_part_of_a_map_is_found_where_it_is(stored: Path):
    # NumPy's slices of a map keep the offset of the whole.
    part = MappedImages(np.load(stored, mmap_mode="r")[10:30])
    rows = np.array([4, 0, 19])
    np.testing.assert_array_equal(part[rows], PIXELS[10:30][rows])


def test_a_file_that_ends_early_is_named(stored: Path):
    images = map_file(stored)
    with stored.open("r+b") as file:
        file.truncate(stored.stat().st_size - 8 * 8 * 3)
    with pytest.raises(OSError, match="ends too early"):
        _ = images[40:]


def test_what_is_no_map_of_bytes_is_left_to_others(stored: Path, tmp_path: Path):
    floats = tmp_path / "floats.npy"
    np.save(floats, PIXELS / 255)
    assert as_mapped(PIXELS) is None
    assert as_mapped(np.load(floats, mmap_mode="r")) is None
    assert as_mapped(np.load(stored, mmap_mode="r")) is not None


def test_a_mapped_data_set_equals_one_in_memory(stored: Path):
    def build(images) -> Dataset:
        return Dataset.from_arrays(images, CLASSES, whitening="zca")

    here, there = build(PIXELS), build(np.load(stored, mmap_mode="r"))
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
        Dataset.from_arrays(images, CLASSES, resolution=8).train.images, MappedImages
    )
    assert isinstance(
        Dataset.from_arrays(images, CLASSES, resolution=4).train.images, np.ndarray
    )


def test_the_memory_is_not_filled(stored: Path, monkeypatch):
    data = Dataset.from_arrays(np.load(stored, mmap_mode="r"), CLASSES)
    monkeypatch.setattr(environment, "available_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"inputs of 40 train images must fit"):
        data.inputs("train")


# --- The cache ---


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a set of 23 images that is taken for a large one."""
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "MAPPED_BYTES", 100)
    monkeypatch.setattr(storage, "_PIECE", 5)
    (tmp_path / "set").mkdir()
    write_parquet(tmp_path / "set" / "train-00000-of-00001.parquet", row_group_size=4)
    return tmp_path / "set"


def load(folder: Path, **settings) -> Dataset:
    return load_dataset("mine", root=folder, **settings)


def kept(folder: Path) -> list[Path]:
    found = (folder.parent / "cache").iterdir()
    return sorted(path for path in found if path.suffix in (".npy", ".partial"))


def test_the_images_are_those_in_memory(folder: Path, monkeypatch):
    there = load(folder)
    monkeypatch.setattr(storage, "MAPPED_BYTES", 2**40)
    here = load(folder)
    assert isinstance(there.train.images, MappedImages)
    assert isinstance(here.train.images, np.ndarray)
    assert there.fingerprint == here.fingerprint
    assert there.provenance == here.provenance


def test_large_images_are_decoded_few_at_a_time(folder: Path, monkeypatch):
    small = load(folder)
    (kept_file,) = kept(folder)
    kept_file.unlink()
    monkeypatch.setattr(storage, "_PIECE_BYTES", 2 * 4 * 5 * 3)
    monkeypatch.setenv("ISA_MAX_MEMORY", str(6 * 4 * 5 * 3))  # the test images
    assert load(folder).fingerprint == small.fingerprint


def test_a_second_time_nothing_is_decoded(folder: Path, monkeypatch):
    first = load(folder)
    [file] = kept(folder)
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(storage, "_write", None)
    assert load(folder).fingerprint == first.fingerprint
    assert file.stat().st_mtime_ns == before


def test_other_files_or_another_choice_are_another_file(folder: Path):
    load(folder)
    load(folder, limit=6)
    load(folder, resolution=2)
    assert len(kept(folder)) == 3
    write_parquet(folder / "train-00000-of-00001.parquet", 255 - IMAGES)
    np.testing.assert_array_equal(
        load(folder).train.images[:1], 255 - IMAGES[load_rows(folder)][:1]
    )
    assert len(kept(folder)) == 4


def load_rows(folder: Path) -> np.ndarray:
    """Return which images are for training: a fifth of each class is held out."""
    mapped = load(folder).train.images[:]
    return np.array(
        [
            next(n for n, image in enumerate(255 - IMAGES) if (image == one).all())
            for one in mapped
        ]
    )


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np.lib.format, "write_array_header_2_0", full)
    with pytest.raises(OSError, match=r"No space left on device\. Free some space"):
        load(folder)
    assert kept(folder) == []


def test_images_of_several_sizes_are_refused_and_leave_nothing(
    folder: Path, tmp_path: Path
):
    for number in range(12):
        side = 4 if number < 10 else 6
        for label in "ab":
            name = tmp_path / "sizes" / "train" / label / f"{number:02d}.png"
            put_image(name, level=number, shape=(side, side))
    with pytest.raises(ValueError, match="one size"):
        load(tmp_path / "sizes")
    assert [file for file in kept(folder) if "partial" in file.name] == []


def test_class_folders_whose_files_changed_are_decoded_again(
    folder: Path, tmp_path: Path
):
    def put(level: int) -> None:
        for number in range(12):
            name = (
                tmp_path / "folders" / "train" / "ab"[number % 2] / f"{number:02d}.png"
            )
            put_image(name, level=level + number, shape=(4, 4))

    put(10)
    assert load(tmp_path / "folders").train.images[:].max() < 30
    put(200)
    assert load(tmp_path / "folders").train.images[:].min() >= 200


def test_a_relative_root_is_the_folder_that_it_names(folder: Path, monkeypatch):
    absolute = load(folder)
    monkeypatch.chdir(folder.parent)
    assert load(Path("set")).fingerprint == absolute.fingerprint
    assert len(kept(folder)) == 1


def test_what_a_killed_process_left_is_written_over(folder: Path):
    first = load(folder)
    [file] = kept(folder)
    file.rename(file.with_suffix(".partial"))
    assert load(folder).fingerprint == first.fingerprint
    assert kept(folder) == [file]


def test_a_damaged_file_is_named(folder: Path):
    load(folder)
    [file] = kept(folder)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"be whole, got .* Delete the file"):
        load(folder)
