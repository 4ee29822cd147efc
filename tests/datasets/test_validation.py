"""Images and labels: forms, refusals, and splits that keep class fractions."""

import numpy as np
import pytest

from isa_toolkit.datasets import Split
from isa_toolkit.datasets.validation import (
    as_images,
    as_labels,
    balanced_subset,
    centred_one_hot,
    check_classes,
    check_images_per_class,
    encode_labels,
    stratified_split,
)


def test_targets_are_centred_and_have_a_margin_of_one():
    targets = centred_one_hot(np.array([2, 0, 3]), 4)
    np.testing.assert_allclose(targets.sum(axis=1), 0, atol=1e-7)
    np.testing.assert_array_equal(targets.argmax(axis=1), [2, 0, 3])
    np.testing.assert_allclose(targets[0], [-0.25, -0.25, 0.75, -0.25])
    assert targets.dtype == np.float32


def test_floats_become_the_nearest_of_256_levels():
    floats = np.array([0.0, 0.5 / 255, 1.4 / 255, 254.6 / 255, 1.0]).reshape(5, 1, 1)
    assert as_images("x", floats).reshape(-1).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((2, 3, 3), np.int64), "must be uint8, or floats in .* int64"),
        (np.full((2, 3, 3), np.nan), "must hold finite pixels, got NaN in image 0"),
        (np.full((2, 3, 3), 2.0), r"floats in \[0, 1\].* got 2.0. Divide by 255"),
        (np.full((2, 3, 3), -0.1), r"floats in \[0, 1\].* got -0.1"),
        (np.full((2, 3, 3), -1.0), r"Pass \(images \+ 1\) / 2"),
        (np.zeros((2, 3, 3, 2), np.uint8), "1 or 3 channels"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"images\.transpose\(0, 2, 3, 1\)"),
        (np.zeros((5,), np.uint8), "1 or 3 channels"),
        (np.zeros((0, 3, 3), np.uint8), "at least one pixel"),
    ],
)
def test_bad_images_are_refused_in_one_sentence(images, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        as_images("train_images", images)
    assert str(caught.value).startswith("train_images must ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0.0, 1.5]), "whole numbers, got numbers of type float64"),
        (np.zeros((2, 2), int), r"one axis, got \(2, 2\)"),
    ],
)
def test_bad_labels_are_refused_in_one_sentence(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        as_labels("train_labels", labels)


def test_a_column_of_labels_is_taken_as_one_axis():
    assert as_labels("y", np.array([[1], [2]])).tolist() == [1, 2]


def test_missing_classes_and_labels_out_of_range_are_named():
    names = ("cat", "dog", "owl")
    with pytest.raises(ValueError, match=r"no image of class 1 \(dog\)"):
        check_classes(np.array([0, 2]), np.array([0]), names)
    with pytest.raises(ValueError, match=r"train_labels must lie in 0\.\.2, got 3"):
        check_classes(np.array([0, 1, 2, 3]), np.array([0]), names)
    with pytest.raises(ValueError, match=r"test_labels must lie in 0\.\.2, got -1"):
        check_classes(np.array([0, 1, 2]), np.array([-1]), names)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_a_stratified_split_keeps_class_fractions_and_loses_nothing(fraction):
    labels = np.random.default_rng(0).choice(5, 403, p=[0.5, 0.2, 0.2, 0.09, 0.01])
    kept, held = stratified_split(labels, fraction, seed=3)
    assert sorted([*kept, *held]) == list(range(403))
    assert len(held) == round(fraction * 403)
    assert set(labels[kept]) == set(labels)
    exact = fraction * np.bincount(labels)
    spare = np.bincount(labels) - 1
    found = np.bincount(labels[held], minlength=5)
    assert (np.abs(found - np.minimum(exact, spare)) <= 1).all()


def test_a_split_depends_on_its_seed_alone():
    labels = np.arange(100) % 4
    again = stratified_split(labels, 0.3, seed=1)[1]
    np.testing.assert_array_equal(stratified_split(labels, 0.3, seed=1)[1], again)
    assert (stratified_split(labels, 0.3, seed=2)[1] != again).any()


def test_a_split_that_would_empty_a_class_is_refused():
    with pytest.raises(ValueError, match="3 images of 3 classes"):
        stratified_split(np.arange(3), 0.5)
    with pytest.raises(ValueError, match="fraction must lie above 0 and below 1"):
        stratified_split(np.zeros(3, int), 1.0)


def test_a_limit_is_dealt_evenly_and_small_classes_give_all():
    labels = np.repeat([0, 1, 2], [100, 2, 50])
    kept = balanced_subset(labels, 22, 3)
    assert np.bincount(labels[kept]).tolist() == [10, 2, 10]
    assert kept[:10].tolist() == list(range(10))
    assert len(balanced_subset(labels, 1000, 3)) == 152
    with pytest.raises(ValueError, match="limit must be at least 3, got 2"):
        balanced_subset(labels, 2, 3)


def test_the_scarcest_class_limits_the_images_per_class():
    labels, names = np.array([0, 0, 0, 1, 1, 2, 2, 2]), ("cat", "dog", "owl")
    assert check_images_per_class(2, labels, names) == 2
    with pytest.raises(
        ValueError,
        match="images_per_class must be at most 2, the training images of class 'dog', "
        r"got 3\.",
    ):
        check_images_per_class(3, labels, names)
    with pytest.raises(ValueError, match="images_per_class must be at least 1, got 0"):
        check_images_per_class(0, labels, names)


def test_a_split_has_the_length_shape_and_items_of_its_images():
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
    split = Split(images, np.array([2, 0, 1], np.int32))
    assert (len(split), split.shape) == (3, (3, 4, 4, 1))
    image, label = split[1]
    np.testing.assert_array_equal(image, images[1])
    assert label == 0
    assert [label for _, label in split] == [2, 0, 1]
    for index in (slice(1, 3), [1, 2], np.array([False, True, True])):
        part = split[index]
        assert part.labels.tolist() == [0, 1]
        np.testing.assert_array_equal(part.images, images[1:])
    assert len(repr(split)) < 100


@pytest.mark.parametrize(
    ("train", "test", "expected", "names"),
    [
        ([0, 2, 1], [1], ([0, 2, 1], [1]), "012"),
        ([1, 3, 2], [3], ([0, 2, 1], [2]), "123"),
        ([1.0, 2.0], None, ([0, 1], None), "12"),
        (["b", "a", "b"], ["a"], ([1, 0, 1], [0]), "ab"),
        # With a test image of class 0 the numbers start there.
        ([1, 2, 1], [0], ([1, 2, 1], [0]), "012"),
    ],
)
def test_labels_of_any_common_form_become_indices(train, test, expected, names):
    found = encode_labels(train, test)
    assert found[0].tolist() == expected[0]
    assert (None if found[1] is None else found[1].tolist()) == expected[1]
    assert found[2] == tuple(names)


def test_objects_are_what_they_hold():
    numbers = encode_labels(np.array([1, 2, 2], object))
    assert (numbers[0].tolist(), numbers[2]) == ([0, 1, 1], ("1", "2"))
    assert encode_labels(np.array(["b", "a"], object))[0].tolist() == [1, 0]
    several = np.empty(2, object)
    several[:] = [[0], [0, 1]]
    for wrong in (several, np.array(["a", None], object)):
        with pytest.raises(
            ValueError, match="be whole numbers, got numbers of type obj"
        ):
            encode_labels(wrong)


def test_names_are_numbered_in_the_order_that_is_given():
    found = encode_labels(["cat", "owl"], ["owl"], class_names=("owl", "cat"))
    assert (found[0].tolist(), found[1].tolist()) == ([1, 0], [0])
    with pytest.raises(ValueError, match="test_labels must be names of known classes"):
        encode_labels(["cat", "owl"], ["dog"])


def test_a_huge_label_is_refused_before_names_are_made():
    with pytest.raises(ValueError, match="train_labels must number the classes"):
        encode_labels([0, 1, 10**9])


def test_targets_of_very_many_classes_take_the_memory_of_their_rows_only() -> None:
    targets = centred_one_hot(np.array([0, 199_999]), 200_000)
    assert targets.shape == (2, 200_000)
    assert targets.argmax(1).tolist() == [0, 199_999]
