"""The data set as every other package sees it: two splits, class names, preprocessing.

Reading files is left to :mod:`isa_toolkit.datasets.load`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

from isa_toolkit.checks import as_text, check_integer, check_one_of, fail
from isa_toolkit.datasets import preprocessing as pixels
from isa_toolkit.datasets.images import crop_and_resize
from isa_toolkit.datasets.memory_map import MappedImages, as_mapped, check_fits
from isa_toolkit.datasets.preprocessing import Preprocessing, pieces
from isa_toolkit.datasets.registry import Whitening
from isa_toolkit.datasets.validation import (
    Split,
    as_images,
    centred_one_hot,
    check_classes,
    check_counts,
    encode_labels,
    stratified_split,
)
from isa_toolkit.display import data_url, picture_grid

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Dataset"]

SplitName = Literal["train", "test"]

_SPLITS = ("train", "test")
_SHOWN_CLASSES = 20
_SHOWN_IMAGES = 8


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dataset:
    """Labelled images to distil from (train) and to evaluate on (test).

    Its length is the number of training images. In a notebook it shows a table of classes
    with some of their images.

    Attributes:
        name: Name of the data set in run folders and tables.
        train: Training images and labels; every class is present.
        test: Test images and labels.
        class_names: Names of the classes in label order.
        preprocessing: Map from pixels to network inputs and back, fitted on the training
            images.
        provenance: Origin of the images, in plain JSON types.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> images = rng.integers(0, 256, (40, 8, 8, 1), np.uint8)
        >>> data = Dataset.from_arrays(images, np.arange(40) % 4, name="noise")
        >>> data
        Dataset('noise': 32 training and 8 test images of 8x8x1, 4 classes, standardised)
        >>> data.inputs("test").shape, data.targets("test").shape
        ((8, 8, 8, 1), (8, 4))
        >>> image, label = data.train[0]
        >>> image.shape, label
        ((8, 8, 1), 0)
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
            images, labels = split.images, split.labels
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

    def __len__(self) -> int:
        return len(self.train)

    def __repr__(self) -> str:
        name = self.name if len(self.name) <= 60 else f"{self.name[:57]}..."
        shape = "x".join(map(str, self.image_shape))
        return (
            f"Dataset({name!r}: {len(self.train)} training and {len(self.test)} test "
            f"images of {shape}, {self.num_classes} classes, {self.preprocessing.kind})"
        )

    def _repr_html_(self) -> str:
        """Return a table of classes: names, numbers of images, and some of the images."""
        counts = [
            np.bincount(split.labels, minlength=self.num_classes)
            for split in (self.train, self.test)
        ]
        rows = []
        for label, name in enumerate(self.class_names[:_SHOWN_CLASSES]):
            picture = self._picture([label], _SHOWN_IMAGES, side=1)
            rows.append(
                f"<tr><td>{html.escape(name[:80])}</td><td>{counts[0][label]}</td>"
                f'<td>{counts[1][label]}</td><td><img alt="" '
                f'style="height: 32px; image-rendering: pixelated" src="{data_url(picture)}">'
                "</td></tr>"
            )
        hidden = self.num_classes - _SHOWN_CLASSES
        if hidden > 0:
            rows.append(f'<tr><td colspan="4">... and {hidden} more classes</td></tr>')
        notes = [f"ignored {one}" for one in self.provenance.get("ignored", ())]
        if self.provenance.get("left_out"):
            notes.append(
                f"left out {self.provenance['left_out']} files without an image"
            )
        return (
            f"<p>{html.escape(repr(self))}</p>"
            + "".join(f"<p>{html.escape(note)}</p>" for note in notes)
            + "<table><tr><th>class</th><th>train</th><th>test</th><th></th></tr>"
            + "".join(rows)
            + "</table>"
        )

    def show(self, images_per_class: int = _SHOWN_IMAGES) -> Image.Image:
        """Return a picture of training images, one row per class, that a notebook shows.

        Args:
            images_per_class: Number of images in a row: the first ones of the class.
        """
        count = check_integer("images_per_class", images_per_class)
        return self._picture(range(self.num_classes), count, side=48)

    def _picture(self, labels: Sequence[int], columns: int, side: int) -> Image.Image:
        """Return a grid of training images, each enlarged to about ``side``."""
        labels_of_all = self.train.labels
        members = [np.flatnonzero(labels_of_all == c)[:columns] for c in labels]
        return picture_grid([self.train.images[index] for index in members], side=side)

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
        splits = (self.train, self.test)
        for array in (one for split in splits for one in (split.images, split.labels)):
            digest.update(f"{array.dtype} {array.shape}".encode())
            for piece in pieces(array):
                digest.update(np.ascontiguousarray(array[piece]).data)
        return digest.hexdigest()

    def inputs(self, split: SplitName = "train") -> Float[np.ndarray, "n h w ch"]:
        """Return the network inputs of a split, computed once and kept.

        Args:
            split: Name of the split, ``"train"`` or ``"test"``.

        Returns:
            Preprocessed images, float32 [n, h, w, ch], read-only.

        Raises:
            ValueError: Unknown split; images on the disk that would not fit in memory.
        """
        check_one_of("split", split, _SPLITS)
        if split not in self._kept:
            images = getattr(self, split).images
            if isinstance(images, MappedImages):
                check_fits(f"inputs of {len(images)} {split} images", 4 * images.nbytes)
            made = self.preprocessing.apply(images)
            made.flags.writeable = False
            self._kept[split] = made
        return self._kept[split]

    def targets(self, split: SplitName = "train") -> Float[np.ndarray, "n c"]:
        """Return centred one-hot targets of a split: 1 - 1/C on the class, else -1/C.

        Args:
            split: Name of the split, ``"train"`` or ``"test"``.

        Returns:
            float32 [n, c].

        Raises:
            ValueError: Unknown split.
        """
        check_one_of("split", split, _SPLITS)
        return centred_one_hot(getattr(self, split).labels, self.num_classes)

    def holdout(self, fraction: float, *, seed: int = 0) -> tuple[Dataset, Split]:
        """Return the data set with a smaller training part, and what was held out.

        Args:
            fraction: Fraction of each class to hold out, above 0 and below 1.
            seed: Seed of the draw.

        Returns:
            (dataset, held_out): The same preprocessing object and test split.

        Raises:
            ValueError: A fraction outside (0, 1), or too few images.
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
        whitening: Whitening = "standardise",
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
            train_images: Training images, uint8 or floats in [0, 1], [n, h, w, ch] or grey
                [n, h, w]; a list of images of different sizes when ``resolution`` is
                given. A memory map ``np.load(path, mmap_mode="r")`` of uint8
                [n, h, w, ch] stays on the disk, and the file must stay as it is.
            train_labels: Labels of the training images, [n]: class indices from 0, numbers
                from 1, or names.
            test_images: Test images of the same form; None holds out a part of the
                training images, the same fraction of each class.
            test_labels: Labels of the test images, [m].
            class_names: Names of the classes; None takes those of the labels.
            name: Name of the data set in run folders and tables.
            whitening: Preprocessing of the pixels, fitted on the training images:
                ``"standardise"``, ``"zca"`` (blocks above 64 pixels) or ``"none"``.
            mean: Channel means of pixels in [0, 1]; None measures them.
            std: Channel standard deviations; None measures them.
            test_fraction: Fraction held out when there are no test images.
            seed: Seed of that draw.
            resolution: Side in pixels to crop the centre and resize to.
            cache: Folder where a fitted ZCA is kept: None the user's cache folder, a path
                another, False nowhere.
            provenance: Origin of the images, in plain JSON types.

        Returns:
            The data set, sharing no memory with the arguments but for memory maps.

        Raises:
            ValueError: Images or labels of a wrong form, shape or range, a class
                without a training image, unknown whitening.

        Example:
            >>> rng = np.random.default_rng(0)
            >>> images = rng.integers(0, 256, (40, 8, 8, 1), np.uint8)
            >>> data = Dataset.from_arrays(images, np.arange(40) % 4)
            >>> data.num_classes, len(data.train), len(data.test)
            (4, 32, 8)
        """
        check_one_of("whitening", whitening, pixels.WHITENINGS)
        facts = {"source": "arrays", **(provenance or {})}
        images = _checked_images("train", train_images, train_labels, resolution)
        if test_images is None and test_labels is not None:
            raise fail("test_images", "come with test_labels", test_images)
        test = None
        if test_images is not None:
            test = _checked_images("test", test_images, test_labels, resolution)
            if test.shape[1:] != images.shape[1:]:
                raise fail(
                    "test_images",
                    "have the shape of train_images",
                    as_text(f"{test.shape[1:]}, not {images.shape[1:]}"),
                    "Pass resolution if only sizes differ.",
                )
        labels, encoded, names = encode_labels(
            train_labels, test_labels, class_names=tuple(map(str, class_names or ()))
        )
        train = Split(images, labels)
        if test is None or encoded is None:
            kept, held = stratified_split(train.labels, test_fraction, seed=seed)
            train, held_out = train.take(kept), train.take(held)
            facts["test_split"] = f"{test_fraction:g} of train, seed {seed}"
        else:
            held_out = Split(test, encoded)
        check_classes(train.labels, held_out.labels, names)
        fitted = pixels.fit(
            train.images,
            whitening,
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            cache=cache,
        )
        facts["train_count"], facts["test_count"] = len(train), len(held_out)
        return cls(
            name=name,
            train=train,
            test=held_out,
            class_names=names,
            preprocessing=fitted,
            provenance=facts,
        )


