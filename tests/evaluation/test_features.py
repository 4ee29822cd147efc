"""The feature network: trained once, kept, read in pieces, refused when it cannot fit."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import features
from isa_toolkit.evaluation.baselines import random_real
from isa_toolkit.evaluation.features import (
    FeatureSettings,
    distilled_network,
    feature_network,
)
from isa_toolkit.networks import NetworkSettings

SMALL = FeatureSettings(
    network=NetworkSettings(width=8, norm="none"),
    steps=300,
    batch_size=64,
    learning_rate=3e-3,
)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def kept(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return feature_network(digits, SMALL, folder=folder), folder


def test_it_has_learnt_the_real_images(kept, digits):
    network, _ = kept
    classes = network.logits(digits.inputs("test")).argmax(1)
    assert np.mean(classes == digits.test.labels) > 0.9


def test_logits_are_the_dense_layer_of_the_features(kept, digits):
    network, _ = kept
    images = digits.inputs("test")[:7]
    dense = network.params["Dense_0"]
    expected = network.features(images) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(network.logits(images), expected, rtol=1e-4, atol=1e-5)


def test_pieces_do_not_change_the_features(kept, digits, monkeypatch):
    network, _ = kept
    images = digits.inputs("test")[:50]
    whole = network.features(images)
    monkeypatch.setattr(features, "_PIECE", 16)
    np.testing.assert_allclose(network.features(images), whole, rtol=1e-5, atol=1e-6)
    assert network.features(images[:0]).shape == (0, whole.shape[1])


def test_the_second_call_reads_what_the_first_kept(kept, digits, monkeypatch):
    network, folder = kept
    monkeypatch.setattr(features, "_train", None)
    again = feature_network(digits, SMALL, folder=folder)
    images = digits.inputs("test")[:5]
    np.testing.assert_array_equal(again.features(images), network.features(images))


def test_a_damaged_file_is_made_again(kept, digits, tmp_path):
    network, folder = kept
    [good] = folder.iterdir()
    bad = tmp_path / good.name
    bad.write_bytes(good.read_bytes()[:100])
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = feature_network(digits, SMALL, folder=tmp_path)
    images = digits.inputs("test")[:5]
    np.testing.assert_array_equal(again.features(images), network.features(images))


def test_ten_real_images_train_a_network_as_well(digits):
    ten = random_real(digits, 1)
    network = distilled_network(ten, digits, SMALL)
    classes = network.logits(ten.images).argmax(1)
    assert (classes == ten.classes).all()
    seen = network.logits(digits.inputs("test")).argmax(1)
    assert 0.3 < np.mean(seen == digits.test.labels) < 0.9


def test_other_settings_are_another_network(kept, digits):
    names = {
        features._digest(digits, settings)
        for settings in (SMALL, FeatureSettings(), FeatureSettings(seed=1))
    }
    assert len(names) == 3


def test_bad_input_is_one_sentence(kept):
    with pytest.raises(ValueError, match="feature steps must be at least 1, got 0"):
        FeatureSettings(steps=0)
    with pytest.raises(ValueError, match="images must have the shape"):
        kept[0].features(np.zeros((2, 9, 9, 1)))
