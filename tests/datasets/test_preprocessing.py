"""Pixels to inputs and back, and the files that keep the map."""

import jax
import numpy as np
import pytest

from isa_toolkit.datasets import preprocessing
from isa_toolkit.datasets.preprocessing import fit, to_inputs

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (120, 6, 6, 1), np.uint8)
COLOUR = RANDOM.integers(0, 200, (120, 6, 6, 3), np.uint8)


@pytest.mark.parametrize(
    "whitening", ["none", "standardise", "zca", "mtt_zca", "rfad_zca"]
)
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_invert_undoes_apply(whitening, images):
    made = fit(images, whitening)
    inputs = made.apply(images)
    assert inputs.dtype == np.float32
    back = made.invert(inputs)
    np.testing.assert_allclose(back, images / 255, atol=2e-6)
    np.testing.assert_array_equal(np.rint(back * 255), images)


def test_inversion_does_not_clip_and_apply_takes_it_back():
    made = fit(COLOUR, "zca")
    inputs = RANDOM.normal(size=(5, 6, 6, 3)).astype(np.float32) * 3
    pixels = made.invert(inputs)
    assert pixels.min() < 0
    np.testing.assert_allclose(made.apply(pixels), inputs, atol=1e-5)


def test_measured_constants_centre_and_scale_the_training_images():
    made = fit(COLOUR, "standardise")
    inputs = made.apply(COLOUR)
    np.testing.assert_allclose(inputs.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(axis=(0, 1, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(made.mean, (COLOUR / 255).mean(axis=(0, 1, 2)))


def test_given_constants_are_used_and_none_leaves_pixels_alone():
    made = fit(GREY, "standardise", mean=(0.1307,), std=(0.3081,))
    expected = (GREY / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(made.apply(GREY), expected, atol=1e-5)
    np.testing.assert_allclose(fit(GREY, "none").apply(GREY), GREY / 255, atol=1e-6)


def test_bytes_and_floats_give_the_same_inputs():
    made = fit(COLOUR, "zca")
    np.testing.assert_allclose(
        made.apply(COLOUR), made.apply((COLOUR / 255).astype(np.float32)), atol=1e-5
    )


def test_blocks_above_64_pixels_whiten_every_phase(monkeypatch):
    monkeypatch.setattr("isa_toolkit.datasets.whitening._LARGEST_BLOCK", 4)
    images = RANDOM.integers(0, 256, (200, 8, 8, 1), np.uint8)
    made = fit(images, "zca")
    assert made.describe()["zca"]["kind"] == "block zca"
    inputs = made.apply(images)
    phase = inputs[:, 1::2, 0::2].reshape(200, -1)
    one = (images[:, 1::2, 0::2] / 255.0 - made.mean) / made.std
    one = one.reshape(200, -1)
    expected = (one - one.mean(axis=0)) @ made.zca.matrix
    np.testing.assert_allclose(phase, expected, atol=1e-5)
    np.testing.assert_array_equal(np.rint(made.invert(inputs) * 255), images)


def test_the_fingerprint_tells_maps_apart():
    prints = {
        fit(images, whitening).fingerprint
        for images in (GREY, COLOUR, COLOUR[:100])
        for whitening in ("standardise", "zca")
    }
    assert len(prints) == 6


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((2, 5, 6, 3), np.uint8), r"have shape \[n, 6x6x3\], got \(2, 5, 6"),
        (np.zeros((2, 6, 6, 3), int), "be uint8, or floats"),
        (np.full((2, 6, 6, 3), np.nan), "be finite"),
        (np.full((2, 6, 6, 3), 128.0), "Divide by 255"),
    ],
)
def test_wrong_images_are_refused(images, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(COLOUR).apply(images)


def test_constants_must_fit_the_channels():
    with pytest.raises(
        ValueError, match=r"mean must hold one number per channel \(3\)"
    ):
        fit(COLOUR, mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="std must be at least 1e-08"):
        fit(COLOUR, mean=(0.5,) * 3, std=(0.5, 0, 0.5))
    with pytest.raises(ValueError, match="std must be at least 1e-08"):
        fit(COLOUR, std=(1e-320,) * 3)
    with pytest.raises(ValueError, match="training images must differ from each other"):
        fit(np.full((4, 2, 2, 1), 7, np.uint8))


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("whitening", ["standardise", "zca"])
def test_a_constant_channel_is_zero_after_centring_and_comes_back(level, whitening):
    images = COLOUR.copy()
    images[..., 2] = level
    made = fit(images, whitening)
    inputs = made.apply(images)
    np.testing.assert_allclose(inputs[..., 2], 0, atol=1e-6)
    np.testing.assert_array_equal(np.rint(made.invert(inputs) * 255), images)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache folder where every fit is kept."""
    monkeypatch.setattr(preprocessing, "_KEPT_FROM", 1)
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_fit_is_kept_and_read_again(cache, monkeypatch):
    made = fit(COLOUR, "zca")
    monkeypatch.setattr(preprocessing, "fit_zca", None)
    again = fit(COLOUR, "zca")
    assert again.fingerprint == made.fingerprint
    assert again.describe() == made.describe()


def test_other_images_are_not_taken_from_the_cache(cache):
    made = fit(COLOUR, "zca")
    other = fit(COLOUR[:100], "zca")
    assert other.fingerprint != made.fingerprint
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("kept", [slice(0, 0), slice(9), slice(-100)])
def test_a_damaged_cache_file_is_fitted_again_with_a_warning(cache, kept):
    made = fit(COLOUR, "zca")
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[kept])
    with pytest.warns(RuntimeWarning, match="is damaged; it is fitted again"):
        again = fit(COLOUR, "zca")
    assert again.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("shape", "whitening"),
    [
        ((30, 6, 4, 3), "standardise"),
        ((30, 6, 4, 3), "zca"),
        ((30, 6, 4, 1), "none"),
        # In four phases.
        ((3, 80, 66, 1), "zca"),
    ],
)
def test_bytes_become_the_inputs_that_numpy_makes(shape, whitening: str):
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, shape, np.uint8)
    fitted = fit(images, whitening)
    made = jax.jit(to_inputs)(images, fitted.constants())
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, fitted.apply(images), atol=3e-5)
