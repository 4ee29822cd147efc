"""Convolution on the CPU as matrix products that are fast inside compiled loops.

XLA's CPU back end computes a convolution inside ``while``, ``scan`` and ``cond`` well only
where its operands are in the layouts of a forward pass, which JAX's transposed convolutions
are not: at 100 maps of 16x16x64 and 128 channels the gradient with respect to the kernel
takes 11,864 CPU-ms in a loop, and 90 alone. So on the CPU a convolution is a primitive whose
transposes are convolutions in those layouts. Derivatives of any order and mode consist of
two bilinear operations, each of which the other one transposes:

- ``convolve``: (maps, kernel) -> maps,
- ``correlate``: (maps, maps) -> kernel.

Where a 3x3 kernel has enough channels both are computed by Winograd's minimal filtering,
which takes 16 products where the definition takes 36, for so many images at a time that
what is computed stays in the cache.

On other devices it is the library's own convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from isa_toolkit.networks.base import map_in_pieces

Pair = tuple[int, int]


class _Window(NamedTuple):
    """How a window moves over maps; heights first.

    size: Height and width of the kernel.
    strides: Steps of the window.
    padding: Zeros before and after the maps; negative crops.
    dilation: Steps between neighbouring pixels of the maps, with zeros between them.
    """

    size: Pair
    strides: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair = (1, 1)


def _conv(
    maps: Array, kernel: Array, strides: Pair, padding: Any, **options: Any
) -> Array:
    """Return ``lax.conv_general_dilated``, for the options of a plain ``nn.Conv``."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(maps, kernel, strides, padding, **options)
    height, width = padding
    size = (kernel.shape[0], kernel.shape[1])
    window = _Window(size, tuple(strides), (tuple(height), tuple(width)))
    return _convolve_p.bind(maps, kernel, window=window)


Conv = partial(nn.Conv, kernel_size=(3, 3), conv_general_dilated=_conv)
"""A 3x3 convolution layer of images, fast in loops on the CPU, too."""


def _convolve(maps: Array, kernel: Array, *, window: _Window) -> Array:
    """Return ``maps`` [n, h, w, i] convolved with ``kernel`` [p, q, i, o]: [n, h', w', o]."""
    if _is_winograd(maps, kernel.shape[-1], window):
        return _winograd_convolve(maps, kernel, window)
    return lax.conv_general_dilated(
        maps,
        kernel,
        window.strides,
        window.padding,
        lhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _correlate(maps: Array, cotangent: Array, *, window: _Window) -> Array:
    """Return the gradient of ``<cotangent, convolve(maps, kernel)>`` by the kernel.

    ``cotangent`` is [n, h', w', o], the result [p, q, i, o].
    """
    if _is_winograd(maps, cotangent.shape[-1], window):
        return _winograd_correlate(maps, cotangent, window)
    if window.dilation == (1, 1):
        return _correlate_patches(maps, cotangent, window)
    padding = [
        (low, _dilated(k, step) - _dilated(n, dilation) + p - 1 - low)
        for (low, _), k, step, n, dilation, p in zip(
            window.padding,
            cotangent.shape[1:3],
            window.strides,
            maps.shape[1:3],
            window.dilation,
            window.size,
            strict=True,
        )
    ]
    kernel = lax.conv_general_dilated(
        maps.transpose(3, 1, 2, 0),
        cotangent.transpose(1, 2, 0, 3),
        (1, 1),
        padding,
        lhs_dilation=window.dilation,
        rhs_dilation=window.strides,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return kernel.transpose(1, 2, 0, 3)


def _dilated(length: int, step: int) -> int:
    return (length - 1) * step + 1


def _backward(
    cotangent: Array | np.ndarray,
    kernel: Array | np.ndarray,
    shape: Sequence[int],
    window: _Window,
) -> Array:
    """Return the gradient of ``<cotangent, convolve(maps, kernel)>`` by maps of a shape."""
    padding = []
    for (low, _), k, step, n, dilation, p in zip(
        window.padding,
        cotangent.shape[1:3],
        window.strides,
        shape[1:3],
        window.dilation,
        window.size,
        strict=True,
    ):
        before = p - 1 - low
        after = _dilated(n, dilation) + p - 1 - _dilated(k, step) - before
        padding.append((before, after))
    turned = _Window(window.size, window.dilation, tuple(padding), window.strides)
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _convolve_p.bind(cotangent, flipped, window=turned)


_convolve_p = Primitive("image_convolve")
_correlate_p = Primitive("image_correlate")


def _register(
    primitive: Primitive,
    function: Callable[..., Array],
    to_first: Callable[..., Array],
    to_second: Callable[..., Array],
) -> None:
    """Define a bilinear primitive by its value and its two transposes."""
    primitive.def_impl(jax.jit(function, static_argnames="window"))

    def shape_of(first: Any, second: Any, *, window: _Window) -> Any:
        out = jax.eval_shape(partial(function, window=window), first, second)
        return first.update(shape=out.shape, dtype=out.dtype, weak_type=False)

    def in_turn(arguments: Any, axes: Any, *, window: _Window) -> tuple[Array, int]:
        """Return the products of a batch, one after the other."""
        rows = tuple(
            None if axis is None else jnp.moveaxis(one, axis, 0)
            for one, axis in zip(arguments, axes, strict=True)
        )

        def of_one(row: Any) -> Array:
            chosen = (
                one if mine is None else mine
                for one, mine in zip(arguments, row, strict=True)
            )
            return primitive.bind(*chosen, window=window)

        return lax.map(of_one, rows), 0

    primitive.def_abstract_eval(shape_of)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    ad.defbilinear(primitive, to_first, to_second)
    batching.primitive_batchers[primitive] = in_turn


_register(
    _convolve_p,
    _convolve,
    lambda out, maps, kernel, *, window: _backward(
        out, kernel, maps.aval.shape, window
    ),
    lambda out, maps, kernel, *, window: _correlate_p.bind(maps, out, window=window),
)
_register(
    _correlate_p,
    _correlate,
    lambda out, maps, other, *, window: _backward(other, out, maps.aval.shape, window),
    lambda out, maps, other, *, window: _convolve_p.bind(maps, out, window=window),
)


# Minimal filtering F(2x2, 3x3): 16 products for a tile of 2x2 outputs, of 4x4 inputs.
# Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016, section
# 4.1, with their B, G and A, and their transposes for the gradient by the kernel.

# Number of tiles, or of patches, at a time.
_TILES = 256
# Fewest channels, of input and output, for which it is faster.
_CHANNELS = 16
# Largest factor by which whole tiles may exceed the maps.
_EXCESS = 1.5
# The transform of a 3x3 kernel as a matrix, [16, 9].
_FILTER = np.kron(
    *2 * [np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])]
)


