"""The sets of augmentations against SciPy, their conventions, and their gradients."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from toy import quick_jit

from isa_toolkit.datasets.augmentation import (
    DC_OPS,
    DSA_OPS,
    GRAY_OPS,
    MODES,
    OPS,
    RGB_OPS,
    Op,
    augment,
    dc_default_ops,
    dsa_default_ops,
)

# Compiled, because one by one their primitives cost seconds of compilation.
color, crop, cutout, flip, rotate, translate = (
    jax.jit(OPS[name].apply)
    for name in ("color", "crop", "cutout", "flip", "rotate", "translate")
)
SHAPES = [(3, 8, 8, 1), (2, 7, 10, 3)]


def draw_images(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def resample(images, positions):
    """Bilinear, border repeated: SciPy's reading of ``positions(i, u, v)``.

    ``positions`` gives, for image i, the centred input coordinates of each centred
    output coordinate (u, v).
    """
    n, h, w, ch = images.shape
    u, v = np.meshgrid(
        np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij"
    )
    result = np.empty_like(images)
    for i in range(n):
        rows, columns = positions(i, u, v)
        place = np.stack([rows + (h - 1) / 2, columns + (w - 1) / 2])
        for k in range(ch):
            result[i, :, :, k] = ndimage.map_coordinates(
                images[i, :, :, k], place, order=1, mode="nearest"
            )
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_rotate_is_scipys_bilinear_resampling(shape):
    images = draw_images(shape)
    angles = np.linspace(-0.9, 0.7, shape[0]).astype(np.float32)

    def turned(i, u, v):
        c, s = np.cos(angles[i]), np.sin(angles[i])
        return c * u + s * v, c * v - s * u

    np.testing.assert_allclose(
        rotate(jnp.asarray(images), jnp.asarray(angles)),
        resample(images, turned),
        atol=2e-5,
    )


def test_rotate_turns_counter_clockwise_for_positive_angles():
    images = draw_images((2, 9, 9, 3))
    quarter = jnp.full(2, np.pi / 2, jnp.float32)
    np.testing.assert_allclose(
        rotate(jnp.asarray(images), quarter),
        np.rot90(images, 1, axes=(1, 2)),
        atol=2e-5,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_is_scipys_bilinear_resampling(shape):
    images = draw_images(shape)
    zoom = np.linspace(0.8, 1.25, shape[0]).astype(np.float32)
    offset = draw_images((shape[0], 2), seed=1)

    def zoomed(i, u, v):
        return (u + offset[i, 0]) / zoom[i], (v + offset[i, 1]) / zoom[i]

    np.testing.assert_allclose(
        crop(jnp.asarray(images), jnp.asarray(zoom), jnp.asarray(offset)),
        resample(images, zoomed),
        atol=2e-5,
    )


def test_crop_by_a_zoom_of_two_shows_the_middle_half_of_a_ramp():
    ramp = jnp.broadcast_to(jnp.arange(9.0)[None, :, None, None], (1, 9, 9, 1))
    seen = crop(ramp, jnp.array([2.0]), jnp.zeros((1, 2)))
    np.testing.assert_allclose(seen[0, :, 4, 0], np.linspace(2, 6, 9), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_translate_is_scipys_shift(shape):
    images = draw_images(shape)
    shift = 1.5 * draw_images((shape[0], 2), seed=1)
    expected = np.stack(
        [
            ndimage.shift(image, (*move, 0), order=1, mode="nearest")
            for image, move in zip(images, shift, strict=True)
        ]
    )
    np.testing.assert_allclose(
        translate(jnp.asarray(images), jnp.asarray(shift)), expected, atol=2e-5
    )


def test_translate_by_whole_pixels_moves_down_and_right_and_repeats_the_border():
    images = draw_images((1, 6, 6, 1))
    moved = translate(jnp.asarray(images), jnp.array([[2.0, 1.0]]))
    np.testing.assert_array_equal(moved[:, 2:, 1:], images[:, :-2, :-1])
    np.testing.assert_array_equal(moved[:, :2, 1:], images[:, [0, 0], :-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_parameters_leave_every_pixel_as_it_was(shape):
    images = draw_images(shape)
    n = shape[0]
    zeros, ones = jnp.zeros(n), jnp.ones(n)
    for same in (
        rotate(jnp.asarray(images), zeros),
        crop(jnp.asarray(images), ones, jnp.zeros((n, 2))),
        translate(jnp.asarray(images), jnp.zeros((n, 2))),
        flip(jnp.asarray(images), jnp.zeros(n, bool)),
    ):
        np.testing.assert_array_equal(same, images)
    kept = color(jnp.asarray(images), zeros, ones, ones)
    np.testing.assert_allclose(kept, images, atol=1e-6)


def test_images_of_one_row_or_column_can_be_resampled():
    images = draw_images((2, 1, 6, 1))
    turned = rotate(jnp.asarray(images), jnp.array([0.2, -0.2]))
    stood = rotate(jnp.asarray(images.transpose(0, 2, 1, 3)), jnp.array([-0.2, 0.2]))
    assert np.isfinite(turned).all()
    np.testing.assert_allclose(turned, jnp.swapaxes(stood, 1, 2), atol=1e-6)


def test_flip_mirrors_the_columns_of_the_masked_images_only():
    images = draw_images((3, 4, 5, 3))
    seen = flip(jnp.asarray(images), jnp.array([True, False, True]))
    np.testing.assert_array_equal(seen[1], images[1])
    np.testing.assert_array_equal(seen[::2], np.flip(images, axis=2)[::2])


@pytest.mark.parametrize("shape", SHAPES)
def test_color_changes_brightness_then_contrast_then_saturation(shape):
    images = draw_images(shape)
    brightness, contrast, saturation = np.abs(draw_images((3, shape[0]), seed=1)) + 0.5
    expected = np.empty_like(images)
    for i, image in enumerate(images):
        bright = image + brightness[i]
        contrasted = bright.mean() + contrast[i] * (bright - bright.mean())
        grey = contrasted.mean(axis=-1, keepdims=True)
        expected[i] = grey + saturation[i] * (contrasted - grey)
    actual = color(
        jnp.asarray(images),
        jnp.asarray(brightness),
        jnp.asarray(contrast),
        jnp.asarray(saturation),
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "side"), [(8, 2), (28, 7), (32, 8), (3, 1)])
def test_cutout_sets_one_square_of_a_quarter_side_to_zero(size, side):
    images = draw_images((2, size, size, 3))
    corner = np.array([[0, size - side], [size - side, 1]])
    expected = images.copy()
    for i, (row, column) in enumerate(corner):
        expected[i, row : row + side, column : column + side] = 0
    seen = cutout(jnp.asarray(images), jnp.asarray(corner))
    np.testing.assert_array_equal(seen, expected)


@pytest.fixture(scope="module")
def drawn():
    """Every op's parameters for 4,000 images of 32x24 pixels."""
    shape = (4000, 32, 24, 3)
    draws = jax.jit(
        lambda key: {name: op.draw(key, shape) for name, op in OPS.items()}
    )(jax.random.key(3))
    return {name: [np.asarray(part) for part in parts] for name, parts in draws.items()}


