"""The data set as every other package sees it: two splits, class names, preprocessing.

:func:`build` makes one from what a reader found: labels first, then the split and the
limit, and only then images.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int, UInt8

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, as_unicode, check_integer, check_one_of, fail
from isa_toolkit.datasets.images import check_resolution, crop_and_resize
from isa_toolkit.datasets.preprocessing import Preprocessing, fit, pieces
from isa_toolkit.datasets.readers import Records, Source, from_arrays
from isa_toolkit.datasets.registry import DatasetSpec, Whitening
from isa_toolkit.datasets.storage import MappedImages, read_or_map
from isa_toolkit.datasets.validation import (
    as_images,
    balanced_subset,
    centred_one_hot,
    check_classes,
    check_size,
    encode_labels,
    stratified_split,
)
from isa_toolkit.display import class_rows, html_grid, picture_grid
from isa_toolkit.environment import check_fits

if TYPE_CHECKING:
    from PIL import Image

SplitName = Literal["train", "test"]

_SPLITS = ("train", "test")
_SHOWN_CLASSES = 20
# File systems take 255 bytes, and run folders add to the name.
_LONGEST_NAME = 150
_FEWER = "Pass limit to load fewer images."


@typed
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images with their labels.

    Its length is the number of images. An integer index gives one image and its label,
    any other index a smaller split, whose images stay where they are.

    Attributes:
        images: Pixels as they were stored, uint8 [n, h, w, ch]; in memory or on the disk.
        labels: Class indices, int32 [n].
    """

    images: UInt8[np.ndarray, "n h w ch"] | MappedImages
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self.images[index], int(self.labels[index])
        return self.take(np.arange(len(self))[index])

    def __repr__(self) -> str:
        return f"Split(images: uint8 {list(self.shape)}, labels: int32 [{len(self)}])"

    @property
    def shape(self) -> tuple[int, ...]:
        """(number of images, height, width, channels)."""
        return tuple(self.images.shape)

    def take(self, rows: Int[np.ndarray, " k"]) -> Split:
        """Return the images at the indices ``rows``, where they are, with their labels."""
        images = self.images
        is_mapped = isinstance(images, MappedImages)
        taken = images.take(rows) if is_mapped else images[rows]
        return Split(taken, self.labels[rows])


