"""The feature network: trained once, kept, read in pieces, refused when it cannot fit."""

from __future__ import annotations

import jax.numpy as jnp
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

pytestmark = pytest.mark.slow

SMALL = FeatureSettings(network=NetworkSettings(width=8, norm="none"), steps=600)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def kept(digits, tmp_path_factory):
    """A network, and the folder in which it is kept."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "cache_folder", lambda: cache)
        yield feature_network(digits, SMALL), cache / "features"


def logits(network, images):
    inputs = jnp.asarray(images)
    return network.network.apply(network.params, network.state, inputs).logits


def test_it_has_learnt_the_real_images(kept, digits):
    network, _ = kept
    classes = logits(network, digits.inputs("test")).argmax(1)
    assert np.mean(classes == digits.test.labels) > 0.9


def test_features_are_what_the_last_layer_reads(kept, digits):
    network, _ = kept
    images = digits.inputs("test")[:7]
    dense = network.params["Dense_0"]
    expected = network.features(images) @ dense["kernel"] + dense["bias"]
    found = logits(network, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_pieces_do_not_change_the_features(kept, digits, monkeypatch):
    network, _ = kept
    images = digits.inputs("test")[:50]
    whole = network.features(images)
    monkeypatch.setattr(features, "_PIECE", 16)
    np.testing.assert_allclose(network.features(images), whole, rtol=1e-5, atol=1e-6)
    assert network.features(images[:0]).shape == (0, whole.shape[1])


def test_the_second_call_reads_what_the_first_kept(kept, digits, monkeypatch):
    network, _ = kept
    monkeypatch.setattr(features, "_train", None)
    again = feature_network(digits, SMALL)
    images = digits.inputs("test")[:5]
    np.testing.assert_array_equal(again.features(images), network.features(images))


def test_a_damaged_file_is_made_again(kept, digits, monkeypatch, tmp_path):
    network, folder = kept
    [good] = folder.iterdir()
    bad = tmp_path / "features" / good.name
    bad.parent.mkdir()
    bad.write_bytes(good.read_bytes()[:100])
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = feature_network(digits, SMALL)
    images = digits.inputs("test")[:5]
    np.testing.assert_array_equal(again.features(images), network.features(images))


def test_ten_real_images_train_a_network_as_well(digits):
    ten = random_real(digits, 1)
    network = distilled_network(ten, digits, SMALL)
    classes = logits(network, ten.images).argmax(1)
    assert (classes == ten.classes).all()
    seen = logits(network, digits.inputs("test")).argmax(1)
    assert 0.3 < np.mean(seen == digits.test.labels) < 0.9


def test_other_settings_are_another_network(kept, digits):
    names = {
        features._digest(digits, settings, ())
        for settings in (SMALL, SMALL._replace(steps=1), SMALL._replace(seed=1))
    }
    assert len(names) == 3


def test_bad_input_is_one_sentence(kept, digits):
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        feature_network(digits, SMALL._replace(steps=0))
    with pytest.raises(ValueError, match="images must have the shape"):
        kept[0].features(np.zeros((2, 9, 9, 1)))
