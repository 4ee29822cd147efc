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
which takes 16 products where the definition takes 36, or 25 for 81, for so many images at a
time that what is computed stays in the cache.

On other devices it is the library's own convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from isa_toolkit.networks.base import even_size, map_in_pieces

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
    steps = (strides[0], strides[1])
    window = _Window(size, steps, (tuple(height), tuple(width)))
    return _convolve_p.bind(maps, kernel, window=window)


Conv = partial(nn.Conv, kernel_size=(3, 3), conv_general_dilated=_conv)
"""A 3x3 convolution layer of images, fast in loops on the CPU, too."""


def _convolve(maps: Array, kernel: Array, *, window: _Window) -> Array:
    """Return ``maps`` [n, h, w, i] convolved with ``kernel`` [p, q, i, o]: [n, h', w', o]."""
    filtering = _filtering(maps, kernel.shape[-1], window)
    if filtering is not None:
        return _filtered_convolve(maps, kernel, window, filtering)

    def of_some(maps: Array) -> Array:
        return lax.conv_general_dilated(
            maps,
            kernel,
            window.strides,
            window.padding,
            lhs_dilation=window.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    out = jax.eval_shape(of_some, maps)
    if kernel.shape[2] < _CHANNELS and _is_small(out.shape, window):
        patches = _patches(_pad(maps, window), out.shape[1:3], window)
        return patches @ kernel.reshape(-1, kernel.shape[-1])
    each = (maps.size + out.size) // maps.shape[0]
    return map_in_pieces(of_some, maps, max(1, _LARGEST_BLOCK // each))


def _correlate(maps: Array, cotangent: Array, *, window: _Window) -> Array:
    """Return the gradient of ``<cotangent, convolve(maps, kernel)>`` by the kernel.

    ``cotangent`` is [n, h', w', o], the result [p, q, i, o].
    """
    filtering = _filtering(maps, cotangent.shape[-1], window)
    if filtering is not None:
        return _filtered_correlate(maps, cotangent, window, filtering)
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


# Numbers in the maps before and after the library's convolution at a time, 16 MB; pixels of a
# map of few channels up to which patches are faster.
_LARGEST_BLOCK, _SMALL = 2**22, 144


def _is_small(shape: Sequence[int], window: _Window) -> bool:
    return window.dilation == (1, 1) and shape[1] * shape[2] <= _SMALL


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


class _Filtering(NamedTuple):
    """Minimal filtering F(t x t, 3 x 3): ``(t+2)^2`` products for ``t^2`` outputs.

    tile: Side t of the outputs of a tile.
    inputs: Transform B^T of the t + 2 inputs along one axis, [t+2, t+2].
    weights: Transform G of three weights, [t+2, 3].
    outputs: Transform A^T of products to outputs, [t, t+2].

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016,
    section 4.1 for t = 2; t = 3 is Winograd's at the points 0, 1, -1, 2 and infinity.
    """

    tile: int
    inputs: np.ndarray
    weights: np.ndarray
    outputs: np.ndarray


_TWO = _Filtering(
    2,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
_THREE = _Filtering(
    3,
    np.array(
        [
            [2, -1, -2, 1, 0],
            [0, -2, -1, 1, 0],
            [0, 2, -3, 1, 0],
            [0, -1, 0, 1, 0],
            [0, 2, -1, -2, 1],
        ]
    ),
    np.array([[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]) / 6,
    np.array([[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]]),
)
# Number of tiles, or of patches, at a time; what they need stays in the cache.
_TILES = 256
# Fewest channels, of input and output, for which filtering is faster, and largest ratio of
# its products and those of the definition.
_CHANNELS, _WORTHWHILE = 16, 2 / 3


def _filtering(maps: Array, channels: int, window: _Window) -> _Filtering | None:
    """Return the minimal filtering for a convolution; None where it is no faster."""
    if window != _Window((3, 3), (1, 1), window.padding):
        return None
    if min(maps.shape[3], channels) < _CHANNELS or maps.dtype.itemsize < 4:
        return None
    height, width = _output_size(maps, window)
    # Tiles of three round more.
    best = _THREE if height % 3 == width % 3 == 0 else _TWO
    tiles = -(-height // best.tile) * -(-width // best.tile)
    products = tiles * (best.tile + 2) ** 2
    return best if products <= _WORTHWHILE * 9 * height * width else None


def _filtered_convolve(
    maps: Array, kernel: Array, window: _Window, filtering: _Filtering
) -> Array:
    filters = _filters(kernel, filtering)

    def of_some(maps: Array) -> Array:
        tiles = _tiles(maps, filtering)
        return _from_tiles(jnp.einsum("tnhwi,tio->tnhwo", tiles, filters), filtering)

    height, width = _output_size(maps, window)
    maps = _pad(maps, window, filtering.tile)
    out = map_in_pieces(of_some, maps, _at_once(height * width // filtering.tile**2))
    return out[:, :height, :width]


def _filtered_correlate(
    maps: Array, cotangent: Array, window: _Window, filtering: _Filtering
) -> Array:
    def of_some(maps: Array, cotangent: Array) -> Array:
        pair = _tiles(maps, filtering), _spread(cotangent, filtering)
        return jnp.einsum("tnhwi,tnhwo->tio", *pair)

    height, width = _output_size(maps, window)
    tile = filtering.tile
    edges = ((0, 0), (0, -height % tile), (0, -width % tile), (0, 0))
    maps, cotangent = _pad(maps, window, tile), jnp.pad(cotangent, edges)
    at_once = _at_once(height * width // tile**2)
    return _to_kernel(_sum_in_blocks(of_some, maps, cotangent, at_once), filtering)


def _correlate_patches(maps: Array, cotangent: Array, window: _Window) -> Array:
    _, height, width, channels = cotangent.shape

    def of_some(maps: Array, cotangent: Array) -> Array:
        patches = _patches(maps, (height, width), window)
        return jnp.einsum("nhwi,nhwo->io", patches, cotangent)

    at_once = _at_once(height * width // 4)
    total = _sum_in_blocks(of_some, _pad(maps, window), cotangent, at_once)
    return total.reshape(*window.size, maps.shape[-1], channels)


def _at_once(tiles: int) -> int:
    """Return the number of images at a time whose tiles stay in the cache."""
    return max(1, _TILES // max(1, tiles))


def _sum_in_blocks(
    function: Callable[[Array, Array], Array], maps: Array, cotangent: Array, size: int
) -> Array:
    """Return the sum of ``function`` over blocks of images, in which it is additive."""
    count = maps.shape[0]
    if count <= size:
        return function(maps, cotangent)
    size = even_size(count, size)
    rest = count % size
    if rest:
        total = function(maps[:rest], cotangent[:rest])
    else:
        shape = jax.eval_shape(function, maps, cotangent)
        total = jnp.zeros(shape.shape, shape.dtype)

    def add(index: Array, total: Array) -> Array:
        part = (
            lax.dynamic_slice_in_dim(one, rest + index * size, size)
            for one in (maps, cotangent)
        )
        return total + function(*part)

    return lax.fori_loop(0, count // size, add, total)


def _output_size(maps: Array, window: _Window) -> Pair:
    """Return the height and width of the output of a 3x3 window without strides."""
    height, width = (
        n + low + high - 2
        for n, (low, high) in zip(maps.shape[1:3], window.padding, strict=True)
    )
    return height, width


def _pad(maps: Array, window: _Window, tile: int = 1) -> Array:
    """Return padded maps; for tiles, their sides are whole tiles and one more of them."""
    edges = [(0, 0, 0)]
    for n, (low, high) in zip(maps.shape[1:3], window.padding, strict=True):
        length = n + low + high
        whole = tile * (-(-(length - 2) // tile) + 1)
        edges.append((low, high + (whole - length if tile > 1 else 0), 0))
    return lax.pad(maps, jnp.zeros((), maps.dtype), (*edges, (0, 0, 0)))


# The transforms treat columns and then rows, so the numbers of a tile are in that order.
# Stacks of few sums compile in a third of the time of one array for each number.


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Return the sums of parts that the rows of a matrix weight."""

    def total(row: np.ndarray) -> Array:
        terms = [part * float(w) for part, w in zip(parts, row, strict=True) if w]
        return reduce(jnp.add, terms)

    return [total(row) for row in matrix]


def _tiles(maps: Array, filtering: _Filtering) -> Array:
    """Return the transform of each tile, ``B^T d B``, [(t+2)^2, n, h', w', i]."""
    tile, side = filtering.tile, filtering.tile + 2

    def transform(blocks: Array, axis: int) -> Array:
        """Return the transform along blocks of neighbours, [..., h'+1, t, ...]."""
        length = blocks.shape[axis]

        def pixel(offset: int) -> Array:
            start, index = divmod(offset, tile)
            one = lax.index_in_dim(blocks, index, axis + 1, keepdims=False)
            return lax.slice_in_dim(one, start, start + length - 1, axis=axis)

        return jnp.stack(_combine(filtering.inputs, [pixel(k) for k in range(side)]))

    count, height, width, channels = maps.shape
    rows = transform(maps.reshape(count, height // tile, tile, width, channels), 1)
    rows = rows.reshape(*rows.shape[:3], width // tile, tile, channels)
    tiles = transform(rows, 3)
    return tiles.reshape(side**2, *tiles.shape[2:])


def _filters(kernel: Array, filtering: _Filtering) -> Array:
    """Return the transform of a kernel, ``G g G^T``, [(t+2)^2, i, o]."""
    matrix = jnp.asarray(np.kron(*2 * [filtering.weights]), kernel.dtype)
    filters = matrix @ kernel.swapaxes(0, 1).reshape(9, -1)
    return filters.reshape(-1, *kernel.shape[2:])


def _from_tiles(products: Array, filtering: _Filtering) -> Array:
    """Return the maps [n, t h', t w', o] of products [(t+2)^2, n, h', w', o], ``A^T m A``."""
    tile, side = filtering.tile, filtering.tile + 2
    _, count, height, width, channels = products.shape
    maps = products.reshape(side, side, count, height, width, channels)
    maps = jnp.stack(_combine(filtering.outputs, list(maps)), axis=4)
    maps = jnp.stack(_combine(filtering.outputs, list(maps)), axis=2)
    return maps.reshape(count, tile * height, tile * width, channels)


def _spread(maps: Array, filtering: _Filtering) -> Array:
    """Return the transpose of :func:`_from_tiles`, ``A y A^T``."""
    tile, side = filtering.tile, filtering.tile + 2
    count, height, width, channels = maps.shape
    height, width = height // tile, width // tile
    spread = maps.reshape(count, height, tile, width, tile, channels)
    for axis in (2, 4):  # the second stack has one axis more in front and one less
        parts = [
            lax.index_in_dim(spread, index, axis, keepdims=False)
            for index in range(tile)
        ]
        spread = jnp.stack(_combine(filtering.outputs.T, parts))
    return spread.reshape(side**2, count, height, width, channels)


def _to_kernel(products: Array, filtering: _Filtering) -> Array:
    """Return the transpose of :func:`_filters`, ``G^T m G``, [3, 3, i, o]."""
    matrix = jnp.asarray(np.kron(*2 * [filtering.weights]).T, products.dtype)
    kernel = matrix @ products.reshape(products.shape[0], -1)
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
