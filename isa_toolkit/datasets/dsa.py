"""The augmentation of DSA, used by DM, DSA and MTT and by their evaluation.

One op per call, drawn uniformly from a set. *Siamese*: one draw of its parameters for all
images, so that real and distilled images that share a key are changed alike;
otherwise a draw per image. The ops differ from those of
:mod:`isa_toolkit.datasets.augmentation` in their ranges and in what lies outside an image: 0,
the mean of standardised images. Every op is affine in the images.

Source: algorithms 3.2, written from its description.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from isa_toolkit.checks import check_one_of, fail
from isa_toolkit.datasets.augmentation import Op, draw_flip, flip

__all__ = [
    "DSA_GRAY_OPS",
    "DSA_OPS",
    "DSA_RGB_OPS",
    "dsa_augment",
    "dsa_color",
    "dsa_crop",
    "dsa_cutout",
    "dsa_default_ops",
    "dsa_rotate",
    "dsa_scale",
]

Shape = tuple[int, ...]

# Algorithms 3.2.
_BRIGHTNESS = 0.5
_SCALE = 1.2
_ANGLE = math.radians(15)
_SHIFT = 0.125
_CUTOUT = 0.5

DSA_RGB_OPS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DSA_GRAY_OPS = ("color", "crop", "cutout", "scale", "rotate")


def dsa_augment(
    key: Key[Array, ""],
    images: Float[Array, "n h w ch"],
    *,
    ops: tuple[str, ...] = DSA_RGB_OPS,
    siamese: bool = False,
) -> Float[Array, "n h w ch"]:
    """Return the images after one op, drawn uniformly from ``ops``.

    Args:
        key: random key. With ``siamese`` two calls with one key change any numbers of
            images alike.
        images: [n, h, w, ch].
        ops: names from ``DSA_OPS``; empty changes nothing.
        siamese: draw the op's parameters once for all images, else for each image.

    Returns:
        Augmented images, [n, h, w, ch].

    Raises:
        ValueError: an unknown op.

    Source: algorithms 3.2.
    """
    if not ops:
        return images
    for name in ops:
        check_one_of("DSA op", name, DSA_OPS)
    if images.ndim != 4:
        raise fail(
            "images", "have four axes, (n, height, width, channels)", images.shape
        )
    op_key, draw_key = jax.random.split(key)
    shape = (1 if siamese else images.shape[0], *images.shape[1:])

    def apply(op: Op) -> Array:
        drawn = op.draw(draw_key, shape)
        if siamese:
            drawn = tuple(
                jnp.broadcast_to(values, (images.shape[0], *values.shape[1:]))
                for values in drawn
            )
        return op.apply(images, *drawn)

    index = jax.random.randint(op_key, (), 0, len(ops))
    return lax.switch(index, [partial(apply, DSA_OPS[name]) for name in ops])


def dsa_default_ops(image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Return the published ops for images of this shape: no flips for digits.

    Args:
        image_shape: (height, width, channels).

    Returns:
        ``DSA_RGB_OPS`` for three channels, else ``DSA_GRAY_OPS``.

    Source: algorithms 3.2 ("drop flip for MNIST/SVHN"; SVHN has three channels, so name
    ``DSA_GRAY_OPS`` there; Fashion-MNIST has one and flips: ``DSA_RGB_OPS``).
    """
    return DSA_RGB_OPS if image_shape[2] == 3 else DSA_GRAY_OPS


def dsa_color(
    images: Float[Array, "n h w ch"],
    brightness: Float[Array, " n"],
    saturation: Float[Array, " n"],
    contrast: Float[Array, " n"],
) -> Float[Array, "n h w ch"]:
    """Return the images with changed brightness, then saturation, then contrast.

    Args:
        images: [n, h, w, ch].
        brightness: added to every value, [n].
        saturation: factor of the distance to the pixel's mean over channels, [n]; has no
            effect on one-channel images.
        contrast: factor of the distance to the image's mean over pixels and channels, [n].
    """
    images = images + _per_image(brightness, images)
    mean = jnp.mean(images, axis=3, keepdims=True)
    images = (images - mean) * _per_image(saturation, images) + mean
    mean = jnp.mean(images, axis=(1, 2, 3), keepdims=True)
    return (images - mean) * _per_image(contrast, images) + mean


def _draw_color(key: Key[Array, ""], shape: Shape) -> tuple[Array, Array, Array]:
    """Return U(-.5, .5), U(0, 2) and U(.5, 1.5)."""
    u = jax.random.uniform(key, (3, shape[0]))
    return (u[0] - 0.5) * 2 * _BRIGHTNESS, 2 * u[1], u[2] + 0.5


def dsa_crop(
    images: Float[Array, "n h w ch"], shift: Int[Array, "n 2"]
) -> Float[Array, "n h w ch"]:
    """Return the images moved by whole pixels, 0 where nothing was.

    Args:
        images: [n, h, w, ch].
        shift: (down, right) of the window, [n, 2]; the output at u is the input at
            u + shift.
    """
    h, w = images.shape[1:3]
    rows = jnp.arange(h) + shift[:, :1]
    columns = jnp.arange(w) + shift[:, 1:]
    is_row, is_column = (rows >= 0) & (rows < h), (columns >= 0) & (columns < w)
    moved = jax.vmap(lambda image, row, column: image[row][:, column])(
        images, jnp.clip(rows, 0, h - 1), jnp.clip(columns, 0, w - 1)
    )
    inside = is_row[:, :, None] & is_column[:, None, :]
    return jnp.where(inside[..., None], moved, 0)


