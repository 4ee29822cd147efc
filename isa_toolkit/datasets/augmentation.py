"""Differentiable augmentation of image batches: one random op per batch or per image.

Three published sets of ops share this file: ``OPS`` of FRePo, ISA and RCIG, ``DSA_OPS`` of
DSA, DM and MTT (differentiable Siamese augmentation), and ``DC_OPS`` of DC. They differ in
their ranges and in what lies outside an image: its border repeated for the first, 0 for
the second, and for the third, where images move or turn, the mean of the batch.

Each op is a pair of pure functions, ``draw(key, shape) -> parameters`` and
``apply(images, *parameters) -> images``. Images are floats of any scale, whitened ones
included: nothing is clipped, and 0 is the mean of standardised images. Pixel coordinates
are (row, column), rows downwards, with the centre of an image at
((h - 1) / 2, (w - 1) / 2). Every op is affine in the images, so gradients are exact.

Source: docs/algorithms.md, sections 3.1 to 3.3, written from their equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

Shape = tuple[int, ...]
Images = Float[Array, "n h w ch"]

# Half-widths of the published ranges.
_COLOR = 0.25
_LOG_ZOOM = math.log(1.25)
_ANGLE = math.radians(15)
_SHIFT = 0.125
_DSA_SCALE = 1.2
_DC_SCALE = 0.2
_DC_ANGLE = 45
_DC_PAD = 4

RGB_OPS = ("flip", "color", "crop", "rotate", "translate", "cutout")
GRAY_OPS = ("color", "crop", "rotate", "translate", "cutout")
DSA_RGB_OPS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DSA_GRAY_OPS = ("color", "crop", "cutout", "scale", "rotate")
DSA_NAMED_OPS = {"fashion_mnist": DSA_RGB_OPS, "svhn": DSA_GRAY_OPS}
MODES = ("batch", "sample")


class Op(NamedTuple):
    """One augmentation.

    Attributes:
        draw: ``(key, shape) -> parameters``, a tuple with one random entry per image;
            ``shape`` is that of the images, (n, h, w, ch).
        apply: ``(images, *parameters) -> images``.
    """

    draw: Callable[[Key[Array, ""], Shape], tuple[Array, ...]]
    apply: Callable[..., Array]


def augment(
    key: Key[Array, ""],
    images: Images,
    *,
    ops: tuple[str, ...],
    mode: Literal["batch", "sample"] = "batch",
    kind: Literal["frepo", "dsa", "dc"] = "frepo",
    siamese: bool = False,
) -> Images:
    """Return the images after one op, drawn uniformly from ``ops``.

    ``ops`` are names from the set ``OPS_OF[kind]``, of which a repeated one is drawn more
    often; an empty tuple changes nothing. They, ``mode`` and ``kind`` are static under
    ``jit``. ``"batch"`` draws one op for all images (FRePo, ISA, DSA), ``"sample"`` one for
    each (RCIG, DC). In mode ``"sample"``, and in mode ``"batch"`` under ``vmap`` over keys,
    every op is computed and one is kept.

    The op's parameters are drawn for each image, or with ``siamese`` once for all, so that
    two calls with one key transform any numbers of images in the same way.

    Source: docs/algorithms.md, sections 3.1 to 3.3.
    """
    if not ops:
        return images
    op_key, draw_key = jax.random.split(key)
    n = images.shape[0]

    def apply(name: str) -> Array:
        op = OPS_OF[kind][name]
        drawn = op.draw(draw_key, (1 if siamese else n, *images.shape[1:]))
        drawn = (jnp.broadcast_to(one, (n, *one.shape[1:])) for one in drawn)
        return op.apply(images, *drawn)

    if mode == "batch":
        index = jax.random.randint(op_key, (), 0, len(ops))
        return lax.switch(index, [partial(apply, name) for name in ops])
    indices = jax.random.randint(op_key, (n, 1, 1, 1), 0, len(ops))
    result = images
    for index, name in enumerate(ops):
        result = jnp.where(indices == index, apply(name), result)
    return result


def dsa_default_ops(
    image_shape: tuple[int, int, int], dataset: str | None = None
) -> tuple[str, ...]:
    """Return the published ops of DSA for a data set, by name or else by its channels.

    Images with one channel are not flipped, with two exceptions: Fashion-MNIST is, and
    SVHN, which has three channels, is not.

    Source: docs/algorithms.md, section 3.2.
    """
    by_channels = DSA_RGB_OPS if image_shape[2] == 3 else DSA_GRAY_OPS
    return DSA_NAMED_OPS.get(dataset or "", by_channels)


def dc_default_ops(dataset: str | None) -> tuple[str, ...]:
    """Return the published ops of DC: none, except for MNIST.

    Source: docs/algorithms.md, section 3.3.
    """
    return tuple(DC_OPS) if dataset == "mnist" else ()


# --- Ops of both sets -----------------------------------------------------------------


def flip(images: Images, mask: Bool[Array, " n"]) -> Images:
    """Return the images, flipped horizontally where ``mask`` is true."""
    return jnp.where(mask[:, None, None, None], images[:, :, ::-1], images)


def draw_flip(key: Key[Array, ""], shape: Shape) -> tuple[Bool[Array, " n"]]:
    """Return the mask of ``flip``, true with probability .5."""
    return (jax.random.bernoulli(key, 0.5, shape[:1]),)


def rotate(
    images: Images, angles: Float[Array, " n"], outside: Literal["edge", "zero"]
) -> Images:
    """Return the images turned about their centre.

    The output at centred coordinate (u, v) is the input at
    (u cos a + v sin a, v cos a - u sin a) for the angle a in radians; a positive one
    turns the picture counter-clockwise.
    """
    u, v = _centred(images.shape, angles.dtype)
    cosine = jnp.cos(angles)[:, None, None]
    sine = jnp.sin(angles)[:, None, None]
    return _interpolate(images, u * cosine + v * sine, v * cosine - u * sine, outside)


def draw_rotate(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, " n"]]:
    """Return the angles of ``rotate`` in radians, uniform in +-15 degrees."""
    return (jax.random.uniform(key, shape[:1], minval=-_ANGLE, maxval=_ANGLE),)


# --- Ops of FRePo, ISA and RCIG: the border is repeated outside -------------------------


def color(
    images: Images,
    brightness: Float[Array, " n"],
    contrast: Float[Array, " n"],
    saturation: Float[Array, " n"],
) -> Images:
    """Return the images with changed brightness, then contrast, then saturation."""
    brightened = images + _per_image(brightness, images)
    return _stretch(_stretch(brightened, contrast, (1, 2, 3)), saturation, (3,))


def draw_color(key: Key[Array, ""], shape: Shape) -> tuple[Array, Array, Array]:
    """Return the parameters of ``color``: U(-.25, .25), and twice exp(U(-.25, .25))."""
    draws = jax.random.uniform(key, (3, shape[0]), minval=-_COLOR, maxval=_COLOR)
    return draws[0], jnp.exp(draws[1]), jnp.exp(draws[2])


def crop(
    images: Images, zoom: Float[Array, " n"], offset: Float[Array, "n 2"]
) -> Images:
    """Return the images zoomed about their centre and moved.

    The output at centred coordinate u is the input at (u + offset) / zoom, with the
    offset (down, right) in pixels of the zoomed image.
    """
    u, v = _centred(images.shape, zoom.dtype)
    rows = (u + offset[:, 0, None, None]) / zoom[:, None, None]
    columns = (v + offset[:, 1, None, None]) / zoom[:, None, None]
    return _interpolate(images, rows, columns, "edge")


def draw_crop(key: Key[Array, ""], shape: Shape) -> tuple[Array, Array]:
    """Return the parameters of ``crop``.

    The zoom z is log-uniform in [.8, 1.25]; the offset is uniform in +-|h z - h| / 2
    pixels along each axis of length h.
    """
    zoom_key, offset_key = jax.random.split(key)
    n = shape[0]
    log_zoom = jax.random.uniform(zoom_key, (n,), minval=-_LOG_ZOOM, maxval=_LOG_ZOOM)
    zoom = jnp.exp(log_zoom)
    reach = jnp.abs(zoom - 1)[:, None] * jnp.asarray(shape[1:3], zoom.dtype) / 2
    return zoom, reach * jax.random.uniform(offset_key, (n, 2), minval=-1.0)


def translate(images: Images, shift: Float[Array, "n 2"]) -> Images:
    """Return the images moved by ``shift``, (down, right) in pixels or fractions of them."""
    return crop(images, jnp.ones_like(shift[:, 0]), -shift)


def draw_translate(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, "n 2"]]:
    """Return the shift of ``translate``, uniform in +-1/8 of each side, in pixels."""
    draws = jax.random.uniform(key, (shape[0], 2), minval=-_SHIFT, maxval=_SHIFT)
    return (draws * jnp.asarray(shape[1:3], draws.dtype),)


def cutout(images: Images, corner: Int[Array, "n 2"]) -> Images:
    """Return the images with one square of a quarter of the shorter side set to 0."""
    side = _cutout_side(images.shape)
    return jnp.where(_rectangle(images.shape, corner, (side, side)), 0, images)


def draw_cutout(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return the corner of ``cutout``, uniform over the pixels where the square fits.

    Source: docs/algorithms.md, section 3.1 for the range; whole pixels are our reading.
    """
    last = jnp.asarray(shape[1:3]) - _cutout_side(shape)
    return (jax.random.randint(key, (shape[0], 2), 0, last + 1),)


