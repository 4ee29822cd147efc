"""Preprocessing on the device: pixels to network inputs inside a compiled program.

The same map as :class:`~isa_toolkit.datasets.preprocessing.Preprocessing`, so that images
can wait on the device, or travel there, as bytes: a quarter of the memory.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from isa_toolkit.datasets.preprocessing import Preprocessing
from isa_toolkit.datasets.whitening import from_blocks, to_blocks


class DeviceInputs(NamedTuple):
    """The numbers of a preprocessing, as arguments of a program.

    Attributes:
        scale: Factor of a byte, by channel, [ch].
        shift: Number subtracted after scaling, by channel, [ch].
        mean: Mean of the standardised images, [h, w, ch]; zeros without whitening.
        matrix: Matrix that whitens a block of pixels, [b, b]; [0, 0] without whitening.
    """

    scale: Float[Array, " ch"]
    shift: Float[Array, " ch"]
    mean: Float[Array, "h w ch"]
    matrix: Float[Array, "b b"]


def device_inputs(preprocessing: Preprocessing) -> DeviceInputs:
    """Return a preprocessing's numbers on the device, float32."""
    scale, shift = preprocessing.affine(1 / 255)
    zca = preprocessing.zca
    shape = preprocessing.image_shape
    mean = np.zeros(shape, np.float32) if zca is None else zca.mean.reshape(shape)
    matrix = np.zeros((0, 0), np.float32) if zca is None else zca.matrix
    return DeviceInputs(*map(jnp.asarray, (scale, shift, mean, matrix)))


def to_inputs(
    pixels: UInt8[Array, "n h w ch"], numbers: DeviceInputs
) -> Float[Array, "n h w ch"]:
    """Return network inputs, W (flatten(pixels scale - shift) - mean), float32.

    They equal ``Preprocessing.apply`` but for rounding.

    Source: docs/algorithms.md, section 1.1 ("ZCA", "Block ZCA").
    """
    inputs = pixels.astype(jnp.float32) * numbers.scale - numbers.shift
    if not numbers.matrix.size:
        return inputs
    shape = inputs.shape[1:]
    # s * s phases x[i::s, j::s], each whitened as an image of its own.
    stride = round((numbers.mean.size / len(numbers.matrix)) ** 0.5)
    blocks = to_blocks(inputs - numbers.mean, stride)
    white = jnp.matmul(blocks, numbers.matrix, precision=jax.lax.Precision.HIGHEST)
    return from_blocks(white, stride, shape)
