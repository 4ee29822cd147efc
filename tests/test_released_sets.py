"""A set made elsewhere is judged and measured like one of our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isa_toolkit.analysis import diversity
from isa_toolkit.datasets import Dataset, load_dataset, read_images
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation import EvaluationSettings, evaluate
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", limit=200)


def from_npz(folder: Path, digits: Dataset) -> DistilledSet:
    """Return the first six of each class by way of plain arrays."""
    chosen = first_of_each(digits)
    path = folder / "elsewhere.npz"
    np.savez(path, x=digits.train.images[chosen] / 255, y=digits.train.labels[chosen])
    with np.load(path, allow_pickle=False) as file:
        return DistilledSet.from_pixels(
            file["x"],
            file["y"],
            preprocessing=digits.preprocessing,
            class_names=digits.class_names,
        )


def from_folder(folder: Path, digits: Dataset) -> DistilledSet:
    """Return the same by way of class folders of PNG files."""
    for place in first_of_each(digits):
        label = folder / digits.class_names[digits.train.labels[place]]
        label.mkdir(exist_ok=True)
        picture = Image.fromarray(digits.train.images[place, :, :, 0])
        picture.save(label / f"{place:05d}.png")
    found = read_images(folder)
    return DistilledSet.from_pixels(
        found.images,
        found.labels,
        preprocessing=digits.preprocessing,
        class_names=digits.class_names,
    )


def first_of_each(digits: Dataset) -> np.ndarray:
    labels = digits.train.labels
    return np.concatenate([np.flatnonzero(labels == c)[:6] for c in range(10)])


@pytest.mark.parametrize("made", [from_npz, from_folder])
def test_it_goes_through_evaluation_and_analysis(made, digits, tmp_path):
    distilled = made(tmp_path, digits)
    chosen = first_of_each(digits)
    inputs = digits.inputs("train")
    np.testing.assert_allclose(distilled.images, inputs[chosen], atol=1e-5)
    np.testing.assert_array_equal(distilled.labels, digits.targets("train")[chosen])
    settings = EvaluationSettings(
        network=NetworkSettings(width=2, depth=1, norm="none"),
        networks=1,
        fit=FitSettings(steps=2, warmup_steps=1),
        ops=(),
    )
    judged = evaluate(distilled, digits, settings)
    # Real images, so the ridge predictor is far above chance even untrained.
    assert judged.ridge[0] > 0.5
    real, own = inputs.reshape(len(inputs), -1), distilled.images.reshape(60, -1)
    measured = diversity.prdc(real, own)
    # Its points are real points: each lies in a ball around itself.
    assert measured.precision == 1
    assert 0 < diversity.recall(real, own) <= 1
