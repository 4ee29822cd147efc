"""Class folders of image files."""

import numpy as np
import pytest
from image_files import put_image as put

from isa_toolkit.datasets.folders import find_folders

TESTS = ("test", "validation", "valid", "val")


def test_train_and_test_folders(tmp_path):
    put(tmp_path / "train" / "owl" / "b.png", 20)
    put(tmp_path / "train" / "cat" / "a.PNG", 10)
    put(tmp_path / "train" / "cat" / "deep" / "c.jpeg", 30, "JPEG")
    put(tmp_path / "val" / "owl" / "a.png", 40)
    train, test, names, folders = find_folders(tmp_path, TESTS)
    assert names == ("cat", "owl")
    assert folders == ["train", "val"]
    assert train.labels.tolist() == [0, 0, 1]
    found = train.read(np.arange(3), 1, None)
    assert found[:, 0, 0, 0].tolist() == [10, 30, 20]
    assert test.labels.tolist() == [1]


def test_bare_class_folders_are_all_training(tmp_path):
    put(tmp_path / "b" / "1.png")
    put(tmp_path / "a" / "1.png")
    train, test, names, _ = find_folders(tmp_path, TESTS)
    assert (train.labels.tolist(), test, names) == ([0, 1], None, ("a", "b"))


def test_the_official_tiny_imagenet_layout(tmp_path):
    for wnid, level in (("n01", 1), ("n02", 2)):
        put(tmp_path / "train" / wnid / "images" / f"{wnid}_0.JPEG", level, "JPEG")
    put(tmp_path / "val" / "images" / "val_0.JPEG", 8, "JPEG")
    put(tmp_path / "val" / "images" / "val_1.JPEG", 9, "JPEG")
    annotations = "val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\n"
    (tmp_path / "val" / "val_annotations.txt").write_text(annotations)
    # Its test images have no labels, so val is the test set whatever the order.
    put(tmp_path / "test" / "images" / "test_0.JPEG", 8, "JPEG")
    train, test, names, folders = find_folders(tmp_path, TESTS)
    assert names == ("n01", "n02")
    assert folders == ["train", "val"]
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1, 0]
    found = test.read(np.arange(2), 3, None)
    assert found[:, 0, 0, 0].tolist() == [8, 9]


def test_folders_without_images(tmp_path):
    assert find_folders(tmp_path, TESTS) is None
    put(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="class folder b must hold an image"):
        find_folders(tmp_path, TESTS)


def test_test_classes_that_train_lacks_are_refused(tmp_path):
    put(tmp_path / "train" / "a" / "1.png")
    put(tmp_path / "test" / "z" / "1.png")
    with pytest.raises(ValueError, match="hold only classes that train has, got 'z'"):
        find_folders(tmp_path, TESTS)