def _cutout_side(shape: Shape) -> int:
    return max(1, min(shape[1:3]) // 4)


OPS: dict[str, Op] = {
    "flip": Op(draw_flip, flip),
    "color": Op(draw_color, color),
    "crop": Op(draw_crop, crop),
    "rotate": Op(draw_rotate, partial(rotate, outside="edge")),
    "translate": Op(draw_translate, translate),
    "cutout": Op(draw_cutout, cutout),
}


# --- Ops of DSA: 0 outside --------------------------------------------------------------


def dsa_color(
    images: Images,
    brightness: Float[Array, " n"],
    saturation: Float[Array, " n"],
    contrast: Float[Array, " n"],
) -> Images:
    """Return the images with changed brightness, then saturation, then contrast."""
    brightened = images + _per_image(brightness, images)
    return _stretch(_stretch(brightened, saturation, (3,)), contrast, (1, 2, 3))


def dsa_draw_color(key: Key[Array, ""], shape: Shape) -> tuple[Array, Array, Array]:
    """Return the parameters of ``dsa_color``: U(-.5, .5), U(0, 2) and U(.5, 1.5)."""
    u = jax.random.uniform(key, (3, shape[0]))
    return u[0] - 0.5, 2 * u[1], u[2] + 0.5


def dsa_crop(images: Images, shift: Int[Array, "n 2"]) -> Images:
    """Return the images moved by whole pixels: the output at u is the input at u + shift."""
    h, w = images.shape[1:3]
    rows = jnp.arange(h) + shift[:, :1]
    columns = jnp.arange(w) + shift[:, 1:]
    moved = jax.vmap(lambda image, row, column: image[row][:, column])(
        images, jnp.clip(rows, 0, h - 1), jnp.clip(columns, 0, w - 1)
    )
    return jnp.where(_rectangle(images.shape, -shift, (h, w)), moved, 0)


def dsa_draw_crop(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return the shift of ``dsa_crop``: up to an eighth of the side, in whole pixels."""
    reach = jnp.asarray([int(_SHIFT * side + 0.5) for side in shape[1:3]])
    return (jax.random.randint(key, (shape[0], 2), -reach, reach + 1),)


def dsa_cutout(images: Images, corner: Int[Array, "n 2"]) -> Images:
    """Return the images with a rectangle of half of each side set to 0."""
    sides = _dsa_cutout_sides(images.shape)
    return jnp.where(_rectangle(images.shape, corner, sides), 0, images)


def dsa_draw_cutout(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return corners of ``dsa_cutout`` for a centre that is uniform over the image.

    Our reading: the centre of an odd square is a pixel, of an even one a corner of
    pixels, the image's border included.
    """
    sides = jnp.asarray(_dsa_cutout_sides(shape))
    centres = jnp.asarray(shape[1:3]) + 1 - sides % 2
    centre = jax.random.randint(key, (shape[0], 2), 0, centres)
    return (centre - sides // 2,)


def _dsa_cutout_sides(shape: Shape) -> tuple[int, int]:
    height, width = shape[1:3]
    return int(0.5 * height + 0.5), int(0.5 * width + 0.5)


def dsa_scale(images: Images, factors: Float[Array, "n 2"]) -> Images:
    """Return the images scaled about their centre along (rows, columns).

    The output at centred coordinate u is the input at factor * u, so a factor above 1
    makes the picture smaller.
    """
    u, v = _centred(images.shape, factors.dtype)
    rows, columns = factors[:, 0, None, None], factors[:, 1, None, None]
    return _interpolate(images, rows * u, columns * v, "zero")


def dsa_draw_scale(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, "n 2"]]:
    """Return the factors of ``dsa_scale``, independent and uniform in [1 / 1.2, 1.2]."""
    size, low = (shape[0], 2), 1 / _DSA_SCALE
    return (jax.random.uniform(key, size, minval=low, maxval=_DSA_SCALE),)


DSA_OPS: dict[str, Op] = {
    "color": Op(dsa_draw_color, dsa_color),
    "crop": Op(dsa_draw_crop, dsa_crop),
    "cutout": Op(dsa_draw_cutout, dsa_cutout),
    "flip": Op(draw_flip, flip),
    "scale": Op(dsa_draw_scale, dsa_scale),
    "rotate": Op(draw_rotate, partial(rotate, outside="zero")),
}


# --- Ops of DC --------------------------------------------------------------------------


def dc_crop(images: Images, shift: Int[Array, "n 2"]) -> Images:
    """Return the images moved by whole pixels; outside is the batch's channel mean.

    The output at u is the input at u + shift.
    """
    mean = jnp.mean(images, axis=(0, 1, 2))
    return dsa_crop(images - mean, shift) + mean


def dc_draw_crop(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return the shift of ``dc_crop``: -4 to 3 pixels, a window in a frame of 4."""
    return (jax.random.randint(key, (shape[0], 2), -_DC_PAD, _DC_PAD),)


def dc_scale(images: Images, factors: Float[Array, "n 2"]) -> Images:
    """Return the images resized along (rows, columns), nearest neighbour, amid zeros."""
    sides = jnp.asarray(images.shape[1:3])
    sizes = jnp.floor(factors * sides).astype(jnp.int32)
    # Both lie centred, in whole pixels, in a square that holds them.
    square = jnp.maximum(jnp.max(sizes, axis=1, keepdims=True), jnp.max(sides))
    first = (square - sides) // 2 - (square - sizes) // 2

    def source(axis: int) -> tuple[Array, Array]:
        place = jnp.arange(images.shape[1 + axis]) + first[:, axis, None]
        size = sizes[:, axis, None]
        return place * sides[axis] // size, (place >= 0) & (place < size)

    (rows, is_row), (columns, is_column) = source(0), source(1)
    resized = jax.vmap(lambda image, row, column: image[row][:, column])(
        images, jnp.clip(rows, 0, sides[0] - 1), jnp.clip(columns, 0, sides[1] - 1)
    )
    inside = is_row[:, :, None] & is_column[:, None, :]
    return jnp.where(inside[..., None], resized, 0)


def dc_draw_scale(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, "n 2"]]:
    """Return the factors of ``dc_scale``, independent and uniform in [.8, 1.2]."""
    low, high = 1 - _DC_SCALE, 1 + _DC_SCALE
    return (jax.random.uniform(key, (shape[0], 2), minval=low, maxval=high),)


def dc_rotate(images: Images, degrees: Int[Array, " n"]) -> Images:
    """Return the images turned by cubic splines; corners are the mean of the batch.

    Equals ``scipy.ndimage.rotate``, whose larger picture is cropped about its centre.
    """
    angles = jnp.deg2rad(degrees.astype(images.dtype))
    cosine, sine = (f(angles)[:, None, None] for f in (jnp.cos, jnp.sin))
    u, v = _centred(images.shape, images.dtype)
    h, w = images.shape[1:3]
    # A larger picture whose side differs by an odd number is cropped half a pixel off.
    rows, columns = (
        place - jnp.floor(a * jnp.abs(cosine) + b * jnp.abs(sine) + 0.5 - a) % 2 / 2
        for place, a, b in ((u, h, w), (v, w, h))
    )
    rows, columns = rows * cosine + columns * sine, columns * cosine - rows * sine
    rows, columns = rows + (h - 1) / 2, columns + (w - 1) / 2
    # An input at the border counts as inside however its place is rounded.
    margin = 1e-4
    inside = (jnp.abs(rows - (h - 1) / 2) <= (h - 1) / 2 + margin) & (
        jnp.abs(columns - (w - 1) / 2) <= (w - 1) / 2 + margin
    )
    turned = _spline(images, rows, columns)
    return jnp.where(inside[..., None], turned, jnp.mean(images))


def dc_draw_rotate(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, " n"]]:
    """Return the angles of ``dc_rotate``: whole degrees, -45 to 44."""
    return (jax.random.randint(key, shape[:1], -_DC_ANGLE, _DC_ANGLE),)


def _spline(
    images: Images, rows: Float[Array, "n h w"], columns: Float[Array, "n h w"]
) -> Images:
    """Return the values of the interpolating cubic spline at pixel coordinates."""
    h, w = images.shape[1:3]
    coefficients = jnp.einsum(
        "ah,nhwc,bw->nabc", _spline_filter(h), images, _spline_filter(w)
    )

    def taps(place: Array, size: int) -> list[tuple[Array, Array]]:
        """Return index and weight of the four pixels around a place, reflected outside."""
        before = jnp.floor(place)
        weights = []
        for step in range(-1, 3):
            index = jnp.abs(before.astype(jnp.int32) + step)
            index = size - 1 - jnp.abs(size - 1 - index)
            far = jnp.abs(place - before - step)
            near = 2 / 3 - far**2 + far**3 / 2
            weights.append((index, jnp.where(far < 1, near, (2 - far) ** 3 / 6)))
        return weights

    result = jnp.zeros_like(images)
    for row, row_weight in taps(rows, h):
        for column, column_weight in taps(columns, w):
            weight = (row_weight * column_weight)[..., None].astype(images.dtype)
            result += weight * _pixels(coefficients, row, column)
    return result


def _spline_filter(size: int) -> np.ndarray:
    """Return the matrix from values to the coefficients of a cubic spline, [size, size]."""
    from scipy.ndimage import spline_filter1d

    eye = np.eye(size)
    return spline_filter1d(eye, order=3, axis=0, mode="mirror").astype(np.float32)


DC_OPS: dict[str, Op] = {
    "crop": Op(dc_draw_crop, dc_crop),
    "scale": Op(dc_draw_scale, dc_scale),
    "rotate": Op(dc_draw_rotate, dc_rotate),
}
OPS_OF: dict[str, dict[str, Op]] = {"frepo": OPS, "dsa": DSA_OPS, "dc": DC_OPS}


# --- Helpers ----------------------------------------------------------------------------


def _per_image(values: Float[Array, " n"], images: Images) -> Float[Array, "n 1 1 1"]:
    """Return one number per image, broadcast against its pixels."""
    return values.astype(images.dtype)[:, None, None, None]


def _stretch(images: Images, factors: Float[Array, " n"], axes: Shape) -> Images:
    """Return the images with their distance to the mean over ``axes`` multiplied."""
    mean = jnp.mean(images, axis=axes, keepdims=True)
    return (images - mean) * _per_image(factors, images) + mean


def _rectangle(
    shape: Shape, corner: Int[Array, "n 2"], sides: tuple[int, int]
) -> Bool[Array, "n h w 1"]:
    """Return where an image is inside a rectangle, which may lie partly outside of it."""
    rows = jnp.arange(shape[1]) - corner[:, :1]
    columns = jnp.arange(shape[2]) - corner[:, 1:]
    is_row = (rows >= 0) & (rows < sides[0])
    is_column = (columns >= 0) & (columns < sides[1])
    return (is_row[:, :, None] & is_column[:, None, :])[..., None]


def _centred(
    shape: Shape, dtype: jnp.dtype
) -> tuple[Float[Array, "h 1"], Float[Array, " w"]]:
    """Return each row's and each column's distance from the centre, in pixels."""
    h, w = shape[1:3]
    rows = jnp.arange(h, dtype=dtype) - (h - 1) / 2
    columns = jnp.arange(w, dtype=dtype) - (w - 1) / 2
    return rows[:, None], columns


def _interpolate(
    images: Images,
    rows: Float[Array, "n #h #w"],
    columns: Float[Array, "n #h #w"],
    outside: Literal["edge", "zero"],
) -> Images:
    """Return the bilinear values at centred coordinates.

    ``outside`` is the value outside an image: ``"edge"`` repeats its border, ``"zero"`` is 0.
    """
    h, w = images.shape[1:3]
    # A frame of zeros, repeated, is zero everywhere outside.
    frame = 1 if outside == "zero" else 0
    framed = jnp.pad(images, ((0, 0), (frame, frame), (frame, frame), (0, 0)))
    rows = jnp.clip(rows + (h - 1) / 2, -frame, h - 1 + frame)
    columns = jnp.clip(columns + (w - 1) / 2, -frame, w - 1 + frame)
    row, column = jnp.floor(rows), jnp.floor(columns)
    down = (rows - row)[..., None].astype(images.dtype)
    right = (columns - column)[..., None].astype(images.dtype)
    row, column = row.astype(jnp.int32) + frame, column.astype(jnp.int32) + frame
    # On CPU four gathers of whole pixels are faster than one of 2x2 patches and, at 32
    # pixels, than separable interpolation by matrix products.
    upper, lower = (
        _pixels(framed, at, column) * (1 - right)
        + _pixels(framed, at, column + 1) * right
        for at in (row, row + 1)
    )
    return upper * (1 - down) + lower * down


@jax.vmap
def _pixels(
    image: Float[Array, "h w ch"], rows: Int[Array, "..."], columns: Int[Array, "..."]
) -> Float[Array, "..."]:
    """Return the pixels of each image at some rows and columns, those outside clipped."""
    return image.at[rows, columns].get(mode="clip")
