"""Differentiable augmentation of image batches: one random op per batch or per image.

Two published sets of ops share this file. :func:`augment` is that of FRePo, ISA and RCIG,
:func:`dsa_augment` that of DSA, DM and MTT (differentiable Siamese augmentation). They
differ in their ranges and in what lies outside an image: its border repeated for the
first, 0 for the second.

Each op is a pair of pure functions, ``draw(key, shape) -> parameters`` and
``apply(images, *parameters) -> images``. Images are floats of any scale, whitened ones
included: nothing is clipped, and 0 is the mean of standardised images. Pixel coordinates
are (row, column), rows downwards, with the centre of an image at
((h - 1) / 2, (w - 1) / 2). Every op is affine in the images, so gradients are exact.

Source: docs/algorithms.md, sections 3.1 and 3.2, written from their equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
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

RGB_OPS = ("flip", "color", "crop", "rotate", "translate", "cutout")
GRAY_OPS = ("color", "crop", "rotate", "translate", "cutout")
DSA_RGB_OPS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DSA_GRAY_OPS = ("color", "crop", "cutout", "scale", "rotate")
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
) -> Images:
    """Return the images after one op, drawn uniformly from ``ops``.

    ``ops`` are names from ``OPS``, of which a repeated one is drawn more often; they and
    ``mode`` are static under ``jit``. ``"batch"`` draws one op for all images (FRePo,
    ISA), ``"sample"`` one for each (RCIG); the op's parameters are drawn for each image
    in both. In mode ``"sample"``, and in mode ``"batch"`` under ``vmap`` over keys, every
    op is computed and one is kept.

    Source: docs/algorithms.md, section 3.1.
    """
    op_key, draw_key = jax.random.split(key)
    n = images.shape[0]

    def apply(name: str) -> Array:
        op = OPS[name]
        return op.apply(images, *op.draw(draw_key, images.shape))

    if mode == "batch":
        index = jax.random.randint(op_key, (), 0, len(ops))
        return lax.switch(index, [partial(apply, name) for name in ops])
    indices = jax.random.randint(op_key, (n, 1, 1, 1), 0, len(ops))
    result = images
    for index, name in enumerate(ops):
        result = jnp.where(indices == index, apply(name), result)
    return result


def dsa_augment(
    key: Key[Array, ""],
    images: Images,
    *,
    ops: tuple[str, ...] = DSA_RGB_OPS,
    siamese: bool = False,
) -> Images:
    """Return the images after one op of DSA, drawn uniformly from ``ops``.

    ``ops`` are names from ``DSA_OPS``; an empty tuple changes nothing. With ``siamese``
    the op's parameters are drawn once for all images, so that two calls with one key
    transform any numbers of images in the same way.

    Source: docs/algorithms.md, section 3.2.
    """
    if not ops:
        return images
    op_key, draw_key = jax.random.split(key)
    n = images.shape[0]

    def apply(name: str) -> Array:
        op = DSA_OPS[name]
        drawn = op.draw(draw_key, (1 if siamese else n, *images.shape[1:]))
        drawn = (jnp.broadcast_to(one, (n, *one.shape[1:])) for one in drawn)
        return op.apply(images, *drawn)

    index = jax.random.randint(op_key, (), 0, len(ops))
    return lax.switch(index, [partial(apply, name) for name in ops])


def dsa_default_ops(image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the published ops of DSA for images of this shape: no flips for digits.

    Source: docs/algorithms.md, section 3.2 ("drop flip for MNIST/SVHN"; SVHN has three
    channels, so name ``DSA_GRAY_OPS`` there; Fashion-MNIST has one and flips:
    ``DSA_RGB_OPS``).
    """
    return DSA_RGB_OPS if image_shape[2] == 3 else DSA_GRAY_OPS


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

    Four gathers of whole pixels: on CPU faster than gathering 2x2 patches and, at 32
    pixels, than separable interpolation by matrix products.

    ``outside`` is the value outside an image: ``"edge"`` repeats its border, ``"zero"`` is 0.
    """
    shape = images.shape
    # A frame of zeros, repeated, is zero everywhere outside.
    frame = 1 if outside == "zero" else 0
    row, row_part = _cell(rows, shape[1], frame)
    column, column_part = _cell(columns, shape[2], frame)
    images = jnp.pad(images, ((0, 0), (frame, frame), (frame, frame), (0, 0)))
    n, h, w, ch = images.shape
    corner = jnp.reshape(row * w + column, (n, -1, 1))
    pixels = jnp.reshape(images, (n, h * w, ch))

    def at(step: int) -> Images:
        # With a side of one pixel the neighbour does not exist; its weight is 0.
        values = jnp.take_along_axis(pixels, corner + step, axis=1, mode="clip")
        return jnp.reshape(values, shape)

    down = row_part[..., None].astype(images.dtype)
    right = column_part[..., None].astype(images.dtype)
    upper = at(0) * (1 - right) + at(1) * right
    lower = at(w) * (1 - right) + at(w + 1) * right
    return upper * (1 - down) + lower * down


def _cell(
    centred: Float[Array, "..."], size: int, frame: int
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """Return the framed pixel before a coordinate, and the way to the next one."""
    position = jnp.clip(centred + (size - 1) / 2, -frame, size - 1 + frame)
    # The last pixel is reached as the far end of the last cell, so that no coordinate
    # needs a pixel outside the image.
    last = max(size - 2 + frame, -frame)
    before = jnp.clip(jnp.floor(position), -frame, last)
    return before.astype(jnp.int32) + frame, position - before
