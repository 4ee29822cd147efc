"""IDX files of the MNIST family."""

import gzip

import numpy as np
import pytest
from image_files import idx, write_idx

from isa_toolkit.datasets.idx import find_idx, read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4), np.uint8)
LABELS = (np.arange(12) % 3).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_four_files_come_back(tmp_path, suffix):
    write_idx(tmp_path, IMAGES, LABELS, 9, suffix)
    train, test, files = find_idx(tmp_path)
    np.testing.assert_array_equal(train.labels, LABELS[:9])
    np.testing.assert_array_equal(test.labels, LABELS[9:])
    found = train.read(np.array([1, 7]), None, None)
    np.testing.assert_array_equal(found[..., 0], IMAGES[[1, 7]])
    assert len(files) == 4


def test_other_folders_are_not_idx(tmp_path):
    (tmp_path / "readme.txt").write_text("hello")
    assert find_idx(tmp_path) is None


def test_half_a_pair_is_refused(tmp_path):
    write_idx(tmp_path, IMAGES, LABELS, 9)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="hold images and labels of train"):
        find_idx(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a", idx(IMAGES)[:-1], "must hold 240 bytes after its header, got 239"),
        ("a", idx(IMAGES) + b"x", "must hold 240 bytes after its header, got 241"),
        ("a", idx(IMAGES)[:9], "must be an IDX file, got 9 bytes without header"),
        ("a", b"", "must be an IDX file"),
        ("a", b"\x89PNG and so on", "must be an IDX file"),
        ("a", idx(IMAGES, 0x0D), "must hold unsigned bytes .* got 0x0d"),
        ("a.gz", gzip.compress(idx(IMAGES))[:-20], "must be a complete gzip file"),
        ("a.gz", b"not gzip", "must be a complete gzip file"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"file {name} {sentence}"):
        read_idx(tmp_path / name)
