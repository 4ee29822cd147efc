"""The Dataset that other packages build on."""

import json

import numpy as np
import pytest

from isa_toolkit.datasets import Dataset

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 5, 5, 3), np.uint8)
LABELS = np.arange(60) % 3


@pytest.fixture
def data():
    return Dataset.from_arrays(IMAGES, LABELS, IMAGES[:9], LABELS[:9], whitening="zca")


def test_inputs_are_preprocessed_computed_once_and_read_only(data):
    inputs = data.inputs()
    np.testing.assert_array_equal(inputs, data.preprocessing.apply(IMAGES))
    assert data.inputs("train") is inputs
    assert data.inputs("test").shape == (9, 5, 5, 3)
    with pytest.raises(ValueError, match="read-only"):
        inputs[0] = 0
    with pytest.raises(ValueError, match="split must be one of 'test', 'train'"):
        data.inputs("validation")


@pytest.mark.parametrize("test", [(), (IMAGES[:9], LABELS[:9])])
def test_images_share_no_memory_with_the_arguments(test):
    mine = IMAGES.copy()
    theirs = Dataset.from_arrays(mine, LABELS, *test)
    before = theirs.train.images.copy()
    mine[:] = 9
    np.testing.assert_array_equal(theirs.train.images, before)


def test_targets_match_labels(data):
    targets = data.targets("test")
    np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[:9])
    assert targets.shape == (9, 3)
    assert data.num_classes == 3
    assert data.image_shape == (5, 5, 3)


def test_holding_out_keeps_the_preprocessing_and_loses_no_image(data):
    data.inputs()
    smaller, held = data.holdout(0.2, seed=1)
    assert smaller.preprocessing is data.preprocessing
    assert len(held.labels) == 12
    assert np.bincount(held.labels).tolist() == [4, 4, 4]
    both = np.concatenate([smaller.train.images, held.images])
    whole = {image.tobytes() for image in IMAGES}
    assert {image.tobytes() for image in both} == whole
    assert smaller.inputs().shape[0] == 48
    assert smaller.provenance["held_out"]["count"] == 12
    assert "held_out" not in data.provenance


def test_one_image_of_each_class_is_too_few_to_hold_out_and_the_way_out_is_named():
    data = Dataset.from_arrays(IMAGES[:3], LABELS[:3], IMAGES[3:6], LABELS[3:6])
    with pytest.raises(ValueError, match=r"3 images of 3 classes.*--selection last"):
        data.holdout(0.1)


def test_the_fingerprint_follows_pixels_and_labels_only(data):
    same = Dataset.from_arrays(IMAGES, LABELS, IMAGES[:9], LABELS[:9], name="other")
    assert same.fingerprint == data.fingerprint
    touched = IMAGES.copy()
    touched[7, 0, 0, 0] ^= 1
    other = Dataset.from_arrays(touched, LABELS, IMAGES[:9], LABELS[:9])
    assert other.fingerprint != data.fingerprint
    swapped = Dataset.from_arrays(IMAGES, (LABELS + 1) % 3, IMAGES[:9], LABELS[:9])
    assert swapped.fingerprint != data.fingerprint


def test_without_test_images_the_same_fraction_of_each_class_is_held_out():
    data = Dataset.from_arrays(IMAGES, LABELS, test_fraction=0.25, seed=2)
    assert np.bincount(data.test.labels).tolist() == [5, 5, 5]
    assert data.provenance["test_split"] == "0.25 of train, seed 2"
    json.dumps(data.provenance)


def test_images_of_different_sizes_need_a_resolution():
    images = [np.full((s, s + 1), 9 * s, np.uint8) for s in (4, 5, 6, 7, 8, 9)]
    labels = [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"one size, got 4x5 and 5x6. Pass resolution"):
        Dataset.from_arrays(images, labels)
    data = Dataset.from_arrays(images, labels, resolution=4, test_fraction=0.34)
    assert data.image_shape == (4, 4, 1)
    levels = {int(v) for split in (data.train, data.test) for v in split.images.flat}
    assert levels == {36, 45, 54, 63, 72, 81}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_labels": LABELS[:-1]}, "59 labels for 60 images"),
        ({"train_labels": LABELS * 2}, r"no image of class 1"),
        ({"train_images": IMAGES.transpose(0, 3, 1, 2)}, r"transpose\(0, 2, 3, 1\)"),
        ({"train_labels": LABELS - 1}, "train_labels must be at least 0, got -1"),
        ({"train_labels": LABELS + 0.5}, "whole numbers"),
        ({"class_names": ["a", "b"]}, r"must lie in 0\.\.1, got 2"),
        ({"class_names": list("abcd")}, r"no image of class 3 \(d\)"),
        ({"train_images": IMAGES / 255 + 1}, "Divide by 255"),
        ({"train_images": np.where(IMAGES > 9, np.nan, 0.0)}, "NaN in image 0"),
        (
            {"test_images": IMAGES[:, :4], "test_labels": LABELS},
            "images must have",
        ),
        ({"test_images": IMAGES}, "test_labels must come with test_images"),
        ({"test_labels": LABELS}, "test_images must come with test_labels"),
        ({"whitening": "pca"}, "whitening must be one of"),
        ({"test_fraction": 0}, "fraction must lie above 0"),
    ],
)
def test_bad_arrays_are_refused_in_one_sentence(changes, sentence):
    arguments = {"train_images": IMAGES, "train_labels": LABELS, **changes}
    with pytest.raises(ValueError, match=sentence):
        Dataset.from_arrays(**arguments)


@pytest.mark.parametrize("name", ["me/set", "..", "", "a\\b", "a\nb", "x" * 5000])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="without slashes, got"):
        Dataset.from_arrays(IMAGES, LABELS, IMAGES[:9], LABELS[:9], name=name)


def test_the_text_forms_are_short_and_hostile_names_are_escaped():
    names = ["<script>alert(1)</script>", 'a"b&c', "x" * 5000]
    data = Dataset.from_arrays(
        IMAGES, LABELS, class_names=names, name="<b>" + "n" * 100
    )
    assert len(repr(data)) <= 300
    assert len(repr(data.preprocessing)) <= 300
    page = data._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert len(page) < 20_000


def test_a_table_of_many_classes_is_cut():
    data = Dataset.from_arrays(IMAGES[:50], np.arange(50) % 25)
    assert "and 5 more classes" in data._repr_html_()


def test_the_picture_shows_the_first_images_of_each_class(data):
    picture = np.asarray(data.show(2))
    # Images of 5 pixels, ten times as large, with gaps of 2.
    assert picture.shape == (3 * 52 - 2, 2 * 52 - 2, 3)
    np.testing.assert_array_equal(picture[52:102:10, :50:10], IMAGES[1])
    np.testing.assert_array_equal(picture[104::10, 52::10], IMAGES[5])
    assert len(data) == len(data.train) == 60
