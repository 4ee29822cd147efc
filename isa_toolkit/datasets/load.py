"""``load_dataset``: a name and perhaps a folder become a checked, preprocessed Dataset.

Reading is left to the readers, pixels to the preprocessing; this file decides the
order: labels first, then the split and the limit, and only then images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isa_toolkit.checks import as_text, check_integer, check_one_of, fail
from isa_toolkit.datasets import preprocessing as pixels
from isa_toolkit.datasets.dataset import Dataset
from isa_toolkit.datasets.decode_cache import read_or_map
from isa_toolkit.datasets.digits import read_digits
from isa_toolkit.datasets.formats import read_local
from isa_toolkit.datasets.hub import read_hub
from isa_toolkit.datasets.records import Source
from isa_toolkit.datasets.registry import DATASETS, DatasetSpec
from isa_toolkit.datasets.validation import (
    Split,
    balanced_subset,
    check_classes,
    stratified_split,
)

__all__ = ["SOURCES", "load_dataset"]

SOURCES = ("digits", "hub", "local")
"""Where a data set can come from."""

_TEST_FRACTION = 0.2
_SPLIT_SEED = 0


def load_dataset(
    name: str,
    *,
    source: str | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    resolution: int | None = None,
) -> Dataset:
    """Return a data set, ready to be distilled.

    Args:
        name: one of :data:`~isa_toolkit.datasets.DATASETS`, or any name for data of
            one's own in ``root``. ``"cifar10@<commit or branch>"`` reads another
            revision from the Hub than the pinned one.
        source: ``"digits"`` (inside scikit-learn), ``"local"`` (files in ``root``) or
            ``"hub"`` (the Hugging Face Hub, at a pinned commit). None chooses digits
            for ``"digits"``, local files if ``root`` is given, otherwise the Hub.
        root: file or folder: parquet shards in the Hub's form, the four IDX files of
            MNIST, an ``.npz``, or class folders of PNG or JPEG.
        limit: at most this many training images, evenly over classes, the first ones of
            each; preprocessing is fitted on those. None takes all.
        resolution: side in pixels to crop the centre and resize to (exact area means);
            None takes the known set's own, or the files' as they are.

    Returns:
        The data set. Known sets use their published channel constants and whitening;
        others are standardised with measured constants. Without test files, a fifth of
        each class is held out (seed 0), which the provenance says. Training images that
        would take more than 4 GiB are decoded once into a file of the cache folder and
        stay there.

    Raises:
        ImportError: ``source="hub"`` without ``huggingface_hub``.
        TypeError: ``limit`` or ``resolution`` is not a whole number.
        ValueError: unknown name or source, nothing readable in ``root``, damaged files,
            images of several sizes, labels out of range, a class without images.

    Example:
        >>> data = load_dataset("digits")
        >>> data.image_shape, len(data.train.labels), len(data.test.labels)
        ((8, 8, 1), 1438, 359)
    """
    base, _, revision = str(name).partition("@")
    spec = DATASETS.get(base)
    if source is None:
        source = (
            "local" if root is not None else "digits" if base == "digits" else "hub"
        )
    check_one_of("source", source, SOURCES)
    if source != "local" and spec is None:
        known = ", ".join(map(repr, DATASETS))
        raise fail(
            "name", f"be one of {known}", base, "For data of your own, pass root."
        )
    if (source == "digits") != (base == "digits"):
        fitting = "digits" if base == "digits" else "local' or 'hub"
        raise fail("source", f"be '{fitting}' for {base!r}", source)
    if (root is None) == (source == "local"):
        rule = "be a file or folder" if source == "local" else "be left out"
        raise fail("root", f"{rule} for source {source!r}", root)
    if revision and source != "hub":
        raise fail("name", "carry a revision for source 'hub' only", name)
    if resolution is not None:
        resolution = check_integer("resolution", resolution)

    if source == "digits":
        found = read_digits()
    elif source == "hub" and spec is not None:
        found = read_hub(spec, revision or None)
    else:
        found = read_local(root or "", spec)
    return _build(base, spec, found, limit, resolution)


def _build(
    name: str,
    spec: DatasetSpec | None,
    found: Source,
    limit: int | None,
    resolution: int | None,
) -> Dataset:
    facts = dict(found.facts)
    class_names = _class_names(spec, found)
    records = found.train
    indices = np.arange(len(records.labels))
    if found.test is None:
        # Labels are checked before they are split, for the split groups by them.
        check_classes(records.labels, records.labels, class_names)
        indices, held = stratified_split(
            records.labels, _TEST_FRACTION, seed=_SPLIT_SEED
        )
        test_records, test_indices = records, held
        facts["test_split"] = f"{_TEST_FRACTION:g} of train, seed {_SPLIT_SEED}"
    else:
        test_records = found.test
        test_indices = np.arange(len(test_records.labels))
    test_labels = test_records.labels[test_indices]
    check_classes(records.labels[indices], test_labels, class_names)
    _check_counts(spec, facts, len(indices), len(test_indices))
    if limit is not None:
        labels = records.labels[indices]
        indices = indices[balanced_subset(labels, limit, len(class_names))]
        facts["limit"] = int(limit)

    if resolution is None and spec is not None and spec.is_resized:
        resolution = spec.resolution
    channels = None if spec is None else spec.channels
    train_images = read_or_map(records, indices, channels, resolution, facts=facts)
    _check_shape(spec, train_images.shape[1:], resolution)
    # An unknown set takes the training images' channels for its test images.
    test_images = test_records.read(test_indices, train_images.shape[3], resolution)
    if test_images.shape[1:] != train_images.shape[1:]:
        sizes = [
            "x".join(map(str, images.shape[1:3]))
            for images in (train_images, test_images)
        ]
        raise fail(
            "test images",
            "have the size of the training images",
            as_text(f"{sizes[0]} and {sizes[1]}"),
            "Pass resolution to crop the centre and resize.",
        )
    fitted = pixels.fit(
        train_images,
        "standardise" if spec is None else spec.whitening,
        mean=None if spec is None else spec.mean,
        std=None if spec is None else spec.std,
    )
    facts["train_count"], facts["test_count"] = len(indices), len(test_indices)
    facts["resolution"] = list(train_images.shape[1:3])
    if resolution is not None:
        facts["resize"] = "central square, exact area means"
    if spec is not None and spec.note:
        facts["note"] = spec.note
    return Dataset(
        name=name,
        train=Split(train_images, records.labels[indices]),
        test=Split(test_images, test_labels),
        class_names=class_names,
        preprocessing=fitted,
        provenance=facts,
    )


def _class_names(spec: DatasetSpec | None, found: Source) -> tuple[str, ...]:
    """Return the files' own names (they fit the files' labels), else the known ones."""
    labels = found.train.labels
    if spec is None:
        if labels.min() < 0:
            raise fail("train_labels", "be at least 0", int(labels.min()))
        return found.class_names or tuple(map(str, range(labels.max() + 1)))
    if found.class_names and len(found.class_names) != spec.num_classes:
        raise fail(
            f"{spec.name}",
            f"have {spec.num_classes} classes",
            as_text(f"{len(found.class_names)} class names in the files"),
            "Load it under a name of its own if it is another set.",
        )
    return (
        found.class_names
        or spec.class_names
        or tuple(map(str, range(spec.num_classes)))
    )


def _check_counts(
    spec: DatasetSpec | None, facts: dict[str, object], train: int, test: int
) -> None:
    if spec is None:
        return
    is_whole = (train, test) == (spec.train_count, spec.test_count)
    facts["is_whole"] = is_whole
    if facts["source"] == "hub" and not is_whole:
        raise fail(
            f"{spec.hub_id}",
            f"hold {spec.train_count} training and {spec.test_count} test images",
            as_text(f"{train} and {test}"),
            "Name another revision as 'name@revision'.",
        )


def _check_shape(
    spec: DatasetSpec | None, shape: tuple[int, ...], resolution: int | None
) -> None:
    if spec is None or resolution is not None or shape == spec.image_shape:
        return
    side = spec.resolution
    raise fail(
        f"{spec.name} images",
        f"be {side}x{side}",
        as_text(f"{shape[0]}x{shape[1]}"),
        f"Pass resolution={side} to crop the centre and resize.",
    )
