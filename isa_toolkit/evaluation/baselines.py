"""Baselines of distilled sets: real images at random, by k-means, and all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.datasets import Dataset, centred_one_hot
from isa_toolkit.datasets.validation import check_images_per_class
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.evaluation import (
    Evaluation,
    EvaluationSettings,
    evaluation_of,
    run_evaluation,
)
from isa_toolkit.networks.training import FitSettings


@typed
def random_real(
    dataset: Dataset, images_per_class: int, *, seed: int = 0
) -> DistilledSet:
    """Return random training images, class by class, with centred one-hot labels.

    Args:
        dataset: Data set whose training images to draw, without replacement.
        images_per_class: Number of images of each class.
        seed: Random seed of the draw.

    Returns:
        The set, m = classes x images_per_class.

    Raises:
        TypeError: A number is not whole.
        ValueError: A class has fewer images, or ``seed`` is negative.
    """
    draw = np.random.default_rng(checks.check_seed("seed", seed))

    def choose(members: np.ndarray, count: int) -> np.ndarray:
        return draw.choice(members, count, replace=False)

    return _real(dataset, images_per_class, choose, "random_real", seed)


@typed
def kmeans_real(
    dataset: Dataset, images_per_class: int, *, seed: int = 0
) -> DistilledSet:
    """Return the training images nearest to the k-means centres of each class.

    The clusters are of the network inputs (standardised or whitened), with scikit-learn's
    k-means; each centre takes its nearest image that no other centre has taken. Arguments
    and errors are those of :func:`random_real`.
    """
    from sklearn.cluster import KMeans

    checks.check_seed("seed", seed)
    inputs = dataset.inputs("train").reshape(len(dataset.train.labels), -1)

    def choose(members: np.ndarray, count: int) -> np.ndarray:
        points = inputs[members]
        centres = KMeans(count, n_init="auto", random_state=seed).fit(points)
        free = np.ones(len(members), bool)
        chosen = []
        for centre in centres.cluster_centers_:
            distance = np.square(points - centre).sum(1)
            nearest = int(np.argmin(np.where(free, distance, np.inf)))
            free[nearest] = False
            chosen.append(members[nearest])
        return np.array(chosen)

    return _real(dataset, images_per_class, choose, "kmeans_real", seed)


@typed
def full_data(
    dataset: Dataset, settings: EvaluationSettings | None = None, **changes: Any
) -> Evaluation:
    """Return the accuracy of networks trained on the whole training set.

    Args:
        dataset: Data set to train and test on.
        settings: Settings of the evaluation; None for the published ConvNet and schedule
            with ``fit`` of 20 epochs in batches of 500 and at least 5,000 steps. That
            number is ours: the sources do not give one.
        **changes: Settings to replace, by name.

    Returns:
        The accuracies; labels are centred one-hot.

    Raises:
        ValueError: A setting is out of its range, or the protocol is RFAD's.
    """
    settings = dataclasses.replace(settings or EvaluationSettings(), **changes)
    count = len(dataset.train.labels)
    if settings.fit is None:
        steps = max(5000, 20 * count // 500)
        settings = dataclasses.replace(
            settings, fit=FitSettings(steps=steps, batch_size=500)
        )
    settings = settings.resolve(
        image_shape=dataset.image_shape, num_distilled=count, dataset=dataset.name
    )
    result = run_evaluation(
        dataset.inputs("train"),
        dataset.targets("train"),
        dataset.inputs("test"),
        dataset.test.labels,
        settings,
        num_classes=dataset.num_classes,
    )
    return evaluation_of(result, settings)


def _real(
    dataset: Dataset,
    images_per_class: int,
    choose: Callable[[np.ndarray, int], np.ndarray],
    baseline: str,
    seed: int,
) -> DistilledSet:
    """Return the training images that are chosen among the members of each class."""
    labels = dataset.train.labels
    count = check_images_per_class(images_per_class, labels, dataset.class_names)
    chosen = np.concatenate(
        [choose(np.flatnonzero(labels == c), count) for c in range(dataset.num_classes)]
    )
    return DistilledSet.from_pixels(
        dataset.train.images[chosen],
        centred_one_hot(labels[chosen], dataset.num_classes),
        preprocessing=dataset.preprocessing,
        class_names=dataset.class_names,
        manifest={"baseline": baseline, "seed": seed},
    )
