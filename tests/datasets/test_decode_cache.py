"""The cache: whole files or none, and sets that are decoded into it once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from image_files import IMAGES, put_image, write_parquet

from isa_toolkit.datasets import Dataset, decode_cache, load_dataset
from isa_toolkit.datasets.decode_cache import cache_folder, kept_or_made
from isa_toolkit.datasets.memory_map import MappedImages
from isa_toolkit.files import write_atomically


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a set of 23 images that is taken for a large one."""
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(decode_cache, "MAPPED_BYTES", 100)
    monkeypatch.setattr(decode_cache, "_PIECE", 5)
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
    monkeypatch.setattr(decode_cache, "MAPPED_BYTES", 2**40)
    here = load(folder)
    assert isinstance(there.train.images, MappedImages)
    assert isinstance(here.train.images, np.ndarray)
    assert there.fingerprint == here.fingerprint
    assert there.provenance == here.provenance


def test_a_second_time_nothing_is_decoded(folder: Path, monkeypatch):
    first = load(folder)
    [file] = kept(folder)
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(decode_cache, "_write", None)
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


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ISA_CACHE_DIR")
    assert cache_folder().name == "isa_toolkit"


def test_without_a_home_nothing_is_kept_and_a_warning_says_so(monkeypatch):
    def homeless(_: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("ISA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
    path = cache_folder() / "x"
    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(
            path,
            Path.read_bytes,
            lambda: b"v",
            lambda made, to: write_atomically(to, made),
        )
    assert made == b"v"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    write_atomically(path, b"old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_gives_a_warning_and_the_value(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    def write(made, path):
        write_atomically(path, made)

    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(
            tmp_path / "file" / "x", Path.read_bytes, lambda: b"v", write
        )
    assert made == b"v"
