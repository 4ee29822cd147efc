"""DSA's augmentation: each op against plain NumPy or SciPy, the draws, Siamese or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from toy import quick_jit

from isa_toolkit.datasets import dsa

SHAPE = (5, 8, 8, 3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def affine(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the image sampled at ``matrix @ (row, column)``, centred, 0 outside."""
    h, w, ch = image.shape
    grid = np.mgrid[:h, :w].reshape(2, -1) - np.array([[(h - 1) / 2], [(w - 1) / 2]])
    places = matrix @ grid + np.array([[(h - 1) / 2], [(w - 1) / 2]])
    parts = [
        map_coordinates(image[..., c], places, order=1, mode="grid-constant")
        for c in range(ch)
    ]
    return np.stack(parts, axis=-1).reshape(image.shape)


def test_colour_is_brightness_then_saturation_then_contrast(images):
    draw = np.random.default_rng(1)
    b, s, c = draw.uniform(size=(3, 5)).astype(np.float32)
    numbers = map(jnp.asarray, (b, s, c))
    seen = quick_jit(dsa.dsa_color)(jnp.asarray(images), *numbers)
    for i, image in enumerate(images):
        bright = image + b[i]
        grey = bright.mean(-1, keepdims=True)
        pale = (bright - grey) * s[i] + grey
        expected = (pale - pale.mean()) * c[i] + pale.mean()
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)


def test_crop_moves_by_whole_pixels_into_zeros(images):
    shift = np.array([[0, 0], [1, -1], [-1, 1], [2, 2], [-2, 0]])
    seen = quick_jit(dsa.dsa_crop)(jnp.asarray(images), jnp.asarray(shift))
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)))
    for i, (down, right) in enumerate(shift):
        expected = padded[i, 3 + down : 11 + down, 3 + right : 11 + right]
        np.testing.assert_array_equal(seen[i], expected)


def test_cutout_zeroes_half_the_side_clipped_at_the_border(images):
    corner = np.array([[0, 0], [2, 3], [-2, -4], [6, 7], [4, 4]])
    seen = quick_jit(dsa.dsa_cutout)(jnp.asarray(images), jnp.asarray(corner))
    for i, (row, column) in enumerate(corner):
        expected = images[i].copy()
        rows = slice(max(row, 0), row + 4)
        expected[rows, max(column, 0) : column + 4] = 0
        np.testing.assert_array_equal(seen[i], expected)


def test_scale_is_an_affine_sample_with_zeros_outside(images):
    factors = np.random.default_rng(2).uniform(1 / 1.2, 1.2, (5, 2)).astype("float32")
    seen = quick_jit(dsa.dsa_scale)(jnp.asarray(images), jnp.asarray(factors))
    for i, image in enumerate(images):
        expected = affine(image, np.diag(factors[i].astype(float)))
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)


def test_rotate_is_an_affine_sample_with_zeros_outside(images):
    angles = np.radians([0.0, 15.0, -15.0, 7.0, 90.0]).astype("float32")
    seen = quick_jit(dsa.dsa_rotate)(jnp.asarray(images), jnp.asarray(angles))
    for i, image in enumerate(images):
        cosine, sine = np.cos(angles[i], dtype=float), np.sin(angles[i], dtype=float)
        expected = affine(image, np.array([[cosine, sine], [-sine, cosine]]))
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)
    np.testing.assert_allclose(seen[4], np.rot90(images[4]), atol=1e-5)


DRAWN = {
    "color": [(-0.5, 0.5), (0, 2), (0.5, 1.5)],
    "scale": [(1 / 1.2, 1.2)],
    "rotate": [(-np.pi / 12, np.pi / 12)],
}


@pytest.mark.parametrize("op", DRAWN)
def test_continuous_parameters_are_uniform_in_their_range(op):
    drawn = dsa.DSA_OPS[op].draw(jax.random.key(0), (4000, 8, 8, 3))
    for values, (low, high) in zip(map(np.asarray, drawn), DRAWN[op], strict=True):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


@pytest.mark.parametrize(
    ("side", "shifts", "corners"), [(8, (-1, 1), (-2, 6)), (32, (-4, 4), (-8, 24))]
)
def test_whole_numbers_take_every_value_of_their_range(side, shifts, corners):
    shape = (4000, side, side, 1)
    for op, (low, high) in (("crop", shifts), ("cutout", corners)):
        (values,) = dsa.DSA_OPS[op].draw(jax.random.key(1), shape)
        np.testing.assert_array_equal(np.unique(values), np.arange(low, high + 1))
        assert np.asarray(values).mean() == pytest.approx((low + high) / 2, abs=0.5)


def test_an_odd_cutout_is_centred_on_a_pixel():
    (corner,) = dsa.DSA_OPS["cutout"].draw(jax.random.key(1), (4000, 6, 6, 1))
    np.testing.assert_array_equal(np.unique(corner), np.arange(-1, 5))


@pytest.mark.parametrize("op", sorted(dsa.DSA_OPS))
def test_a_siamese_draw_changes_all_images_of_both_calls_alike(op):
    ramp = np.arange(64, dtype="float32").reshape(1, 8, 8, 1) + 1

    def four(key, images):
        calls = [(6, True), (3, True), (6, False)]
        return [
            dsa.dsa_augment(key, images[:count], ops=(op,), siamese=siamese)
            for count, siamese in calls
        ]

    images = jnp.asarray(np.repeat(ramp, 6, 0))
    many, few, single = map(np.asarray, quick_jit(four)(jax.random.key(4), images))
    for image in (*many, *few):
        np.testing.assert_allclose(image, many[0], atol=1e-5)
    # Otherwise every image has parameters of its own.
    assert len(np.unique(single.reshape(6, -1), axis=0)) > 1


def test_one_op_is_drawn_for_the_whole_batch(images):
    # On a blank image cutout is seen and flip is not.
    ones = jnp.ones((4, 8, 8, 1))
    augment = quick_jit(lambda key: dsa.dsa_augment(key, ones, ops=("flip", "cutout")))
    kinds = set()
    for number in range(12):
        seen = np.asarray(augment(jax.random.key(number)))
        is_cut = (seen == 0).any((1, 2, 3))
        assert is_cut.all() or not is_cut.any()
        kinds.add(bool(is_cut[0]))
    assert kinds == {True, False}


def test_gradients_flow_through_every_op(images):
    def total(images):
        key = jax.random.key(0)
        return sum(
            jnp.sum(dsa.dsa_augment(key, images[i], ops=(op,), siamese=True) ** 2)
            for i, op in enumerate(dsa.DSA_OPS)
        )

    many = jnp.asarray(np.repeat(images[None], len(dsa.DSA_OPS), 0))
    slopes = np.asarray(quick_jit(jax.grad(total))(many))
    assert np.isfinite(slopes).all()
    assert (slopes != 0).any(axis=(1, 2, 3, 4)).all()


def test_digits_are_not_mirrored():
    assert "flip" in dsa.dsa_default_ops((32, 32, 3))
    assert "flip" not in dsa.dsa_default_ops((28, 28, 1))


def test_no_op_changes_nothing_and_an_unknown_one_is_named(images):
    same = dsa.dsa_augment(jax.random.key(0), jnp.asarray(images), ops=())
    np.testing.assert_array_equal(same, images)
    with pytest.raises(ValueError, match=r"DSA op must be one of .*'scale'.*'spin'"):
        dsa.dsa_augment(jax.random.key(0), jnp.asarray(images), ops=("spin",))
    with pytest.raises(ValueError, match="images must have four axes"):
        dsa.dsa_augment(jax.random.key(0), jnp.asarray(images[0]))
