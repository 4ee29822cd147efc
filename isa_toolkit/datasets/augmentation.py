"""Differentiable augmentation of image batches: one random op per batch or per image.

Each op is a pure function of the images and of explicit parameters, with a function
beside it, ``draw_<op>(key, shape)``, that draws them for images of ``shape``
(n, h, w, ch); :func:`augment` picks an op and draws. Which part of training
is augmented is the caller's choice (in the published protocols only networks that are
trained for evaluation, never the distillation itself).

Images are floats of any scale, whitened ones included: nothing is clipped, and cutout's
0 is the mean of whitened images. Pixel coordinates are (row, column), rows downwards,
with the centre of an image at ((h - 1) / 2, (w - 1) / 2). The geometric ops interpolate
bilinearly and repeat the border outside. Every op is affine in the images, so gradients
are exact and finite.

Source: algorithms 3.1 (FRePo, ISA, RCIG), written from its equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from isa_toolkit.checks import check_one_of, fail

__all__ = [
    "GRAY_OPS",
    "MODES",
    "OPS",
    "RGB_OPS",
    "Op",
    "augment",
    "color",
    "crop",
    "cutout",
    "cutout_side",
    "default_ops",
    "draw_color",
    "draw_crop",
    "draw_cutout",
    "draw_flip",
    "draw_rotate",
    "draw_translate",
    "flip",
    "rotate",
    "translate",
]

Shape = tuple[int, ...]

# The half-widths of the published ranges (algorithms 3.1).
_COLOR = 0.25
_LOG_ZOOM = math.log(1.25)
_ANGLE = math.radians(15)
_SHIFT = 0.125

RGB_OPS = ("flip", "color", "crop", "rotate", "translate", "cutout")
GRAY_OPS = ("color", "crop", "rotate", "translate", "cutout")
MODES = ("batch", "sample")


class Op(NamedTuple):
    """One augmentation.

    draw: ``(key, shape) -> parameters``, a tuple with one random entry per image;
        ``shape`` is that of the images, (n, h, w, ch).
    apply: ``(images, *parameters) -> images``.
    """

    draw: Callable[[Key[Array, ""], Shape], tuple[Array, ...]]
    apply: Callable[..., Array]


def augment(
    key: Key[Array, ""],
    images: Float[Array, "n h w ch"],
    *,
    ops: tuple[str, ...],
    mode: str = "batch",
) -> Float[Array, "n h w ch"]:
    """Return the images after one op, drawn uniformly from ``ops``.

    Args:
        key: random key; the same key gives the same images.
        images: [n, h, w, ch].
        ops: names from ``OPS``; a name given twice is drawn twice as often.
        mode: ``"batch"`` draws one op for the whole batch (FRePo, ISA), ``"sample"``
            one per image (RCIG). The op's parameters are drawn per image in both.

    Returns:
        Augmented images, [n, h, w, ch], of the same type.

    Raises:
        ValueError: no op, an unknown op or mode, images without four axes.
        TypeError: images that are not floats.

    ``ops`` and ``mode`` are static under ``jit``. In mode ``"sample"``, and in mode
    ``"batch"`` under ``vmap`` over keys, every op is computed and one is kept.

    Source: algorithms 3.1.
    """
    _check_images(images)
    check_one_of("mode", mode, MODES)
    if not ops:
        raise fail("ops", "hold at least one op", ops, f"Take some of {sorted(OPS)}.")
    for name in ops:
        check_one_of("op", name, OPS)
    chosen = [OPS[name] for name in ops]
    op_key, draw_key = jax.random.split(key)
    n = images.shape[0]

    def apply(op: Op) -> Callable[[], Array]:
        return lambda: op.apply(images, *op.draw(draw_key, images.shape))

    if mode == "batch":
        index = jax.random.randint(op_key, (), 0, len(chosen))
        return lax.switch(index, [apply(op) for op in chosen])
    indices = jax.random.randint(op_key, (n, 1, 1, 1), 0, len(chosen))
    result = images
    for index, op in enumerate(chosen):
        result = jnp.where(indices == index, apply(op)(), result)
    return result


def default_ops(image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the published ops for images of this shape.

    Args:
        image_shape: (height, width, channels).

    Returns:
        ``RGB_OPS`` for three channels, else ``GRAY_OPS``: no flips for digits.

    Source: algorithms 3.1.
    """
    return RGB_OPS if image_shape[2] == 3 else GRAY_OPS


def flip(
    images: Float[Array, "n h w ch"], mask: Bool[Array, " n"]
) -> Float[Array, "n h w ch"]:
    """Return the images, mirrored left to right where ``mask`` is true.

    Args:
        images: [n, h, w, ch].
        mask: which images to mirror, [n].
    """
    return jnp.where(mask[:, None, None, None], images[:, :, ::-1], images)


