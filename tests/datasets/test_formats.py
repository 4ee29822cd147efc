"""Choosing a reader, and sorting shards into splits."""

from pathlib import Path

import numpy as np
import pytest
from image_files import write_parquet as write

from isa_toolkit.datasets import DATASETS
from isa_toolkit.datasets.formats import read_local, sort_shards

TESTS = ("test", "validation", "valid", "val")


@pytest.mark.parametrize(
    ("files", "train", "test"),
    [
        (["train-0.parquet", "test-0.parquet"], 1, 1),
        (["train-0-of-2.parquet", "train-1-of-2.parquet", "valid-0.parquet"], 2, 1),
        (["train/0000.parquet", "validation/0000.parquet"], 1, 1),
        (["data/imagenette-train.parquet", "data/imagenette-validation.parquet"], 1, 1),
        (["anything.parquet"], 1, 0),
        (["train.parquet"], 1, 0),
    ],
)
def test_shards_are_sorted_by_their_names(files, train, test):
    found = sort_shards([Path("r", file) for file in files], Path("r"), TESTS)
    assert tuple(map(len, found)) == (train, test)


def test_the_preferred_test_split_wins():
    files = [Path("r", f"{n}-0.parquet") for n in ("train", "test", "validation")]
    assert sort_shards(files, Path("r"), TESTS)[1] == [files[1]]
    assert sort_shards(files, Path("r"), TESTS[1:] + TESTS[:1])[1] == [files[2]]


def test_unsorted_or_doubled_shards_are_refused():
    with pytest.raises(ValueError, match=r"named train-\*\.parquet, got a\.parquet"):
        sort_shards([Path("r/a.parquet"), Path("r/b.parquet")], Path("r"), TESTS)
    two = [Path("r/160px/train-0.parquet"), Path("r/320px/train-0.parquet")]
    with pytest.raises(ValueError, match="one version of the set, got 160px, 320px"):
        sort_shards(two, Path("r"), TESTS)


def test_a_known_set_takes_its_own_version(tmp_path):
    for version in ("160px", "320px"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "train-0.parquet")
    found = read_local(tmp_path, DATASETS["imagenette"])
    assert found.facts["files"] == ["160px/train-0.parquet"]


def test_single_files_are_read(tmp_path):
    write(tmp_path / "mine.parquet")
    found = read_local(tmp_path / "mine.parquet")
    assert (len(found.train.labels), found.test) == (23, None)
    assert found.class_names == ("a", "b", "c")
    images = np.zeros((4, 3, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=[0, 1, 0, 1])
    assert len(read_local(str(tmp_path / "mine.npz")).train.labels) == 4


def test_what_is_missing_or_foreign_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"existing file or folder, got .*/none'"
    ) as it:
        read_local(tmp_path / "none")
    assert "Expected parquet files" in str(it.value)
    with pytest.raises(ValueError, match=r"root must hold parquet files .* empty"):
        read_local(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"root must hold parquet files .* notes.txt"):
        read_local(tmp_path)
    with pytest.raises(ValueError, match=r"end in \.parquet or \.npz"):
        read_local(tmp_path / "notes.txt")
    (tmp_path / "data_batch_1").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no pickled batches.*Nothing is unpickled"):
        read_local(tmp_path)