@typed
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
        is_folder = self.name not in ("", ".", "..") and len(self.name) <= _LONGEST_NAME
        if not is_folder or not self.name.isprintable() or {"/", "\\"} & set(self.name):
            what, fix = "the name of a data set", "It names run folders."
            rule = f"be at most {_LONGEST_NAME} visible letters, without slashes"
            raise fail(what, rule, self.name, fix)
        names = tuple(map(as_unicode, self.class_names))
        object.__setattr__(self, "class_names", names)
        for array in _arrays(self):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False

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
        counts = [
            np.bincount(split.labels, minlength=self.num_classes)
            for split in (self.train, self.test)
        ]
        names = [
            f"{name[:50]}: {train} training, {test} test"
            for name, train, test in zip(self.class_names, *counts, strict=True)
        ]
        images, labels = self.train.images, self.train.labels
        rows = class_rows(images, labels, names, columns=5, rows=_SHOWN_CLASSES)
        notes = self.notes
        if len(names) > len(rows):
            notes.append(f"and {len(names) - len(rows)} more classes")
        return html_grid(repr(self), rows, note="; ".join(notes))

    @property
    def notes(self) -> list[str]:
        """What was ignored and left out when the files were read, one phrase each."""
        notes = [f"ignored {one}" for one in self.provenance.get("ignored", ())]
        if left_out := self.provenance.get("left_out"):
            notes.append(f"left out {left_out} files without an image")
        return notes

    @typed
    def show(self, images_per_class: int = 8) -> Image.Image:
        """Return a picture of training images, one row per class, that a notebook shows.

        Args:
            images_per_class: Number of images in a row: the first ones of the class.
        """
        rows = class_rows(
            self.train.images,
            self.train.labels,
            self.class_names,
            columns=check_integer("images_per_class", images_per_class),
            rows=self.num_classes,
        )
        return picture_grid([images for _, images in rows])

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
        for array in _arrays(self):
            digest.update(f"{array.dtype} {array.shape}".encode())
            for piece in pieces(array):
                digest.update(np.ascontiguousarray(array[piece]).data)
        return digest.hexdigest()

    @typed
    def inputs(self, split: SplitName = "train") -> Float[np.ndarray, "n h w ch"]:
        """Return the preprocessed images of a split, read-only, computed once and kept.

        Args:
            split: Name of the split, ``"train"`` or ``"test"``.

        Raises:
            ValueError: Unknown split; images on the disk that would not fit in memory.
        """
        check_one_of("split", split, _SPLITS)
        if split not in self._kept:
            images = getattr(self, split).images
            if isinstance(images, MappedImages):
                what = f"inputs of {len(images)} {split} images"
                check_fits(what, 4 * images.nbytes, _FEWER)
            made = self.preprocessing.apply(images)
            made.flags.writeable = False
            self._kept[split] = made
        return self._kept[split]

    @typed
    def targets(self, split: SplitName = "train") -> Float[np.ndarray, "n c"]:
        """Return centred one-hot targets of a split: 1 - 1/C on the class, else -1/C.

        Args:
            split: Name of the split, ``"train"`` or ``"test"``.

        Raises:
            ValueError: Unknown split; targets that would not fit in memory.
        """
        check_one_of("split", split, _SPLITS)
        labels = getattr(self, split).labels
        what = f"targets of {len(labels)} images and {self.num_classes} classes"
        check_fits(what, 4 * len(labels) * self.num_classes, _FEWER)
        return centred_one_hot(labels, self.num_classes)

    @typed
    def holdout(self, fraction: float, *, seed: int = 0) -> tuple[Dataset, Split]:
        """Return the data set with a smaller training part, and what was held out.

        Args:
            fraction: Fraction of each class to hold out, above 0 and below 1.
            seed: Seed of the draw.

        Returns:
            (dataset, held_out): Preprocessing and test split stay the same objects.

        Raises:
            ValueError: A fraction outside (0, 1), or too few images.
        """
        fix = "Take selection='last' (--selection last), or several images of a class."
        labels = self.train.labels
        kept, held = stratified_split(labels, fraction, seed=seed, fix=fix)
        drawn = {"fraction": float(fraction), "seed": seed, "count": len(held)}
        smaller = dataclasses.replace(
            self,
            train=self.train.take(kept),
            provenance={**self.provenance, "held_out": drawn},
        )
        held_out = self.train.take(held)
        return smaller, Split(np.asarray(held_out.images), held_out.labels)

    @classmethod
    @typed
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
                ``"standardise"``, ``"zca"`` (blocks above 64 pixels), ``"rfad_zca"``,
                ``"mtt_zca"`` or ``"none"``.
            mean: Channel means of pixels in [0, 1]; None measures them.
            std: Channel standard deviations; None measures them.
            test_fraction: Fraction held out when there are no test images.
            seed: Seed of that draw.
            resolution: Side in pixels to crop the centre and resize to.

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
        check_choices(whitening, resolution)
        test = None
        if test_images is not None or test_labels is not None:
            test = _records("test", test_images, test_labels, resolution)
        train = _records("train", train_images, train_labels, resolution)
        names = tuple(map(str, class_names or ()))
        return build(
            name,
            Source(train, test, names, {"source": "arrays"}),
            resolution=resolution,
            whitening=whitening,
            mean=mean,
            std=std,
            test_fraction=test_fraction,
            seed=seed,
        )


def _arrays(data: Dataset) -> list[np.ndarray | MappedImages]:
    splits = (data.train, data.test)
    return [array for split in splits for array in (split.images, split.labels)]


def check_choices(whitening: str | None, resolution: int | None) -> None:
    """Refuse an unknown whitening or an impossible resolution, before anything is read."""
    if whitening is not None:
        check_one_of("whitening", whitening, get_args(Whitening))
    check_resolution(resolution)


