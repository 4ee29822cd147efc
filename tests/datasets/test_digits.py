"""The embedded digits."""

import numpy as np

from isa_toolkit.datasets import load_dataset


def test_digits_are_1797_real_images_split_by_class():
    data = load_dataset("digits")
    assert data.train.images.shape == (1438, 8, 8, 1)
    assert len(data.test.labels) == 359
    shares = np.bincount(data.test.labels) / (
        np.bincount(data.test.labels) + np.bincount(data.train.labels)
    )
    assert np.abs(shares - 0.2).max() < 0.01
    # Seventeen levels, spread over the whole byte.
    levels = np.unique(data.train.images)
    np.testing.assert_array_equal(levels, np.rint(np.arange(17) * 255 / 16))
    inputs = data.inputs()
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-5)
    assert load_dataset("digits").fingerprint == data.fingerprint


def test_digits_can_be_limited():
    data = load_dataset("digits", limit=25)
    assert np.bincount(data.train.labels).tolist() == [3] * 5 + [2] * 5
    assert len(data.test.labels) == 359