def _draw_crop(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return whole pixels from -s to s, s = an eighth of the side, rounded."""
    reach = jnp.asarray([int(_SHIFT * side + 0.5) for side in shape[1:3]])
    return (jax.random.randint(key, (shape[0], 2), -reach, reach + 1),)


def dsa_cutout(
    images: Float[Array, "n h w ch"], corner: Int[Array, "n 2"]
) -> Float[Array, "n h w ch"]:
    """Return the images with one square of half the side set to 0.

    Args:
        images: [n, h, w, ch].
        corner: (row, column) of its top-left pixel, [n, 2]; it may lie outside, and what
            is outside has no effect.
    """
    inside: Bool[Array, "n h w"] = jnp.ones(images.shape[:3], bool)
    for axis in (0, 1):
        length = images.shape[1 + axis]
        place = jnp.arange(length) - corner[:, axis : axis + 1]
        on = (place >= 0) & (place < _cutout_side(length))
        inside &= on[:, :, None] if axis == 0 else on[:, None, :]
    return jnp.where(inside[..., None], 0, images)


def _cutout_side(length: int) -> int:
    return int(_CUTOUT * length + 0.5)


def _draw_cutout(key: Key[Array, ""], shape: Shape) -> tuple[Int[Array, "n 2"]]:
    """Return corners for a centre that is uniform over the image.

    Our reading: the centre of an odd square is a pixel, of an even one a corner of
    pixels, the image's border included.
    """
    sides = jnp.asarray([_cutout_side(length) for length in shape[1:3]])
    places = jnp.asarray(shape[1:3]) + 1 - sides % 2
    centre = jax.random.randint(key, (shape[0], 2), 0, places)
    return (centre - sides // 2,)


def dsa_scale(
    images: Float[Array, "n h w ch"], factors: Float[Array, "n 2"]
) -> Float[Array, "n h w ch"]:
    """Return the images scaled about their centre along each axis, 0 outside.

    Args:
        images: [n, h, w, ch].
        factors: (rows, columns), [n, 2]; the output at centred coordinate u is the input
            at factor * u, so a factor above 1 makes the picture smaller.
    """
    u, v = _centred(images)
    rows, columns = factors[:, 0, None, None], factors[:, 1, None, None]
    return _sample(images, rows * u, columns * v)


def _draw_scale(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, "n 2"]]:
    """Return two independent factors, uniform in [1 / 1.2, 1.2]."""
    return (jax.random.uniform(key, (shape[0], 2), minval=1 / _SCALE, maxval=_SCALE),)


def dsa_rotate(
    images: Float[Array, "n h w ch"], angles: Float[Array, " n"]
) -> Float[Array, "n h w ch"]:
    """Return the images turned about their centre, 0 outside.

    Args:
        images: [n, h, w, ch].
        angles: in radians, [n]; a positive one turns the picture counter-clockwise.
    """
    u, v = _centred(images)
    cosine = jnp.cos(angles)[:, None, None]
    sine = jnp.sin(angles)[:, None, None]
    return _sample(images, u * cosine + v * sine, v * cosine - u * sine)


def _draw_rotate(key: Key[Array, ""], shape: Shape) -> tuple[Float[Array, " n"]]:
    """Return angles, uniform in +-15 degrees."""
    return (jax.random.uniform(key, shape[:1], minval=-_ANGLE, maxval=_ANGLE),)


def _per_image(values: Float[Array, " n"], images: Array) -> Float[Array, "n 1 1 1"]:
    return values.astype(images.dtype)[:, None, None, None]


def _centred(images: Array) -> tuple[Float[Array, "h 1"], Float[Array, " w"]]:
    """Return each row's and each column's distance from the centre, in pixels."""
    h, w = images.shape[1:3]
    rows = jnp.arange(h, dtype=images.dtype) - (h - 1) / 2
    return rows[:, None], jnp.arange(w, dtype=images.dtype) - (w - 1) / 2


def _sample(
    images: Float[Array, "n h w ch"],
    rows: Float[Array, "n #h #w"],
    columns: Float[Array, "n #h #w"],
) -> Float[Array, "n h w ch"]:
    """Return the bilinear values at centred coordinates, every pixel outside being 0."""
    n, h, w, ch = images.shape
    rows, columns = jnp.broadcast_arrays(
        rows + (h - 1) / 2, columns + (w - 1) / 2, jnp.zeros((n, h, w), images.dtype)
    )[:2]
    pixels = images.reshape(n, h * w, ch)
    top, left = jnp.floor(rows), jnp.floor(columns)
    total = jnp.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            weight = (1 - jnp.abs(rows - row)) * (1 - jnp.abs(columns - column))
            outside = (row < 0) | (row >= h) | (column < 0) | (column >= w)
            weight = jnp.where(outside, 0, weight)[..., None]
            place = jnp.clip(row, 0, h - 1) * w + jnp.clip(column, 0, w - 1)
            index = place.astype(jnp.int32).reshape(n, h * w, 1)
            values = jnp.take_along_axis(pixels, index, axis=1, mode="clip")
            total = total + weight * values.reshape(images.shape)
    return total


DSA_OPS: dict[str, Op] = {
    "color": Op(_draw_color, dsa_color),
    "crop": Op(_draw_crop, dsa_crop),
    "cutout": Op(_draw_cutout, dsa_cutout),
    "flip": Op(draw_flip, flip),
    "scale": Op(_draw_scale, dsa_scale),
    "rotate": Op(_draw_rotate, dsa_rotate),
}