def _records(split: str, images: Any, labels: Any, resolution: int | None) -> Records:
    """Return records of arrays; a list of images of several sizes is resized."""
    name, other = f"{split}_images", f"{split}_labels"
    if images is None:
        raise fail(name, f"come with {other}", None)
    if labels is None:
        raise fail(other, f"come with {name}", None)
    if resolution is not None and isinstance(images, list | tuple):
        singles = (as_images(name, [image])[0] for image in images)
        images = np.stack([crop_and_resize(one, resolution) for one in singles])
    return from_arrays(name, images, labels)


def build(
    name: str,
    found: Source,
    *,
    spec: DatasetSpec | None = None,
    limit: int | None = None,
    resolution: int | None = None,
    whitening: Whitening | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Return the data set that a reader found, with the choices of ``load_dataset``.

    ``spec`` is what is known of it, None for data of the user's own.
    """
    facts = {name: fact for name, fact in found.facts.items() if fact}
    train, test = found.train, found.test
    labels, test_labels, class_names = _labels(spec, found)
    indices = np.arange(len(labels))
    if test is None or test_labels is None:
        # Labels are checked before they are split, for the split groups by them.
        check_classes(labels, labels, class_names)
        indices, test_indices = stratified_split(labels, test_fraction, seed=seed)
        test, test_labels = train, labels[test_indices]
        facts["test_split"] = f"{test_fraction:g} of train, seed {seed}"
    else:
        test_indices = np.arange(len(test_labels))
    check_classes(labels[indices], test_labels, class_names)
    facts["train_count"], facts["test_count"] = len(indices), len(test_indices)
    if limit is not None:
        indices = indices[balanced_subset(labels[indices], limit, len(class_names))]
        facts["limit"] = int(limit)
    if spec is not None:
        _check_counts(spec, facts)
        if spec.is_resized:
            resolution = resolution or spec.resolution
        mean = spec.mean if mean is None else mean
        std = spec.std if std is None else std
        whitening = whitening or spec.whitening

    channels = None if spec is None else spec.channels
    images = read_or_map(train, indices, channels, resolution, facts=found.facts)
    shape = images.shape[1:]
    if spec is not None and resolution is None and shape != spec.image_shape:
        side, found_side = spec.resolution, as_text(f"{shape[0]}x{shape[1]}")
        fix = f"Pass resolution={side} to crop the centre and resize."
        raise fail(f"{spec.name} images", f"be {side}x{side}", found_side, fix)
    # An unknown set takes the training images' channels for its test images.
    test_images = test.read(test_indices, shape[2], resolution)
    check_size("training and test images", shape, test_images.shape[1:])
    facts["train_count"], facts["resolution"] = len(indices), list(shape[:2])
    if resolution is not None:
        facts["resize"] = "central square, exact area means"
    return Dataset(
        name=name,
        train=Split(images, labels[indices]),
        test=Split(test_images, test_labels),
        class_names=class_names,
        preprocessing=fit(
            images,
            whitening or "standardise",
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
        ),
        provenance=facts,
    )


def _labels(
    spec: DatasetSpec | None, found: Source
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Return labels as class indices, and the files' own class names, else the known ones."""
    test = None if found.test is None else found.test.labels
    names = found.class_names
    if spec is not None:
        if names and len(names) != spec.num_classes:
            rule = f"have {spec.num_classes} classes"
            in_files = as_text(f"{len(names)} class names in the files")
            fix = "Load it under a name of its own if it is another set."
            raise fail(spec.name, rule, in_files, fix)
        names = names or spec.class_names or tuple(map(str, range(spec.num_classes)))
    return encode_labels(found.train.labels, test, class_names=names)


def _check_counts(spec: DatasetSpec, facts: dict[str, Any]) -> None:
    """Note whether a known set is whole, which it must be when it comes from the Hub."""
    counts = facts["train_count"], facts["test_count"]
    facts["is_whole"] = counts == (spec.train_count, spec.test_count)
    if facts["source"] == "hub" and not facts["is_whole"]:
        rule = f"hold {spec.train_count} training and {spec.test_count} test images"
        fix = "Name another revision as 'name@revision'."
        raise fail(str(spec.hub_id), rule, as_text(f"{counts[0]} and {counts[1]}"), fix)
    if spec.note:
        facts["note"] = spec.note
