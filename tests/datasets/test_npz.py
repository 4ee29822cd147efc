"""NumPy archives."""

import numpy as np
import pytest

from isa_toolkit.datasets.npz import read_npz

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_val", "Y_val"),
    ],
)
def test_usual_names_are_known(tmp_path, names):
    arrays = (IMAGES[:9], LABELS[:9], IMAGES[9:], LABELS[9:])
    np.savez_compressed(tmp_path / "x.npz", **dict(zip(names, arrays, strict=True)))
    train, test = read_npz(tmp_path / "x.npz")
    np.testing.assert_array_equal(train.read(np.arange(9), None, None), IMAGES[:9])
    np.testing.assert_array_equal(test.labels, LABELS[9:])


def test_an_archive_may_hold_no_test_split(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES / 255, labels=LABELS)
    train, test = read_npz(tmp_path / "x.npz")
    assert test is None
    np.testing.assert_array_equal(train.read(np.arange(12), None, None), IMAGES)


def test_pickled_objects_are_refused(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "x.npz", train_images=objects, train_labels=LABELS[:2])
    with pytest.raises(ValueError, match="hold plain arrays only, got pickled objects"):
        read_npz(tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match="hold plain arrays only"):
        read_npz(tmp_path / "y.npy")


def test_damaged_and_foreign_archives_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:-50])
    with pytest.raises(ValueError, match=r"x\.npz must be a complete \.npz"):
        read_npz(tmp_path / "x.npz")
    np.save(tmp_path / "y.npz.npy", IMAGES)
    with pytest.raises(ValueError, match=r"be an \.npz archive, got a single array"):
        read_npz(tmp_path / "y.npz.npy")
    np.savez(tmp_path / "z.npz", x_train=IMAGES, other=LABELS)
    with pytest.raises(ValueError, match="hold train_images and train_labels, got arr"):
        read_npz(tmp_path / "z.npz")
    np.savez(tmp_path / "z.npz", x_train=IMAGES, y_train=LABELS[:-1])
    with pytest.raises(ValueError, match="11 labels for 12 images"):
        read_npz(tmp_path / "z.npz")
    np.savez(tmp_path / "z.npz", x_train=IMAGES.astype(int), y_train=LABELS)
    with pytest.raises(ValueError, match="must be uint8, or floats"):
        read_npz(tmp_path / "z.npz")