def _checked_images(
    name: str, images: Any, labels: Any, resolution: int | None
) -> np.ndarray | MappedImages:
    """Return images of one size, with as many labels."""
    if labels is None:
        raise fail(f"{name}_labels", f"come with {name}_images", labels)
    checked = as_mapped(images)
    size = (resolution, resolution)
    if checked is None or (resolution is not None and checked.shape[1:3] != size):
        checked = as_images(f"{name}_images", _one_size(name, images, resolution))
    check_counts(f"{name}_labels", labels, checked)
    return checked


def _one_size(name: str, images: Any, resolution: int | None) -> Any:
    """Return ``images`` as something of one size, resized to ``resolution`` if given."""
    if isinstance(images, np.ndarray) and images.dtype != object:
        size = images.shape[1:3]
        if resolution is None or images.ndim < 3 or size == (resolution, resolution):
            return images
    singles = [np.asarray(image) for image in images]
    if resolution is not None and singles:
        checked = (as_images(f"{name}_images", image[None])[0] for image in singles)
        return np.stack([crop_and_resize(image, resolution) for image in checked])
    shapes = list(dict.fromkeys(image.shape for image in singles))
    if len(shapes) > 1:
        sizes = ("x".join(map(str, shape)) for shape in shapes[:2])
        raise fail(
            f"{name}_images",
            "have one size",
            as_text(" and ".join(sizes)),
            "Pass resolution to crop the centre and resize.",
        )
    return np.stack(singles) if singles else np.empty((0, 0, 0), np.uint8)
