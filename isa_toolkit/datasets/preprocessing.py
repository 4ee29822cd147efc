"""From pixels to network inputs and back: channel standardisation and whitening.

How the whitening is fitted is decided in :mod:`isa_toolkit.datasets.whitening`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.registry import Whitening
from isa_toolkit.datasets.storage import MappedImages
from isa_toolkit.datasets.whitening import (
    RECIPES,
    ZCA,
    block_stride,
    fit_zca,
    from_blocks,
    to_blocks,
)
from isa_toolkit.environment import cache_folder, kept_or_made

Images = np.ndarray | MappedImages

_FORMAT = "isa_toolkit.preprocessing.1"
_PIECE_BYTES = 64 * 2**20
# Fits of fewer numbers or images take less than a second and are not kept.
_KEPT_FROM = 1024
# One pixel of 10^9 that differs by one level has a standard deviation of 1.2e-7.
_LEAST_STD = 1e-8
# Inverted distilled images leave [0, 1], but never by as much as a 0..255 scale does.
_LARGEST_PIXEL = 16.0


class Constants(NamedTuple):
    """The numbers of a map from pixels to network inputs, as arguments of a program.

    Attributes:
        scale: Factor of a pixel, by channel, [ch].
        shift: Number subtracted after scaling, by channel, [ch].
        mean: Mean of the standardised images, [h, w, ch]; zeros without whitening.
        matrix: Matrix that whitens a block of pixels, [b, b]; [0, 0] without whitening.
    """

    scale: Float[Any, " ch"]
    shift: Float[Any, " ch"]
    mean: Float[Any, "h w ch"]
    matrix: Float[Any, "b b"]


@typed
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Preprocessing:
    """An invertible map between pixels and network inputs.

    inputs = W (flatten((pixels - mean) / std) - mu), reshaped to the image; without
    ``zca`` only the inner standardisation.

    Attributes:
        mean: Channel means of pixels in [0, 1].
        std: Channel standard deviations of pixels in [0, 1].
        image_shape: Height, width and number of channels of the images.
        zca: Fitted whitening, or None.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    zca: ZCA | None = None

    def __post_init__(self) -> None:
        channels = self.image_shape[2]
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) != channels:
                raise fail(name, f"hold one number per channel ({channels})", numbers)
            if not np.isfinite(numbers).all():
                raise fail(name, "be finite", numbers)
        if min(self.std) < _LEAST_STD:
            rule = f"be at least {_LEAST_STD:g} in every channel"
            raise fail("std", rule, self.std)

    def __repr__(self) -> str:
        return f"Preprocessing({self.kind}, mean={self.mean}, std={self.std})"

    @property
    def kind(self) -> str:
        """``"standardised"``, ``"zca"``, ``"block zca"``, ... or ``"raw pixels"``."""
        if self.zca is not None:
            return ("" if self.zca.stride == 1 else "block ") + self.zca.recipe
        is_raw = set(self.mean) == {0.0} and set(self.std) == {1.0}
        return "raw pixels" if is_raw else "standardised"

    @property
    def whitening(self) -> str:
        """Name that ``load_dataset`` takes for this map."""
        if self.zca is not None:
            return self.zca.recipe
        return "none" if self.kind == "raw pixels" else "standardise"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of every number of the map."""
        digest = hashlib.sha256(_FORMAT.encode())
        digest.update(repr((self.mean, self.std, tuple(self.image_shape))).encode())
        if self.zca is not None:
            digest.update(str(self.zca.stride).encode())
            for array in (self.zca.mean, self.zca.matrix, self.zca.inverse):
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def apply(self, images: Shaped[Any, "n h w ch"]) -> Float[np.ndarray, "n h w ch"]:
        """Return network inputs, float32 [n, h, w, ch].

        Args:
            images: Images, uint8 or floats on the [0, 1] scale (not clipped, so that what
                ``invert`` gave comes back), [n, h, w, ch].

        Raises:
            ValueError: Another shape or number kind, pixels that are not finite, or
                floats on the 0..255 scale.
        """
        array = self._checked("images", images, is_pixels=True)
        result = np.empty(array.shape, np.float32)
        constants = self.constants(1 / 255 if array.dtype == np.uint8 else 1.0)
        for piece in pieces(array):
            result[piece] = _to_inputs(array[piece], constants)
        return result

    def invert(self, whitened: Float[Any, "n h w ch"]) -> Float[np.ndarray, "n h w ch"]:
        """Return the pixels of network inputs, float32 on the [0, 1] scale, not clipped.

        Args:
            whitened: Network inputs, floats [n, h, w, ch].

        Raises:
            ValueError: Another shape, or inputs that are not finite floats.
        """
        array = self._checked("whitened", whitened, is_pixels=False)
        result = np.empty(array.shape, np.float32)
        mean = np.array(self.mean, np.float32)
        std = np.array(self.std, np.float32)
        for piece in pieces(array):
            standardised = np.asarray(array[piece], np.float32)
            if self.zca is not None:
                blocks = to_blocks(standardised, self.zca.stride) @ self.zca.inverse
                standardised = from_blocks(blocks, self.zca.stride, self.image_shape)
                standardised += self.zca.mean.reshape(self.image_shape)
            result[piece] = standardised * std + mean
        return result

    def describe(self) -> dict[str, Any]:
        """Return what the map does, in plain JSON types."""
        zca: dict[str, Any] = {"kind": "none"}
        if self.zca is not None:
            stride, ridge, rank = self.zca.stride, self.zca.ridge, self.zca.rank
            zca = {"kind": self.kind, "stride": stride, "ridge": ridge, "rank": rank}
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "image_shape": list(self.image_shape),
            "zca": zca,
            "fingerprint": self.fingerprint,
        }

    def constants(self, unit: float = 1 / 255) -> Constants:
        """Return the numbers of the map from pixels to inputs, float32.

        ``unit`` is the scale of a pixel: 1/255 for bytes.
        """
        mean, std, shape = np.array(self.mean), np.array(self.std), self.image_shape
        zca = self.zca
        return Constants(
            (unit / std).astype(np.float32),
            (mean / std).astype(np.float32),
            np.zeros(shape, np.float32) if zca is None else zca.mean.reshape(shape),
            np.zeros((0, 0), np.float32) if zca is None else zca.matrix,
        )

    def _checked(self, name: str, images: Any, *, is_pixels: bool) -> Images:
        array = images if isinstance(images, MappedImages) else np.asarray(images)
        is_float = np.issubdtype(array.dtype, np.floating)
        if not is_float and not (is_pixels and array.dtype == np.uint8):
            rule = "be uint8, or floats in [0, 1]" if is_pixels else "be floats"
            raise fail(name, rule, as_text(f"numbers of type {array.dtype}"))
        if array.ndim != 4 or array.shape[1:] != tuple(self.image_shape):
            shape = "x".join(map(str, self.image_shape))
            raise fail(name, f"have shape [n, {shape}]", array.shape)
        for piece in pieces(array) if is_float else ():
            largest = float(np.abs(array[piece]).max(initial=0))
            if not np.isfinite(largest):
                raise fail(name, "be finite", as_text("NaN or infinity"))
            if is_pixels and largest > _LARGEST_PIXEL:
                rule = "be on the [0, 1] scale when they are floats"
                fix = "Divide by 255 if the pixels run from 0 to 255."
                raise fail(name, rule, largest, fix)
        return array


def to_inputs(
    pixels: UInt8[Any, "n h w ch"], constants: Constants
) -> Float[Any, "n h w ch"]:
    """Return network inputs, W (flatten(pixels scale - shift) - mean), float32.

    For use inside a compiled program, so that images can wait on the device, or travel
    there, as bytes: a quarter of the memory. They equal ``Preprocessing.apply`` but for
    rounding.

    Source: docs/algorithms.md, section 1.1 ("ZCA", "Block ZCA").
    """
    import jax

    with jax.default_matmul_precision("highest"):
        return _to_inputs(pixels, constants)


def _to_inputs(pixels: Any, constants: Constants) -> Any:
    inputs = pixels.astype(np.float32) * constants.scale - constants.shift
    if not constants.matrix.size:
        return inputs
    # s * s phases x[i::s, j::s], each whitened as an image of its own.
    stride = round((constants.mean.size / len(constants.matrix)) ** 0.5)
    blocks = to_blocks(inputs - constants.mean, stride) @ constants.matrix
    return from_blocks(blocks, stride, inputs.shape[1:])


def fit(
    images: UInt8[np.ndarray, "n h w ch"] | MappedImages,
    whitening: Whitening = "standardise",
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Preprocessing:
    """Return the preprocessing fitted on training images.

    ``"standardise"`` is channel mean and standard deviation, measured unless they are
    given; ``"zca"`` and ``"rfad_zca"`` the same, then ZCA, in polyphase blocks above 64
    pixels; ``"mtt_zca"`` ZCA of pixels in [0, 1]; ``"none"`` leaves these as they are. Slow
    fits are kept in the cache.
    """
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    if whitening in ("none", "mtt_zca"):
        mean, std = (0.0,) * shape[2], (1.0,) * shape[2]
    if mean is None or std is None:
        measured_mean, measured_std = _channel_moments(images)
        if max(measured_std) == 0:
            rule = "differ from each other"
            raise fail("training images", rule, as_text("one level in every pixel"))
        mean = measured_mean if mean is None else mean
        # A constant channel is 0 once it is centred, whatever it is divided by.
        std = tuple(one or 1.0 for one in measured_std) if std is None else std
    plain = Preprocessing(
        mean=tuple(map(float, mean)), std=tuple(map(float, std)), image_shape=shape
    )
    if whitening not in RECIPES:
        return plain
    stride = block_stride(shape)

    def standardised() -> Iterator[np.ndarray]:
        for piece in pieces(images):
            yield (images[piece] / 255.0 - plain.mean) / plain.std

    def fit_fresh() -> ZCA:
        return fit_zca(standardised, len(images), shape, stride, whitening)

    if min(int(np.prod(shape)) // stride**2, len(images)) < _KEPT_FROM:
        return dataclasses.replace(plain, zca=fit_fresh())

    def arrays() -> dict[str, np.ndarray]:
        _, *fields = fit_fresh()
        return dict(zip(ZCA._fields[1:], map(np.asarray, fields), strict=True))

    key = _fit_key(images, plain, stride, whitening)[:32]
    fields = kept_or_made(cache_folder() / f"zca-{key}.safetensors", arrays)
    numbers: dict[str, Any] = {
        name: one if one.ndim else one.item() for name, one in fields.items()
    }
    return dataclasses.replace(plain, zca=ZCA(whitening, **numbers))


def _fit_key(images: Images, plain: Preprocessing, stride: int, recipe: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {stride} {recipe} {RECIPES[recipe]}".encode())
    digest.update(repr((plain.mean, plain.std, images.shape)).encode())
    for piece in pieces(images):
        digest.update(np.ascontiguousarray(images[piece]).data)
    return digest.hexdigest()


def _channel_moments(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return exact channel means and standard deviations, from histograms."""
    levels, channels = np.arange(256) / 255, range(images.shape[3])
    histograms = np.zeros((len(channels), 256), np.int64)
    for piece in pieces(images):
        flat = images[piece].reshape(-1, len(channels))
        histograms += [np.bincount(flat[:, c], minlength=256) for c in channels]
    means, stds = [], []
    for counts in histograms:
        fractions = counts / counts.sum()
        mean = float(fractions @ levels)
        means.append(mean)
        # sqrt of a rounding error is not a spread: one level present means constant.
        spread = float(fractions @ (levels - mean) ** 2)
        stds.append(spread**0.5 if np.count_nonzero(counts) > 1 else 0.0)
    return tuple(means), tuple(stds)


def pieces(images: Images) -> Iterator[slice]:
    """Give slices of some images each, of at most 64 MiB as float32."""
    rows = max(1, _PIECE_BYTES // (4 * int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), rows):
        yield slice(start, start + rows)