def assert_fills(values, low, high):
    """All in [low, high], and within 2 % of both ends and of a uniform mean."""
    span = high - low
    assert values.min() >= low - 1e-6
    assert values.max() <= high + 1e-6
    assert values.min() < low + 0.02 * span
    assert values.max() > high - 0.02 * span
    assert abs(values.mean() - (low + high) / 2) < 0.02 * span


def test_drawn_parameters_fill_the_published_ranges(drawn):
    assert abs(drawn["flip"][0].mean() - 0.5) < 0.03
    brightness, contrast, saturation = drawn["color"]
    for values in (brightness, np.log(contrast), np.log(saturation)):
        assert_fills(values, -0.25, 0.25)
    assert_fills(np.rad2deg(drawn["rotate"][0]), -15, 15)
    (shift,) = drawn["translate"]
    assert_fills(shift[:, 0], -4, 4)
    assert_fills(shift[:, 1], -3, 3)
    (corner,) = drawn["cutout"]
    assert sorted(set(corner[:, 0])) == list(range(32 - 6 + 1))
    assert sorted(set(corner[:, 1])) == list(range(24 - 6 + 1))
    zoom, offset = drawn["crop"]
    assert_fills(np.log(zoom), np.log(0.8), np.log(1.25))
    reach = np.abs(zoom - 1)[:, None] * np.array([32, 24]) / 2
    for axis in range(2):
        assert_fills(offset[:, axis] / reach[:, axis], -1, 1)


