"""Decoding, centre crop and area resize."""

import numpy as np
import pytest
from image_files import encode

from isa_toolkit.datasets.images import (
    Encoded,
    area_weights,
    crop_and_resize,
    decode_all,
)


def decode(contents, **settings):
    batch = [Encoded(f"image {i}", content) for i, content in enumerate(contents)]
    return decode_all(lambda: [batch[:1], batch[1:]], len(batch), **settings)


@pytest.mark.parametrize(("before", "after"), [(160, 128), (7, 5), (5, 8), (6, 3)])
def test_area_weights_keep_the_mean_and_the_position(before, after):
    weights = area_weights(before, after)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=0), after / before, rtol=1e-5)
    centres = weights @ (np.arange(before) + 0.5)
    if after <= before:
        expected = (np.arange(after) + 0.5) * before / after
        # Linear inside a pixel, so only whole overlaps keep the centre exactly.
        assert np.abs(centres - expected).max() < 0.5


def test_resize_is_the_mean_over_the_exact_area():
    image = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    found = crop_and_resize(image, 3)
    # The slow way: repeat each pixel 3 times, then average blocks of 5.
    square = image[:, 2:7].astype(float)
    fine = square.repeat(3, axis=0).repeat(3, axis=1)
    expected = fine.reshape(3, 5, 3, 5, 3).mean(axis=(1, 3))
    assert np.abs(found - expected).max() <= 0.5 + 1e-4


def test_the_crop_is_the_central_square():
    image = np.zeros((4, 8, 1), np.uint8)
    image[:, 2:6] = 200
    assert (crop_and_resize(image, 4) == 200).all()
    assert (crop_and_resize(image, 2) == 200).all()


def test_lossless_files_come_back_bit_for_bit():
    images = np.random.default_rng(1).integers(0, 256, (300, 6, 5, 3), np.uint8)
    np.testing.assert_array_equal(decode([encode(i) for i in images]), images)
    grey = images[:40, ..., :1]
    np.testing.assert_array_equal(decode([encode(i) for i in grey]), grey)


def test_grey_files_among_coloured_ones_are_repeated_to_rgb():
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    colour = np.full((4, 4, 3), [10, 20, 30], np.uint8)
    found = decode([encode(grey), encode(colour)])
    np.testing.assert_array_equal(found[0], np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(found[1], colour)
    assert decode([encode(grey)], channels=3).shape == (1, 4, 4, 3)


def test_two_sizes_are_named_and_a_resolution_mends_them():
    contents = [encode(np.zeros((s, s, 3), np.uint8)) for s in (6, 6, 9)]
    with pytest.raises(ValueError, match=r"6x6 \(image 0\) and 9x9 \(image 2\)") as it:
        decode(contents)
    assert "Pass resolution" in str(it.value)
    assert decode(contents, resolution=4).shape == (3, 4, 4, 3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not an image", "image 0 must be a complete PNG, JPEG or WebP"),
        (encode(np.zeros((64, 64, 3), np.uint8))[:60], "must be a complete PNG"),
        (encode(np.zeros((4, 4), np.uint16)), "8 bits per channel, got mode I;16"),
    ],
)
@pytest.mark.parametrize("channels", [None, 3])
def test_bytes_that_are_no_image_are_refused(content, sentence, channels):
    with pytest.raises(ValueError, match=sentence):
        decode([content], channels=channels)
