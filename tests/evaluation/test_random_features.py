"""The random-feature kernel predictor against its formula."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from toy import quick_jit

from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.evaluation import RandomKernelSettings, random_kernel, random_real
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.random_features import (
    draw_random,
    nngp_features,
    random_features,
)

NETWORK = NetworkSettings(name="convnet_flat", width=8, depth=2)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", limit=200)


def test_it_is_ridge_regression_with_the_estimated_kernel(digits):
    distilled = random_real(digits, 2)
    got = random_kernel(distilled, digits, network=NETWORK, networks=3, kernels=1)
    network = build(NETWORK, image_shape=digits.image_shape, num_classes=10)
    outer = jax.random.split(jax.random.key(0), 1)[0]
    keys = list(jax.random.split(outer, 3))

    def run(images):
        kernels = []
        for key in keys:
            drawn = draw_random(key, network, count=1)
            features = nngp_features(random_features(network, drawn, {}, images))
            kernels.append(features @ features.T)
        return sum(kernels) / 3

    test = digits.inputs("test")
    kernel = np.asarray(
        quick_jit(run)(np.concatenate([distilled.images, test])), np.float64
    )
    among, across = kernel[:20, :20], kernel[20:, :20]
    lam = 5e-3 * np.trace(among) / 20
    prediction = across @ np.linalg.solve(among + lam * np.eye(20), distilled.labels)
    expected = np.mean(prediction.argmax(1) == digits.test.labels)
    assert got.accuracy.shape == (1,)
    # One image in 359 may sit on the fence.
    assert abs(float(got.accuracy[0]) - expected) < 0.006


def test_real_digits_are_classified_and_kernels_differ(digits):
    result = random_kernel(
        random_real(digits, 5), digits, network=NETWORK, networks=2, kernels=3
    )
    assert result.accuracy.min() > 0.6
    assert len(set(result.accuracy.tolist())) > 1
    assert result.settings.networks == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"networks": 0}, "networks must be at least 1, got 0"),
        ({"kernels": 0}, "kernels must be at least 1, got 0"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_settings_are_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        RandomKernelSettings(**changes)


def test_a_set_of_other_data_is_refused(digits):
    other = load_dataset("digits", limit=100)
    with pytest.raises(ValueError, match="the distilled set must be preprocessed like"):
        random_kernel(random_real(other, 1), digits)