def draw_flip(key: Key[Array, ""], shape: Shape) -> tuple[Bool[Array, " n"]]:
    """Return ``flip``'s mask, true with probability .5, for images of ``shape``."""
    return (jax.random.bernoulli(key, 0.5, shape[:1]),)


def color(
    images: Float[Array, "n h w ch"],
    brightness: Float[Array, " n"],
    contrast: Float[Array, " n"],
    saturation: Float[Array, " n"],
) -> Float[Array, "n h w ch"]:
    """Return the images with changed brightness, then contrast, then saturation.

    Args:
        images: [n, h, w, ch].
        brightness: added to every value, [n].
        contrast: factor of the distance to the image's mean over pixels and channels,
            [n]; 1 changes nothing.
        saturation: factor of the distance to the pixel's mean over channels, [n]; 1
            changes nothing, and one-channel images are never changed.
    """
    dtype = images.dtype
    images = images + _per_image(brightness, dtype)
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    images = (images - mean) * _per_image(contrast, dtype) + mean
    mean = jnp.mean(images, axis=3, keepdims=True)
    return (images - mean) * _per_image(saturation, dtype) + mean


def draw_color(
    key: Key[Array, ""], shape: Shape
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Return ``color``'s parameters: U(-.25, .25), and twice exp(U(-.25, .25))."""
    draws = jax.random.uniform(key, (3, shape[0]), minval=-_COLOR, maxval=_COLOR)
    return draws[0], jnp.exp(draws[1]), jnp.exp(draws[2])


def crop(
    images: Float[Array, "n h w ch"],
    zoom: Float[Array, " n"],
    offset: Float[Array, "n 2"],
) -> Float[Array, "n h w ch"]:
    """Return the images zoomed about their centre and moved.

    The output at centred coordinate u is the input at (u + offset) / zoom.

    Args:
        images: [n, h, w, ch].
        zoom: above 1 enlarges, above 0, [n].
        offset: (down, right) in pixels of the zoomed image, [n, 2]; a positive one
            moves the window down and right, the picture up and left.
    """
    u, v = _centred(images.shape, zoom.dtype)
    rows = (u + offset[:, 0, None, None]) / zoom[:, None, None]
    columns = (v + offset[:, 1, None, None]) / zoom[:, None, None]
    return _interpolate(images, rows, columns)


def draw_crop(
    key: Key[Array, ""], shape: Shape
) -> tuple[Float[Array, " n"], Float[Array, "n 2"]]:
    """Return ``crop``'s parameters.

    The zoom z is log-uniform in [.8, 1.25]; the offset is uniform in +-|h z - h| / 2
    pixels along each axis of length h.
    """
    zoom_key, offset_key = jax.random.split(key)
    n = shape[0]
    log_zoom = jax.random.uniform(zoom_key, (n,), minval=-_LOG_ZOOM, maxval=_LOG_ZOOM)
    zoom = jnp.exp(log_zoom)
    reach = jnp.abs(zoom - 1)[:, None] * jnp.asarray(shape[1:3], zoom.dtype) / 2
    return zoom, reach * jax.random.uniform(offset_key, (n, 2), minval=-1.0)


def rotate(
    images: Float[Array, "n h w ch"], angles: Float[Array, " n"]
) -> Float[Array, "n h w ch"]:
    """Return the images turned about their centre.

    The output at centred coordinate (u, v) is the input at
    (u cos a + v sin a, v cos a - u sin a).

    Args:
        images: [n, h, w, ch].
        angles: a, in radians, [n]; a positive one turns the picture counter-clockwise.
    """
    u, v = _centred(images.shape, angles.dtype)
    cosine = jnp.cos(angles)[:, None, None]
    sine = jnp.sin(angles)[:, None, None]
    return _interpolate(images, u * cosine + v * sine, v * cosine - u * sine)


def draw_rotate(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, " n"]]:
    """Return ``rotate``'s angles in radians: uniform in +-15 degrees."""
    return (jax.random.uniform(key, shape[:1], minval=-_ANGLE, maxval=_ANGLE),)


def translate(
    images: Float[Array, "n h w ch"], shift: Float[Array, "n 2"]
) -> Float[Array, "n h w ch"]:
    """Return the images moved by ``shift``.

    Args:
        images: [n, h, w, ch].
        shift: (down, right) in pixels, fractions allowed, [n, 2]; the output at u is
            the input at u - shift.
    """
    u, v = _centred(images.shape, shift.dtype)
    rows = u - shift[:, 0, None, None]
    columns = v - shift[:, 1, None, None]
    return _interpolate(images, rows, columns)


