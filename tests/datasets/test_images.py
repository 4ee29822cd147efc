"""Decoding, centre crop and area resize."""

import io

import numpy as np
import pytest
from image_files import encode
from PIL import Image

from isa_toolkit.datasets.images import (
    Encoded,
    area_weights,
    crop_and_resize,
    decode_all,
)


def decode(contents, **settings):
    batch = [Encoded(f"image {i}", content) for i, content in enumerate(contents)]
    rows = np.arange(len(batch))
    return decode_all(lambda some: [batch[row] for row in some], rows, **settings)


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
    pictures = np.random.default_rng(1).integers(0, 256, (300, 6, 5, 3), np.uint8)
    np.testing.assert_array_equal(decode([encode(i) for i in pictures]), pictures)
    grey = pictures[:40, ..., :1]
    np.testing.assert_array_equal(decode([encode(i) for i in grey]), grey)


@pytest.mark.parametrize("order", [1, -1])
def test_grey_files_among_coloured_ones_are_repeated_to_rgb(order):
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    colour = np.full((4, 4, 3), [10, 20, 30], np.uint8)
    found = decode([encode(grey), encode(colour)][::order])[::order]
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
        (b"not an image", "image 0 must be a complete PNG, JPEG"),
        (encode(np.zeros((64, 64, 3), np.uint8))[:60], "must be a complete PNG"),
        (encode(np.zeros((4, 4), np.float32), "TIFF"), "8 or 16 bits .* got mode F"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "be a complete PNG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a Git LFS pointer"),
    ],
)
@pytest.mark.parametrize("channels", [None, 3])
def test_bytes_that_are_no_image_are_refused(content, sentence, channels):
    with pytest.raises(ValueError, match=sentence):
        decode([content], channels=channels)


def as_file(image, kind="PNG", **settings):
    content = io.BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white_whatever_lies_below(mode):
    contents = []
    for hidden in (0, 200):
        pixels = np.full((4, 4, 4), hidden, np.uint8)
        pixels[..., 3] = 0
        pixels[1:3, 1:3] = (90, 90, 90, 255)
        image = Image.fromarray(pixels)
        contents.append(as_file(image.convert(mode)))
    one, two = decode(contents, channels=1)
    np.testing.assert_array_equal(one, two)
    assert one[0, 0, 0] == 255
    assert abs(int(one[1, 1, 0]) - 90) <= 1


def test_a_black_drawing_on_transparent_ground_is_black_on_white():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1:3, 1:3, 3] = 255
    (found,) = decode([as_file(Image.fromarray(pixels), "WEBP", lossless=True)])
    assert (found[1:3, 1:3] == 0).all()
    assert (found[0] == 255).all()


# Where the top of the scene lies in the file, and the turns that undo it.
@pytest.mark.parametrize(("orientation", "turns"), [(6, -1), (3, 2), (8, 1)])
def test_the_orientation_that_a_camera_noted_is_applied(orientation, turns):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = as_file(Image.fromarray(pixels), exif=exif)
    (found,) = decode([turned])
    np.testing.assert_array_equal(found[..., 0], np.rot90(pixels, turns))


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "I;16"])
def test_palettes_bits_and_inks_look_as_they_are_shown(mode):
    levels = np.array([[0, 255], [255, 0]], np.uint8)
    image = Image.fromarray(levels)
    if mode == "I;16":
        stored = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        stored = (image.convert("RGB") if mode == "CMYK" else image).convert(mode)
    (found,) = decode([as_file(stored, "TIFF")], channels=1)
    np.testing.assert_array_equal(found[..., 0], levels)


def test_sixteen_bits_are_rounded_to_eight():
    levels = np.array([[0, 128, 129, 65535]], np.uint16)
    (found,) = decode([encode(levels)])
    assert found[0, :, 0].tolist() == [0, 0, 1, 255]


def test_an_image_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    content = encode(np.zeros((4, 4, 1), np.uint8))
    monkeypatch.setenv("ISA_MAX_PIXELS", "15")
    with pytest.raises(ValueError, match=r"at most 15 pixels, got 4x4\. .*MAX_PIXELS"):
        decode([content])
    monkeypatch.setenv("ISA_MAX_PIXELS", "16")
    assert decode([content]).shape == (1, 4, 4, 1)


def test_images_that_would_fill_the_memory_are_refused(monkeypatch):
    contents = [encode(np.zeros((4, 4, 1), np.uint8))] * 3
    monkeypatch.setenv("ISA_MAX_MEMORY", "47")
    with pytest.raises(
        ValueError, match=r"3 images of 4x4 must fit .* Pass resolution"
    ):
        decode(contents)
    assert decode(contents, resolution=2).shape == (3, 2, 2, 1)


def test_the_limit_can_be_above_that_of_pillow(monkeypatch):
    content = encode(np.zeros((4, 4, 1), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    monkeypatch.setenv("ISA_MAX_PIXELS", "6")
    with pytest.raises(ValueError, match="at most 6 pixels, got far more"):
        decode([content])
    monkeypatch.setenv("ISA_MAX_PIXELS", "16")
    assert decode([content]).shape == (1, 4, 4, 1)
