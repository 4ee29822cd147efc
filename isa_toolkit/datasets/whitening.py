"""ZCA whitening: fitting it in float64, whole images or polyphase blocks.

Channel standardisation, images' shapes and files are left to
:mod:`isa_toolkit.datasets.preprocessing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from isa_toolkit.checks import as_text, fail


class Recipe(NamedTuple):
    """How a project fits ZCA.

    regulariser: Number that is added to the eigenvalues of the covariance.
    is_relative: Whether it is a fraction of the mean eigenvalue.
    is_centred: Whether the mean image is subtracted.
    is_unbiased: Whether the covariance is divided by n - 1 in place of n.
    """

    regulariser: float = 0.1
    is_relative: bool = True
    is_centred: bool = True
    is_unbiased: bool = False


RECIPES = {
    "zca": Recipe(),
    "rfad_zca": Recipe(is_centred=False),
    "mtt_zca": Recipe(is_relative=False, is_unbiased=True),
}
"""Those of FRePo, ISA and RCIG (zca_reg), of RFAD, and of MTT (kornia's ZCAWhitening).

Source: docs/algorithms.md, sections 1.1, 1.2 and 1.4.
"""

_LARGEST_BLOCK = 64


class ZCA(NamedTuple):
    """A fitted whitening of standardised images, and its inverse.

    Attributes:
        recipe: Name of its recipe.
        mean: Mean standardised image, flattened in (h, w, ch) order, float32 [d].
        matrix: Symmetric W that whitens a block, float32 [b, b].
        inverse: Symmetric inverse of ``matrix``, float32 [b, b].
        stride: 1 for whole images (b = d); s for s*s polyphase blocks (b = d / s^2).
        ridge: Absolute r that was added to every eigenvalue.
        rank: Number of leading directions that were scaled; the others pass unchanged.
    """

    recipe: str
    mean: Float[np.ndarray, " d"]
    matrix: Float[np.ndarray, "b b"]
    inverse: Float[np.ndarray, "b b"]
    stride: int
    ridge: float
    rank: int


def block_stride(image_shape: tuple[int, int, int]) -> int:
    """Return the stride of the polyphase split that keeps blocks within 64 pixels.

    It is 1 up to 64 pixels and 2 for 128.
    """
    height, width, _ = image_shape
    stride = -(-max(height, width) // _LARGEST_BLOCK)
    if height % stride or width % stride:
        rule = f"divide by {stride} to be whitened in blocks of at most 64 pixels"
        fix = "Pass resolution=128, or whitening='standardise'."
        raise fail("image sides", rule, as_text(f"{height}x{width}"), fix)
    return stride


def to_blocks(images: Float[Any, "n h w ch"], stride: int) -> Float[Any, "m b"]:
    """Return the phases x[i::stride, j::stride] of each image, flattened, in (i, j) order."""
    n, height, width, channels = images.shape
    split = images.reshape(
        n, height // stride, stride, width // stride, stride, channels
    )
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(n * stride**2, -1)


def from_blocks(
    blocks: Float[Any, "m b"], stride: int, image_shape: tuple[int, ...]
) -> Float[Any, "n h w ch"]:
    """Return the images whose phases are ``blocks``: the inverse of ``to_blocks``."""
    height, width, channels = image_shape
    split = blocks.reshape(
        -1, stride, stride, height // stride, width // stride, channels
    )
    return split.transpose(0, 3, 1, 4, 2, 5).reshape(-1, height, width, channels)


def fit_zca(
    pieces: Callable[[], Iterable[np.ndarray]],
    count: int,
    image_shape: tuple[int, int, int],
    stride: int,
    recipe: str = "zca",
) -> ZCA:
    """Return the ZCA whitening of standardised training images.

    With x the flattened images (or phases), mu their mean over images and
    S = mean (x - mu)(x - mu)^T (over phases too, when there are several):
    r = .1 tr(S) / b, S + r I = U diag(s) U^T,
    W = U diag(s^-1/2) U^T, W_inv = U diag(s^1/2) U^T.
    Rank control: with ``count`` < b images the b - count trailing entries of s^-1/2
    and s^1/2 become 1. Other recipes: see ``Recipe``; an absolute r needs no rank control.

    ``pieces`` gives the ``count`` images as float64 [k, h, w, ch], each time from the
    start; two passes are made, with one piece in memory at a time. The result is rounded
    to float32.

    Source: docs/algorithms.md, section 1.1 ("ZCA", "Block ZCA").
    Deviation: of the ``count`` leading directions that rank control keeps, those
    without any variance (centring always leaves one) are arbitrary vectors of the null
    space; they count as trailing here, so that the result is unique. Training images
    have no component along them.
    """
    size = int(np.prod(image_shape)) // stride**2

    regulariser, is_relative, is_centred, is_unbiased = RECIPES[recipe]
    mean = np.zeros(image_shape)
    if is_centred:
        for piece in pieces():
            mean += piece.sum(axis=0)
        mean /= count

    def centred() -> Iterator[np.ndarray]:
        for piece in pieces():
            yield to_blocks(piece - mean, stride)

    rows = count * stride**2
    if rows < size:
        variances, directions = _few_rows(np.concatenate(list(centred())))
    else:
        variances, directions = _many_rows(centred(), rows, size)
    total = float(variances.sum())
    if total <= 0:
        raise fail("training images", "differ from each other", as_text("equal images"))
    if is_unbiased:
        variances = variances * (rows / max(rows - 1, 1))
    ridge = regulariser * (total / size if is_relative else 1)
    rest = 1.0 if is_relative else math.sqrt(ridge)

    rank = size if count >= size else min(count, stride**2 * (count - 1))
    # Symmetric by construction: V diag(g) V^T, and a multiple of the rest of the space.
    scale = np.sqrt(np.maximum(variances[:rank], 0) + ridge)
    directions = directions[:, :rank]
    return ZCA(
        recipe,
        mean.reshape(-1).astype(np.float32),
        _spectral(directions, 1 / scale, 1 / rest),
        _spectral(directions, scale, rest),
        stride,
        ridge,
        rank,
    )


def _many_rows(
    pieces: Iterable[np.ndarray], rows: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues, largest first, and eigenvectors of the covariance."""
    from scipy.linalg import eigh, get_blas_funcs

    # The rank-k update works in place on one triangle: half the work of a product and
    # no second [b, b] array (1.2 GB at 64 pixels).
    covariance = np.zeros((size, size), order="F")
    (syrk,) = get_blas_funcs(("syrk",), (covariance,))
    for blocks in pieces:
        covariance = syrk(
            1.0 / rows, blocks.T, beta=1.0, c=covariance, overwrite_c=True, lower=1
        )
    # Divide and conquer: twice as fast here as the default on 3,072 pixels.
    variances, directions = eigh(
        covariance, lower=True, overwrite_a=True, check_finite=False, driver="evd"
    )
    return variances[::-1], directions[:, ::-1]


def _few_rows(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Do the same from the thin singular value decomposition of fewer rows than b."""
    _, singular, transposed = np.linalg.svd(blocks, full_matrices=False)
    return singular**2 / len(blocks), transposed.T


def _spectral(directions: np.ndarray, gains: np.ndarray, rest: float) -> np.ndarray:
    size, rank = directions.shape
    if rank == size:
        half = directions * np.sqrt(gains)
        return (half @ half.T).astype(np.float32)
    result = (directions * (gains - rest)) @ directions.T
    result = (result + result.T) / 2
    result[np.diag_indices(size)] += rest
    return result.astype(np.float32)