def draw_translate(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, "n 2"]]:
    """Return ``translate``'s shift: uniform in +-1/8 of each side, in pixels."""
    draws = jax.random.uniform(key, (shape[0], 2), minval=-_SHIFT, maxval=_SHIFT)
    return (draws * jnp.asarray(shape[1:3], draws.dtype),)


def cutout(
    images: Float[Array, "n h w ch"], corner: Int[Array, "n 2"]
) -> Float[Array, "n h w ch"]:
    """Return the images with one square set to 0.

    Args:
        images: [n, h, w, ch].
        corner: (row, column) of the square's top-left pixel, [n, 2]; its side is
            ``cutout_side``, and what lies outside the image has no effect.
    """
    side = cutout_side(images.shape)
    rows = jnp.arange(images.shape[1]) - corner[:, :1]
    columns = jnp.arange(images.shape[2]) - corner[:, 1:]
    in_rows = (rows >= 0) & (rows < side)
    in_columns = (columns >= 0) & (columns < side)
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    return jnp.where(inside[..., None], 0, images)


def draw_cutout(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return ``cutout``'s corner: uniform over the whole pixels where the square fits.

    Source: algorithms 3.1 for the range; whole pixels are our reading.
    """
    last = jnp.asarray(shape[1:3]) - cutout_side(shape)
    return (jax.random.randint(key, (shape[0], 2), 0, last + 1),)


def cutout_side(shape: Shape) -> int:
    """Return the side of ``cutout``'s square in pixels.

    Args:
        shape: of the images, (n, h, w, ch).

    Returns:
        A quarter of the shorter side, rounded down, at least 1.
    """
    return max(1, min(shape[1:3]) // 4)


OPS: dict[str, Op] = {
    "flip": Op(draw_flip, flip),
    "color": Op(draw_color, color),
    "crop": Op(draw_crop, crop),
    "rotate": Op(draw_rotate, rotate),
    "translate": Op(draw_translate, translate),
    "cutout": Op(draw_cutout, cutout),
}


def _check_images(images: Float[Array, "n h w ch"]) -> None:
    """Refuse what is not a batch of float images."""
    if images.ndim != 4:
        raise fail(
            "images", "have four axes, (n, height, width, channels)", images.shape
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"images must be floats, got {images.dtype}. Whiten or scale them first."
        )


def _per_image(values: Float[Array, " n"], dtype: jnp.dtype) -> Float[Array, "n 1 1 1"]:
    """Return one number per image, ready to meet its pixels."""
    return values.astype(dtype)[:, None, None, None]


def _centred(
    shape: tuple[int, ...], dtype: jnp.dtype
) -> tuple[Float[Array, "h 1"], Float[Array, " w"]]:
    """Return each row's and each column's distance from the centre, in pixels."""
    h, w = shape[1:3]
    rows = jnp.arange(h, dtype=dtype) - (h - 1) / 2
    columns = jnp.arange(w, dtype=dtype) - (w - 1) / 2
    return rows[:, None], columns


def _interpolate(
    images: Float[Array, "n h w ch"],
    rows: Float[Array, "n #h #w"],
    columns: Float[Array, "n #h #w"],
) -> Float[Array, "n h w ch"]:
    """Return the bilinear values at centred coordinates, the border repeated outside.

    Four gathers of whole pixels: on CPU faster than gathering 2x2 patches and, at 32
    pixels, than separable interpolation by matrix products.
    """
    n, h, w, ch = images.shape
    row, row_part = _cell(rows, h)
    column, column_part = _cell(columns, w)
    corner = jnp.reshape(row * w + column, (n, h * w, 1))
    pixels = jnp.reshape(images, (n, h * w, ch))

    def at(step: int) -> Shaped[Array, "n h w ch"]:
        # With a side of one pixel the neighbour does not exist; its weight is 0.
        values = jnp.take_along_axis(pixels, corner + step, axis=1, mode="clip")
        return jnp.reshape(values, (n, h, w, ch))

    down = row_part[..., None].astype(images.dtype)
    right = column_part[..., None].astype(images.dtype)
    upper = at(0) * (1 - right) + at(1) * right
    lower = at(w) * (1 - right) + at(w + 1) * right
    return upper * (1 - down) + lower * down


def _cell(
    centred: Float[Array, "..."], size: int
) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """Return the pixel before a coordinate, and the way to the next one in [0, 1]."""
    position = jnp.clip(centred + (size - 1) / 2, 0, size - 1)
    # The last pixel is reached as the far end of the last cell, so that no coordinate
    # needs a pixel outside the image.
    before = jnp.clip(jnp.floor(position), 0, max(size - 2, 0))
    return before.astype(jnp.int32), position - before