@pytest.mark.parametrize("name", list(OPS))
def test_parameters_of_one_op_are_drawn_independently(drawn, name):
    columns = np.concatenate([part.reshape(4000, -1) for part in drawn[name]], axis=1)
    correlations = np.atleast_2d(np.corrcoef(columns.T.astype(float)))
    assert np.abs(correlations - np.eye(columns.shape[1])).max() < 0.1


def test_an_enlarged_picture_shows_no_repeated_border(drawn):
    zoom, offset = drawn["crop"]
    for axis, size in enumerate((32, 24)):
        farthest = ((size - 1) / 2 + np.abs(offset[:, axis])) / zoom
        assert (farthest[zoom > 1] <= size / 2).all()


def test_only_colour_images_are_flipped_by_default():
    assert set(RGB_OPS) - set(GRAY_OPS) == {"flip"}
    assert "flip" in dsa_default_ops((32, 32, 3))
    assert "flip" not in dsa_default_ops((28, 28, 1))
    assert "flip" in dsa_default_ops((28, 28, 1), "fashion_mnist")
    for name, channels in (("mnist", 1), ("svhn", 3), ("digits", 1)):
        assert "flip" not in dsa_default_ops((28, 28, channels), name)


def test_the_ops_of_dc_are_those_of_scipy_and_of_arrays_written_out():
    images = draw_images((4, 9, 9, 2)) + np.float32(1)
    mean = images.mean(axis=(0, 1, 2))
    degrees = np.array([-45, -17, 0, 31])
    shift = np.array([[-4, 3], [0, 0], [2, -1], [3, 3]])
    factors = np.array([[0.8, 1.19], [1.0, 1.0], [1.19, 1.19], [0.7, 0.9]])

    @jax.jit
    def apply(images):
        return (
            DC_OPS["rotate"].apply(images, jnp.asarray(degrees)),
            DC_OPS["crop"].apply(images, jnp.asarray(shift)),
            DC_OPS["scale"].apply(images, jnp.asarray(factors)),
        )

    turned, moved, scaled = map(np.asarray, apply(images))
    for index, image in enumerate(images):
        larger = ndimage.rotate(
            image, degrees[index], axes=(0, 1), order=3, cval=images.mean()
        )
        top, left = ((side - 9) // 2 for side in larger.shape[:2])
        expected = larger[top : top + 9, left : left + 9]
        np.testing.assert_allclose(turned[index], expected, atol=2e-4)
        framed = np.broadcast_to(mean, (17, 17, 2)).copy()
        framed[4:13, 4:13] = image
        row, column = 4 + shift[index]
        expected = framed[row : row + 9, column : column + 9]
        np.testing.assert_allclose(moved[index], expected, atol=1e-5)
        height, width = (int(factor * 9) for factor in factors[index])
        resized = image[np.arange(height) * 9 // height]
        resized = resized[:, np.arange(width) * 9 // width]
        square = np.zeros((max(height, width, 9),) * 2 + (2,))
        top, left = ((len(square) - side) // 2 for side in (height, width))
        square[top : top + height, left : left + width] = resized
        top = (len(square) - 9) // 2
        expected = square[top : top + 9, top : top + 9]
        np.testing.assert_allclose(scaled[index], expected, atol=1e-6)


def test_the_ops_of_dc_have_their_ranges_and_differ_between_images():
    draws = {
        name: np.asarray(op.draw(jax.random.key(0), (2000, 28, 28, 1))[0])
        for name, op in DC_OPS.items()
    }
    assert sorted(set(draws["crop"].ravel())) == list(range(-4, 4))
    assert sorted(set(draws["rotate"])) == list(range(-45, 45))
    assert_fills(draws["scale"], 0.8, 1.2)
    images = np.broadcast_to(draw_images((1, 8, 8, 1)), (6, 8, 8, 1))
    ops = dc_default_ops("mnist")
    assert (ops, dc_default_ops("cifar10")) == (("crop", "scale", "rotate"), ())
    changed = jax.jit(partial(augment, ops=ops, mode="sample", kind="dc"))(
        jax.random.key(1), images
    )
    assert len(np.unique(np.round(changed.sum((1, 2, 3)), 4))) > 2


def apply_each(images, names, seed=0):
    """The images after each named op in turn, compiled as one program."""

    @jax.jit
    def run(key, images):
        return [augment(key, images, ops=(name,)) for name in names]

    return run(jax.random.key(seed), images)


@pytest.fixture
def tagged(monkeypatch):
    """Ops that add 1, 2 and 4, so that the sum tells which one was applied."""
    for name, amount in (("one", 1.0), ("two", 2.0), ("four", 4.0)):
        op = Op(
            lambda key, shape: (jnp.zeros(shape[0]),),
            lambda images, zeros, amount=amount: images + amount,
        )
        monkeypatch.setitem(OPS, name, op)
    return ("one", "two", "four")


def test_batch_mode_draws_one_op_for_all_images_uniformly(tagged):
    keys = jax.random.split(jax.random.key(0), 1500)
    images = jnp.zeros((5, 2, 2, 1))
    seen = jax.jit(jax.vmap(lambda key: augment(key, images, ops=tagged)))(keys)
    amounts = np.asarray(seen[:, 0, 0, 0, 0])
    assert (np.asarray(seen) == amounts[:, None, None, None, None]).all()
    values, counts = np.unique(amounts, return_counts=True)
    assert values.tolist() == [1, 2, 4]
    assert np.abs(counts / 1500 - 1 / 3).max() < 0.05


def test_sample_mode_draws_one_op_per_image_uniformly(tagged):
    images = jnp.zeros((1500, 2, 2, 1))
    call = jax.jit(lambda key: augment(key, images, ops=tagged, mode="sample"))
    seen = call(jax.random.key(0))
    amounts = np.asarray(seen[:, 0, 0, 0])
    assert (np.asarray(seen) == amounts[:, None, None, None]).all()
    values, counts = np.unique(amounts, return_counts=True)
    assert values.tolist() == [1, 2, 4]
    assert np.abs(counts / 1500 - 1 / 3).max() < 0.05


def test_parameters_differ_between_the_images_of_a_batch():
    images = jnp.broadcast_to(draw_images((1, 8, 8, 3)), (4, 8, 8, 3))
    names = sorted(set(OPS) - {"flip", "cutout"})
    for seen in apply_each(images, names):
        assert len(np.unique(np.asarray(seen).reshape(4, -1), axis=0)) == 4


@pytest.mark.parametrize("mode", MODES)
def test_the_same_key_gives_the_same_images_and_another_key_others(mode):
    images = jnp.asarray(draw_images((4, 6, 9, 3)))
    ops = ("flip", "rotate", "color")
    call = jax.jit(lambda key: augment(key, images, ops=ops, mode=mode))
    keys = jax.random.split(jax.random.key(0), 8)
    results = np.stack([call(key) for key in keys])
    assert results.shape == (8, 4, 6, 9, 3)
    assert results.dtype == np.float32
    np.testing.assert_array_equal(results, np.stack([call(key) for key in keys]))
    assert len(np.unique(results.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(4, 8, 8, 1), (2, 28, 28, 1), (3, 32, 32, 3)])
def test_every_default_op_keeps_shape_and_type(mode, shape, kind):
    ops = RGB_OPS if shape[-1] == 3 else GRAY_OPS
    images = jax.ShapeDtypeStruct(shape, kind)
    # lax.switch refuses branches that disagree.
    seen = jax.eval_shape(
        lambda key, images: augment(key, images, ops=ops, mode=mode),
        jax.random.key(0),
        images,
    )
    assert (seen.shape, seen.dtype) == (images.shape, images.dtype)


def test_vmap_over_keys_is_a_loop_over_keys():
    images = jnp.asarray(draw_images((3, 8, 8, 1)))
    keys = jax.random.split(jax.random.key(1), 8)
    ops = ("rotate", "flip")
    call = jax.jit(lambda key: augment(key, images, ops=ops))
    together = jax.jit(jax.vmap(call))(keys)
    one_by_one = np.stack([call(key) for key in keys])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


@pytest.mark.parametrize("name", list(OPS))
def test_gradients_equal_central_differences(name):
    with jax.enable_x64(True):
        images = jnp.asarray(draw_images((2, 6, 6, 3)), jnp.float64)
        weights = jnp.asarray(draw_images((2, 6, 6, 3), seed=1), jnp.float64)
        direction = jnp.asarray(draw_images((2, 6, 6, 3), seed=2), jnp.float64)
        key = jax.random.key(4)

        def loss(images):
            return jnp.sum(weights * jnp.sin(augment(key, images, ops=(name,))))

        step = 1e-5
        points = images + step * jnp.stack([0 * direction, direction, -direction])
        run = jax.jit(lambda points: jax.lax.map(jax.value_and_grad(loss), points))
        (_, above, below), (gradient, *_) = run(points)
        expected = float((above - below) / (2 * step))
        actual = float(jnp.vdot(gradient, direction))
    assert np.isfinite(gradient).all()
    assert abs(expected) > 0.1
    assert actual == pytest.approx(expected, rel=1e-6)


# --- DSA ---

DSA_SHAPE = (5, 8, 8, 3)


@pytest.fixture(scope="module")
def dsa_images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=DSA_SHAPE).astype(np.float32)


def affine(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the image sampled at ``matrix @ (row, column)``, centred, 0 outside."""
    h, w, ch = image.shape
    grid = np.mgrid[:h, :w].reshape(2, -1) - np.array([[(h - 1) / 2], [(w - 1) / 2]])
    positions = matrix @ grid + np.array([[(h - 1) / 2], [(w - 1) / 2]])
    parts = [
        ndimage.map_coordinates(image[..., c], positions, order=1, mode="grid-constant")
        for c in range(ch)
    ]
    return np.stack(parts, axis=-1).reshape(image.shape)


def test_dsa_colour_is_brightness_then_saturation_then_contrast(dsa_images):
    draw = np.random.default_rng(1)
    b, s, c = draw.uniform(size=(3, 5)).astype(np.float32)
    numbers = map(jnp.asarray, (b, s, c))
    seen = quick_jit(DSA_OPS["color"].apply)(jnp.asarray(dsa_images), *numbers)
    for i, image in enumerate(dsa_images):
        bright = image + b[i]
        grey = bright.mean(-1, keepdims=True)
        pale = (bright - grey) * s[i] + grey
        expected = (pale - pale.mean()) * c[i] + pale.mean()
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)


def test_dsa_crop_moves_by_whole_pixels_into_zeros(dsa_images):
    shift = np.array([[0, 0], [1, -1], [-1, 1], [2, 2], [-2, 0]])
    seen = quick_jit(DSA_OPS["crop"].apply)(jnp.asarray(dsa_images), jnp.asarray(shift))
    padded = np.pad(dsa_images, ((0, 0), (3, 3), (3, 3), (0, 0)))
    for i, (down, right) in enumerate(shift):
        expected = padded[i, 3 + down : 11 + down, 3 + right : 11 + right]
        np.testing.assert_array_equal(seen[i], expected)


def test_dsa_cutout_zeroes_half_the_side_clipped_at_the_border(dsa_images):
    corner = np.array([[0, 0], [2, 3], [-2, -4], [6, 7], [4, 4]])
    seen = quick_jit(DSA_OPS["cutout"].apply)(
        jnp.asarray(dsa_images), jnp.asarray(corner)
    )
    for i, (row, column) in enumerate(corner):
        expected = dsa_images[i].copy()
        rows = slice(max(row, 0), row + 4)
        expected[rows, max(column, 0) : column + 4] = 0
        np.testing.assert_array_equal(seen[i], expected)


def test_dsa_scale_is_an_affine_sample_with_zeros_outside(dsa_images):
    factors = np.random.default_rng(2).uniform(1 / 1.2, 1.2, (5, 2)).astype("float32")
    seen = quick_jit(DSA_OPS["scale"].apply)(
        jnp.asarray(dsa_images), jnp.asarray(factors)
    )
    for i, image in enumerate(dsa_images):
        expected = affine(image, np.diag(factors[i].astype(float)))
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)


def test_dsa_rotate_is_an_affine_sample_with_zeros_outside(dsa_images):
    angles = np.radians([0.0, 15.0, -15.0, 7.0, 90.0]).astype("float32")
    seen = quick_jit(DSA_OPS["rotate"].apply)(
        jnp.asarray(dsa_images), jnp.asarray(angles)
    )
    for i, image in enumerate(dsa_images):
        cosine, sine = np.cos(angles[i], dtype=float), np.sin(angles[i], dtype=float)
        expected = affine(image, np.array([[cosine, sine], [-sine, cosine]]))
        np.testing.assert_allclose(seen[i], expected, atol=1e-5)
    np.testing.assert_allclose(seen[4], np.rot90(dsa_images[4]), atol=1e-5)


DSA_RANGES = {
    "color": [(-0.5, 0.5), (0, 2), (0.5, 1.5)],
    "scale": [(1 / 1.2, 1.2)],
    "rotate": [(-np.pi / 12, np.pi / 12)],
}


@pytest.mark.parametrize("op", DSA_RANGES)
def test_dsa_continuous_parameters_are_uniform_in_their_range(op):
    drawn = DSA_OPS[op].draw(jax.random.key(0), (4000, 8, 8, 3))
    for values, (low, high) in zip(map(np.asarray, drawn), DSA_RANGES[op], strict=True):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


@pytest.mark.parametrize(
    ("side", "shifts", "corners"), [(8, (-1, 1), (-2, 6)), (32, (-4, 4), (-8, 24))]
)
def test_dsa_whole_numbers_take_every_value_of_their_range(side, shifts, corners):
    shape = (4000, side, side, 1)
    for op, (low, high) in (("crop", shifts), ("cutout", corners)):
        (values,) = DSA_OPS[op].draw(jax.random.key(1), shape)
        np.testing.assert_array_equal(np.unique(values), np.arange(low, high + 1))
        assert np.asarray(values).mean() == pytest.approx((low + high) / 2, abs=0.5)


def test_dsa_an_odd_cutout_is_centred_on_a_pixel():
    (corner,) = DSA_OPS["cutout"].draw(jax.random.key(1), (4000, 6, 6, 1))
    np.testing.assert_array_equal(np.unique(corner), np.arange(-1, 5))


@pytest.mark.parametrize("op", sorted(DSA_OPS))
def test_dsa_a_siamese_draw_changes_all_images_of_both_calls_alike(op):
    ramp = np.arange(64, dtype="float32").reshape(1, 8, 8, 1) + 1

    def four(key, images):
        calls = [(6, True), (3, True), (6, False)]
        return [
            augment(key, images[:count], ops=(op,), kind="dsa", siamese=siamese)
            for count, siamese in calls
        ]

    images = jnp.asarray(np.repeat(ramp, 6, 0))
    many, few, single = map(np.asarray, quick_jit(four)(jax.random.key(4), images))
    for image in (*many, *few):
        np.testing.assert_allclose(image, many[0], atol=1e-5)
    # Otherwise every image has parameters of its own.
    assert len(np.unique(single.reshape(6, -1), axis=0)) > 1


def test_dsa_one_op_is_drawn_for_the_whole_batch(dsa_images):
    # On a blank image cutout is seen and flip is not.
    ones = jnp.ones((4, 8, 8, 1))
    changed = quick_jit(
        lambda key: augment(key, ones, ops=("flip", "cutout"), kind="dsa")
    )
    kinds = set()
    for number in range(12):
        seen = np.asarray(changed(jax.random.key(number)))
        is_cut = (seen == 0).any((1, 2, 3))
        assert is_cut.all() or not is_cut.any()
        kinds.add(bool(is_cut[0]))
    assert kinds == {True, False}


def test_dsa_gradients_flow_through_every_op(dsa_images):
    def total(dsa_images):
        key = jax.random.key(0)
        return sum(
            jnp.sum(
                augment(key, dsa_images[i], ops=(op,), kind="dsa", siamese=True) ** 2
            )
            for i, op in enumerate(DSA_OPS)
        )

    many = jnp.asarray(np.repeat(dsa_images[None], len(DSA_OPS), 0))
    slopes = np.asarray(quick_jit(jax.grad(total))(many))
    assert np.isfinite(slopes).all()
    assert (slopes != 0).any(axis=(1, 2, 3, 4)).all()


def test_dsa_no_op_changes_nothing(dsa_images):
    same = augment(jax.random.key(0), jnp.asarray(dsa_images), ops=(), kind="dsa")
    np.testing.assert_array_equal(same, dsa_images)
