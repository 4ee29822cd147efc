"""The data set as every other room sees it: two splits, class names, preprocessing.

Reading files is left to :mod:`isa_toolkit.datasets.load`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from isa_toolkit.checks import as_text, check_one_of, fail
from isa_toolkit.datasets import preprocessing as pixels
from isa_toolkit.datasets.images import crop_and_resize
from isa_toolkit.datasets.memory_map import MappedImages, as_mapped, check_fits
from isa_toolkit.datasets.preprocessing import Preprocessing, pieces
from isa_toolkit.datasets.validation import (
    Split,
    as_images,
    as_labels,
    centred_one_hot,
    check_classes,
    stratified_split,
)

__all__ = ["Dataset"]

_SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images to distil from (train) and to judge by (test).

    name: what it is called in run folders and tables.
    train: training images and labels; every class is present.
    test: test images and labels.
    class_names: one per class, in label order.
    preprocessing: pixels to network inputs and back, fitted on training images.
    provenance: where the images come from, in plain JSON types.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    _kept: dict[str, np.ndarray] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or {"/", "\\", "\0"} & set(self.name):
            raise fail(
                "the name of a data set",
                "be usable as the name of a folder, without slashes",
                self.name,
                "It names run folders.",
            )
        for name, split in (("train", self.train), ("test", self.test)):
            images, labels = split
            if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
                shape = "x".join(map(str, self.image_shape))
                raise fail(
                    f"{name} images",
                    f"be uint8 of shape [n, {shape}]",
                    as_text(f"{images.dtype} {images.shape}"),
                )
            if labels.dtype != np.int32 or labels.shape != (len(images),):
                raise fail(
                    f"{name} labels",
                    f"be int32 of shape [{len(images)}]",
                    as_text(f"{labels.dtype} {labels.shape}"),
                )
            labels.flags.writeable = False
            if isinstance(images, np.ndarray):
                images.flags.writeable = False
        check_classes(self.train.labels, self.test.labels, self.class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        return self.preprocessing.image_shape

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of both splits: pixels, shapes and labels."""
        digest = hashlib.sha256()
        for array in (*self.train, *self.test):
            digest.update(f"{array.dtype} {array.shape}".encode())
            for piece in pieces(array):
                digest.update(np.ascontiguousarray(array[piece]).data)
        return digest.hexdigest()

    def inputs(self, split: str = "train") -> Float[np.ndarray, "n h w ch"]:
        """Return the network inputs of a split, computed once and kept.

        Args:
            split: ``"train"`` or ``"test"``.

        Returns:
            Preprocessed images, float32 [n, h, w, ch], read-only.

        Raises:
            ValueError: unknown split; images on the disk that would not fit in memory.
        """
        split = check_one_of("split", split, _SPLITS)
        if split not in self._kept:
            images = getattr(self, split).images
            if isinstance(images, MappedImages):
                check_fits(f"inputs of {len(images)} {split} images", 4 * images.nbytes)
            made = self.preprocessing.apply(images)
            made.flags.writeable = False
            self._kept[split] = made
        return self._kept[split]

    def targets(self, split: str = "train") -> Float[np.ndarray, "n c"]:
        """Return centred one-hot targets of a split: 1 - 1/C on the class, else -1/C.

        Args:
            split: ``"train"`` or ``"test"``.

        Returns:
            float32 [n, c].

        Raises:
            ValueError: unknown split.
        """
        split = check_one_of("split", split, _SPLITS)
        return centred_one_hot(getattr(self, split).labels, self.num_classes)

    def holdout(self, fraction: float, *, seed: int = 0) -> tuple[Dataset, Split]:
        """Return the data set with a smaller training part, and what was held out.

        Args:
            fraction: share of each class to hold out, above 0 and below 1.
            seed: of the draw.

        Returns:
            (dataset, held_out): the same preprocessing object and test split.

        Raises:
            ValueError: a fraction outside (0, 1), or too few images.
        """
        kept, held = stratified_split(self.train.labels, fraction, seed=seed)
        provenance = {
            **self.provenance,
            "held_out": {"fraction": float(fraction), "seed": seed, "count": len(held)},
        }
        smaller = dataclasses.replace(
            self, train=self.train.take(kept), provenance=provenance
        )
        held_out = self.train.take(held)
        return smaller, Split(np.asarray(held_out.images), held_out.labels)

    @classmethod
    def from_arrays(
        cls,
        train_images: Any,
        train_labels: Any,
        test_images: Any = None,
        test_labels: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
        whitening: str = "standardise",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        test_fraction: float = 0.2,
        seed: int = 0,
        resolution: int | None = None,
        cache: bool | str | Path | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> Dataset:
        """Return a data set of one's own arrays.

        Args:
            train_images: uint8 or floats in [0, 1], [n, h, w, ch] or grey [n, h, w]; a
                list of images of different sizes when ``resolution`` is given. A memory
                map ``np.load(path, mmap_mode="r")`` of uint8 [n, h, w, ch] stays on the
                disk, and the file must stay as it is.
            train_labels: class indices from 0, [n].
            test_images: the same for testing; None holds out a part of the training
                images, the same share of each class.
            test_labels: class indices, [m].
            class_names: one per class; None calls them "0", "1", ...
            name: what it is called in run folders and tables.
            whitening: ``"standardise"``, ``"zca"`` (blocks above 64 pixels) or
                ``"none"``, fitted on the training images.
            mean: channel means of pixels in [0, 1]; None measures them.
            std: channel standard deviations; None measures them.
            test_fraction: share held out when there are no test images.
            seed: of that draw.
            resolution: side in pixels to crop the centre and resize to.
            cache: where a fitted ZCA is kept: None the user's cache folder, a path
                another, False nowhere.
            provenance: where the images come from, in plain JSON types.

        Returns:
            The data set, sharing no memory with the arguments but for memory maps.

        Raises:
            ValueError: images or labels of a wrong form, shape or range, a class
                without a training image, unknown whitening.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> images = rng.integers(0, 256, (40, 8, 8, 1), np.uint8)
            >>> data = Dataset.from_arrays(images, np.arange(40) % 4)
            >>> data.num_classes, len(data.train.labels), len(data.test.labels)
            (4, 32, 8)
        """
        check_one_of("whitening", whitening, pixels.WHITENINGS)
        train = _as_split("train", train_images, train_labels, resolution)
        facts = {"source": "arrays", **(provenance or {})}
        if test_images is None:
            if test_labels is not None:
                raise fail("test_images", "come with test_labels", test_images)
            kept, held = stratified_split(train.labels, test_fraction, seed=seed)
            train, test = train.take(kept), train.take(held)
            facts["test_split"] = f"{test_fraction:g} of train, seed {seed}"
        else:
            test = _as_split("test", test_images, test_labels, resolution)
        if train.images.shape[1:] != test.images.shape[1:]:
            raise fail(
                "test_images",
                "have the shape of train_images",
                as_text(f"{test.images.shape[1:]}, not {train.images.shape[1:]}"),
                "Pass resolution if only sizes differ.",
            )
        if class_names is None:
            if train.labels.min() < 0:
                raise fail("train_labels", "be at least 0", int(train.labels.min()))
            class_names = [str(label) for label in range(train.labels.max() + 1)]
        check_classes(train.labels, test.labels, class_names)
        fitted = pixels.fit(
            train.images,
            whitening,
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            cache=cache,
        )
        facts["train_count"], facts["test_count"] = len(train.labels), len(test.labels)
        return cls(
            name=name,
            train=train,
            test=test,
            class_names=tuple(map(str, class_names)),
            preprocessing=fitted,
            provenance=facts,
        )


def _as_split(name: str, images: Any, labels: Any, resolution: int | None) -> Split:
    if labels is None:
        raise fail(f"{name}_labels", f"come with {name}_images", labels)
    mapped = as_mapped(images)
    sizes = (resolution, resolution)
    if mapped is not None and (resolution is None or mapped.shape[1:3] == sizes):
        return Split(mapped, as_labels(f"{name}_labels", labels, len(mapped)))
    checked = as_images(f"{name}_images", _one_size(name, images, resolution))
    return Split(checked, as_labels(f"{name}_labels", labels, len(checked)))


def _one_size(name: str, images: Any, resolution: int | None) -> Any:
    """Return ``images`` as something of one size, resized if that is asked for."""
    if isinstance(images, np.ndarray) and images.dtype != object:
        if resolution is None or images.ndim < 3 or not len(images):
            return images
        if images.shape[1:3] == (resolution, resolution):
            return images
        images = as_images(f"{name}_images", images)
        return np.stack([crop_and_resize(image, resolution) for image in images])
    images = [np.asarray(image) for image in images]
    for image in images[1:]:
        if resolution is None and image.shape != images[0].shape:
            sizes = ("x".join(map(str, one.shape)) for one in (images[0], image))
            raise fail(
                f"{name}_images",
                "have one size",
                as_text(" and ".join(sizes)),
                "Pass resolution to crop the centre and resize.",
            )
    if resolution is None:
        return np.stack(images) if images else np.empty((0, 0, 0), np.uint8)
    singles = [as_images(f"{name}_images", image[None])[0] for image in images]
    return np.stack([crop_and_resize(image, resolution) for image in singles])