def _is_winograd(maps: Array, channels: int, window: _Window) -> bool:
    if window != _Window((3, 3), (1, 1), window.padding):
        return False
    if min(maps.shape[3], channels) < _CHANNELS or maps.dtype.itemsize < 4:
        return False
    height, width = _output_size(maps, window)
    whole = (height + height % 2) * (width + width % 2)
    return whole <= _EXCESS * height * width


def _winograd_convolve(maps: Array, kernel: Array, window: _Window) -> Array:
    filters = _filters(kernel)

    def of_some(maps: Array) -> Array:
        return _from_tiles(jnp.einsum("tnhwi,tio->tnhwo", _tiles(maps), filters))

    height, width = _output_size(maps, window)
    maps = _pad(maps, window, height % 2, width % 2)
    size = max(1, 4 * _TILES // (maps.shape[1] * maps.shape[2]))
    return map_in_pieces(of_some, maps, size)[:, :height, :width]


def _winograd_correlate(maps: Array, cotangent: Array, window: _Window) -> Array:
    def of_some(maps: Array, cotangent: Array) -> Array:
        return jnp.einsum("tnhwi,tnhwo->tio", _tiles(maps), _spread(cotangent))

    height, width = _output_size(maps, window)
    maps = _pad(maps, window, height % 2, width % 2)
    edges = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    return _to_kernel(_sum_in_blocks(of_some, maps, jnp.pad(cotangent, edges)))


def _correlate_patches(maps: Array, cotangent: Array, window: _Window) -> Array:
    def of_some(maps: Array, cotangent: Array) -> Array:
        patches = _patches(maps, cotangent.shape[1:3], window)
        return jnp.einsum("nhwi,nhwo->io", patches, cotangent)

    total = _sum_in_blocks(of_some, _pad(maps, window), cotangent)
    return total.reshape(*window.size, maps.shape[-1], cotangent.shape[-1])


def _sum_in_blocks(
    function: Callable[[Array, Array], Array], maps: Array, cotangent: Array
) -> Array:
    """Return the sum of ``function`` over blocks of images, in which it is additive."""
    count = maps.shape[0]
    size = max(1, 4 * _TILES // (cotangent.shape[1] * cotangent.shape[2]))
    if count <= size:
        return function(maps, cotangent)

    def add(index: Array, total: Array) -> Array:
        start = count % size + index * size
        part = (lax.dynamic_slice_in_dim(one, start, size) for one in (maps, cotangent))
        return total + function(*part)

    first = max(count % size, 1)
    total = function(maps[:first], cotangent[:first])
    if count % size == 0:
        total = jnp.zeros_like(total)
    return lax.fori_loop(0, count // size, add, total)


def _output_size(maps: Array, window: _Window) -> Pair:
    """Return the height and width of the output of a 3x3 window without strides."""
    height, width = (
        n + low + high - 2
        for n, (low, high) in zip(maps.shape[1:3], window.padding, strict=True)
    )
    return height, width


def _pad(
    maps: Array, window: _Window, more_rows: int = 0, more_columns: int = 0
) -> Array:
    (top, bottom), (left, right) = window.padding
    edges = (
        (0, 0, 0),
        (top, bottom + more_rows, 0),
        (left, right + more_columns, 0),
        (0, 0, 0),
    )
    return lax.pad(maps, jnp.zeros((), maps.dtype), edges)


# The transforms treat columns and then rows, so the 16 numbers of a tile are in that order.
# Stacks of few terms compile in a third of the time of 16 separate arrays.


def _tiles(maps: Array) -> Array:
    """Return the transform of each 4x4 tile, ``B^T d B``, [16, n, h/2 - 1, w/2 - 1, i]."""

    def transform(pairs: Array, axis: int) -> Array:
        """Return the transform along pairs of neighbours, [..., h/2, 2, ...]."""
        length = pairs.shape[axis]
        first, second = (
            lax.index_in_dim(pairs, index, axis + 1, keepdims=False) for index in (0, 1)
        )
        a, b = (
            lax.slice_in_dim(one, 0, length - 1, axis=axis) for one in (first, second)
        )
        c, d = (lax.slice_in_dim(one, 1, length, axis=axis) for one in (first, second))
        return jnp.stack([a - c, b + c, c - b, b - d])

    count, height, width, channels = maps.shape
    rows = transform(maps.reshape(count, height // 2, 2, width, channels), 1)
    rows = rows.reshape(4, count, height // 2 - 1, width // 2, 2, channels)
    tiles = transform(rows, 3)
    return tiles.reshape(16, *tiles.shape[2:])


def _filters(kernel: Array) -> Array:
    """Return the transform of a kernel, ``G g G^T``, [16, i, o]."""
    flat = kernel.swapaxes(0, 1).reshape(9, -1)
    filters = jnp.asarray(_FILTER, kernel.dtype) @ flat
    return filters.reshape(16, *kernel.shape[2:])


def _from_tiles(products: Array) -> Array:
    """Return the maps [n, 2h, 2w, o] of products [16, n, h, w, o], ``A^T m A``."""
    _, count, height, width, channels = products.shape
    m = products.reshape(4, 4, count, height, width, channels)
    m = jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis=4)
    m = jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis=2)
    return m.reshape(count, 2 * height, 2 * width, channels)


def _spread(maps: Array) -> Array:
    """Return the transpose of :func:`_from_tiles`, ``A y A^T``."""

    def transform(a: Array, b: Array) -> Array:
        return jnp.stack([a, a + b, a - b, -b])

    count, height, width, channels = maps.shape
    m = maps.reshape(count, height // 2, 2, width // 2, 2, channels)
    m = transform(m[:, :, 0], m[:, :, 1])
    m = transform(m[:, :, :, :, 0], m[:, :, :, :, 1])
    return m.reshape(16, count, height // 2, width // 2, channels)


def _to_kernel(products: Array) -> Array:
    """Return the transpose of :func:`_filters`, ``G^T m G``, [3, 3, i, o]."""
    kernel = jnp.asarray(_FILTER.T, products.dtype) @ products.reshape(16, -1)
    return kernel.reshape(3, 3, *products.shape[1:]).swapaxes(0, 1)


def _patches(maps: Array, size: Sequence[int], window: _Window) -> Array:
    """Return the patch under each output position, [n, h', w', p * q * i]."""
    last = [(n - 1) * step + 1 for n, step in zip(size, window.strides, strict=True)]
    shifted = [
        maps[
            :,
            row : row + last[0] : window.strides[0],
            column : column + last[1] : window.strides[1],
        ]
        for row in range(window.size[0])
        for column in range(window.size[1])
    ]
    return jnp.concatenate(shifted, axis=-1)
