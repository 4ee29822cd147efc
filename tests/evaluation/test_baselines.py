"""Real images as baselines: which are taken, and the whole training set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.evaluation import (
    EvaluationSettings,
    baselines,
    evaluate,
    full_data,
    kmeans_real,
    random_real,
)
from isa_toolkit.evaluation.train import TestResult
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

CHOOSERS = (random_real, kmeans_real)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", limit=50)


def places(dataset: Dataset, chosen) -> list[int]:
    """Return where each image of the set stands in the training set."""
    inputs = dataset.inputs("train")
    found = []
    for image in chosen.images:
        (where,) = np.flatnonzero((inputs == image).all((1, 2, 3)))
        found.append(int(where))
    return found


@pytest.mark.parametrize("choose", CHOOSERS)
def test_distinct_training_images_class_by_class(digits, choose):
    chosen = choose(digits, 3)
    where = places(digits, chosen)
    assert len(set(where)) == 30
    expected = np.repeat(np.arange(10), 3)
    np.testing.assert_array_equal(digits.train.labels[where], expected)
    np.testing.assert_array_equal(chosen.classes, expected)
    np.testing.assert_array_equal(chosen.labels, digits.targets("train")[where])
    np.testing.assert_allclose(
        chosen.pixels, digits.train.images[where] / 255, rtol=1e-6
    )
    assert chosen.manifest == {"baseline": choose.__name__, "seed": 0}
    assert chosen.class_names == digits.class_names


@pytest.mark.parametrize("choose", CHOOSERS)
def test_the_same_seed_takes_the_same_images(digits, choose):
    first, again = (choose(digits, 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)


def test_another_seed_draws_other_images(digits):
    first, other = (random_real(digits, 2, seed=seed) for seed in (0, 1))
    assert (first.images != other.images).any()


@pytest.mark.parametrize("choose", CHOOSERS)
def test_as_many_as_there_are_is_all(digits, choose):
    assert sorted(places(digits, choose(digits, 5))) == list(range(50))


def test_one_cluster_gives_the_image_nearest_to_the_class_mean(digits):
    inputs = digits.inputs("train").reshape(50, -1).astype(np.float64)
    expected = []
    for label in range(10):
        members = np.flatnonzero(digits.train.labels == label)
        away = np.linalg.norm(inputs[members] - inputs[members].mean(0), axis=1)
        expected.append(int(members[np.argmin(away)]))
    assert places(digits, kmeans_real(digits, 1)) == expected


def test_each_cluster_gives_its_middle_image():
    # Two groups of three per class, at brightness 20 and 200: the middle of each is
    # the image nearest to its centre.
    levels = np.array([15, 20, 26, 190, 200, 209], np.uint8)
    images = np.broadcast_to(levels[:, None, None], (6, 4, 4)).copy()
    images = np.concatenate([images, 255 - images])
    dataset = Dataset.from_arrays(
        images, np.repeat([0, 1], 6), images, np.repeat([0, 1], 6)
    )
    where = places(dataset, kmeans_real(dataset, 2))
    assert [set(where[:2]), set(where[2:])] == [{1, 4}, {7, 10}]


@pytest.mark.parametrize("choose", CHOOSERS)
@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (
            {"images_per_class": 3},
            ValueError,
            r"^images_per_class must be at most 2, the training images of class "
            r"'cat', got 3\.$",
        ),
        (
            {"images_per_class": 0},
            ValueError,
            "images_per_class must be at least 1, got 0",
        ),
        (
            {"images_per_class": 1.5},
            TypeError,
            "images_per_class must be a whole number, got 1.5",
        ),
        (
            {"images_per_class": 1, "seed": -1},
            ValueError,
            "seed must be at least 0, got -1",
        ),
    ],
)
def test_bad_counts_are_refused_in_a_sentence(choose, arguments, kind, sentence):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
    labels = [0, 0, 0, 0, 1, 1]
    names = ("dog", "cat")
    dataset = Dataset.from_arrays(images, labels, images, labels, class_names=names)
    with pytest.raises(kind, match=sentence):
        choose(dataset, **arguments)


SMALL = EvaluationSettings(
    network=NetworkSettings(width=4, depth=2, norm="none"),
    networks=2,
    fit=FitSettings(steps=30, learning_rate=1e-2, warmup_steps=5),
    ops=(),
)


def test_the_whole_set_scores_as_a_set_of_all_its_images(digits):
    # With a ridge at which the readout of 50 images does not hang on rounding.
    settings = dataclasses.replace(SMALL, ridge=1e-3)
    whole = full_data(digits, settings)
    # The same images in another order, in full batches: equal up to rounding.
    every = evaluate(random_real(digits, 5), digits, settings)
    np.testing.assert_allclose(whole.network, every.network, atol=0.02)
    np.testing.assert_allclose(whole.ridge, every.ridge, atol=0.02)
    assert whole.settings == every.settings
    assert (whole.network > 0.3).all()


def test_the_whole_set_trains_long_unless_told_otherwise(digits, monkeypatch):
    seen = []

    def remember(images, labels, test_images, test_labels, settings, *, num_classes):
        seen.append((len(images), len(test_images), num_classes, settings))
        return TestResult(*[np.zeros(5, np.float32)] * 2, {})

    monkeypatch.setattr(baselines, "run_evaluation", remember)
    full_data(digits)
    full_data(digits, SMALL, seed=4)
    (images, tests, classes, default), (*_, chosen) = seen
    assert (images, tests, classes) == (50, 359, 10)
    assert (default.fit.steps, default.fit.batch_size) == (5000, 500)
    assert (default.network.norm, default.networks) == ("none", 5)
    assert chosen == dataclasses.replace(
        SMALL, seed=4, epochs=1000, flips=False, augment_mode="batch"
    )
