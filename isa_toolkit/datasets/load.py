"""``load_dataset``: a name and perhaps a folder become a checked, preprocessed Dataset.

Reading is left to the readers, pixels to the preprocessing; this file decides the
order: labels first, then the split and the limit, and only then images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isa_toolkit.checks import as_text, check_integer, check_one_of, fail, match_name
from isa_toolkit.datasets import preprocessing as pixels
from isa_toolkit.datasets.dataset import Dataset
from isa_toolkit.datasets.decode_cache import read_or_map
from isa_toolkit.datasets.formats import parquet_source, read_local
from isa_toolkit.datasets.readers import Source, download, from_arrays
from isa_toolkit.datasets.registry import DATASETS, DatasetSpec, Whitening
from isa_toolkit.datasets.validation import (
    Split,
    balanced_subset,
    check_classes,
    encode_labels,
    stratified_split,
)
from isa_toolkit.errors import InvalidTypeError

__all__ = ["load_dataset"]

_SOURCES = ("digits", "hub", "local")
_TEST_FRACTION = 0.2
_SPLIT_SEED = 0


def load_dataset(
    name: str,
    *,
    source: Literal["digits", "hub", "local"] | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    resolution: int | None = None,
    whitening: Whitening | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """Return a data set, ready to be distilled.

    Args:
        name: Name of a data set of :data:`~isa_toolkit.datasets.DATASETS` (``"CIFAR-10"``
            and ``"cifar10"`` are the same), any name for data of one's own in ``root``, or
            a repository ``"owner/name"`` of parquet files on the Hugging Face Hub.
            ``"cifar10@<commit or branch>"`` reads another revision than the pinned one.
        source: Origin of the data: ``"digits"`` (inside scikit-learn), ``"local"`` (files
            in ``root``) or ``"hub"`` (the Hugging Face Hub). None chooses digits for
            ``"digits"``, local files if ``root`` is given, otherwise the Hub.
        root: Path of a file or folder: parquet files in the Hub's form, the four IDX files
            of MNIST, an ``.npz`` with ``train_images`` and ``train_labels`` (and perhaps
            ``test_images`` and ``test_labels``), class folders of images, or images with a
            table ``labels.csv``.
        limit: Largest number of training images, evenly over classes, the first ones of
            each; preprocessing is fitted on those. None takes all.
        resolution: Side in pixels to crop the centre and resize to (exact area means);
            None takes the known set's own, or the files' as they are.
        whitening: Preprocessing of the pixels: ``"standardise"``, ``"zca"`` or ``"none"``;
            None takes the published one, or ``"standardise"`` for data of one's own.
        mean: Channel means of pixels in [0, 1]; None takes the published ones, or measures
            them.
        std: Channel standard deviations of pixels in [0, 1], likewise.

    Returns:
        The data set. Without test files, a fifth of each class is held out (seed 0). What
        was read, held out, ignored and left out is in its provenance. Training images that
        take more than 4 GiB are decoded once into a file of the cache folder and stay
        there.

    Raises:
        TypeError: ``limit`` or ``resolution`` is not a whole number, ``root`` no path.
        ValueError: Unknown name or source, nothing readable in ``root``, damaged files,
            images of several sizes, labels out of range, a class without images.

    Example:
        >>> data = load_dataset("digits")
        >>> data
        Dataset('digits': 1438 training and 359 test images of 8x8x1, 10 classes, standardised)
        >>> len(data), data.train.shape, data.class_names[:3]
        (1438, (1438, 8, 8, 1), ('0', '1', '2'))
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"name must be the name of a data set, got {name!r}.")
    base, _, revision = name.partition("@")
    is_repository = root is None and base.count("/") == 1 and source in (None, "hub")
    spec = _known(
        base, is_required=source != "local" and root is None and not is_repository
    )
    base = base if spec is None else spec.name
    if source is None:
        source = (
            "local" if root is not None else "digits" if base == "digits" else "hub"
        )
    check_one_of("source", source, _SOURCES)
    if source != "digits" and base == "digits":
        fix = "Name other data (--dataset on the command line)."
        raise fail("source", "be 'digits' for 'digits'", source, fix)
    if source == "digits" and base != "digits":
        raise fail("source", f"be 'local' or 'hub' for {base!r}", source)
    if (root is None) == (source == "local"):
        rule = "be a file or folder" if source == "local" else "be left out"
        raise fail("root", f"{rule} for source {source!r}", root)
    if revision and source != "hub":
        raise fail("name", "carry a revision for source 'hub' only", name)
    if resolution is not None:
        resolution = check_integer("resolution", resolution)
    if whitening is None:
        whitening = "standardise" if spec is None else spec.whitening
    check_one_of("whitening", whitening, pixels.WHITENINGS)

    if source == "digits":
        found = _read_digits()
    elif source == "hub":
        found = _read_hub(spec, base, revision or None)
    else:
        found = read_local(root or "", spec)
    published = (None, None) if spec is None else (spec.mean, spec.std)
    base = base.rpartition("/")[2] if source == "hub" else base
    data = _build(base, spec, found, limit, resolution)
    fitted = pixels.fit(
        data["train"].images,
        whitening,
        mean=published[0] if mean is None else tuple(mean),
        std=published[1] if std is None else tuple(std),
    )
    return Dataset(**data, preprocessing=fitted)


def _known(name: str, *, is_required: bool) -> DatasetSpec | None:
    fix = "For data of your own, pass root."
    if is_required:
        return DATASETS[match_name("name", name, DATASETS, fix=fix)]
    try:
        return DATASETS[match_name("name", name, DATASETS)]
    except ValueError:
        return None


def _read_digits() -> Source:
    """Return scikit-learn's 1,797 real handwritten digits, 8x8 grey, all as training records.

    Intensities 0..16 become uint8 by rounding x * 255 / 16.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
    (1998), the test part, as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    names = tuple(map(str, digits.target_names))
    facts = {"source": "digits", "files": ["sklearn.datasets.load_digits"]}
    return Source(from_arrays("digits", images, digits.target), None, names, facts)


def _read_hub(spec: DatasetSpec | None, name: str, revision: str | None) -> Source:
    """Return a data set of the Hub; only its parquet files are fetched."""
    if spec is not None and spec.hub_id is None:
        listed = ", ".join(one for one, known in DATASETS.items() if known.hub_id)
        raise fail(
            "name",
            f"be a set known on the Hub ({listed})",
            spec.name,
            "Pass root to read local files.",
        )
    repository = name if spec is None else str(spec.hub_id)
    wanted = revision or ("main" if spec is None else spec.hub_revision)
    patterns = ["*.parquet"] if spec is None else [spec.hub_train, spec.hub_test]
    folder, commit, files = download(repository, wanted, patterns)
    facts = {
        "source": "hub",
        "hub_id": repository,
        "requested_revision": wanted,
        "revision": commit,
    }
    if spec is None:
        found = read_local(folder)
        return found._replace(facts={**found.facts, **facts, "root": str(folder)})
    return parquet_source(files[0], [files[1]], folder, spec, facts)


def _build(
    name: str,
    spec: DatasetSpec | None,
    found: Source,
    limit: int | None,
    resolution: int | None,
) -> dict[str, Any]:
    """Return the fields of the data set but for its preprocessing."""
    facts = dict(found.facts)
    records, test_records = found.train, found.test
    labels, test_labels, class_names = _labels(spec, found)
    indices = np.arange(len(labels))
    if test_records is None or test_labels is None:
        # Labels are checked before they are split, for the split groups by them.
        check_classes(labels, labels, class_names)
        indices, test_indices = stratified_split(
            labels, _TEST_FRACTION, seed=_SPLIT_SEED
        )
        test_records, test_labels = records, labels[test_indices]
        facts["test_split"] = f"{_TEST_FRACTION:g} of train, seed {_SPLIT_SEED}"
    else:
        test_indices = np.arange(len(test_labels))
    check_classes(labels[indices], test_labels, class_names)
    _check_counts(spec, facts, len(indices), len(test_indices))
    if limit is not None:
        indices = indices[balanced_subset(labels[indices], limit, len(class_names))]
        facts["limit"] = int(limit)

    if resolution is None and spec is not None and spec.is_resized:
        resolution = spec.resolution
    channels = None if spec is None else spec.channels
    images = read_or_map(records, indices, channels, resolution, facts=facts)
    shape = images.shape[1:]
    if spec is not None and resolution is None and shape != spec.image_shape:
        side = spec.resolution
        raise fail(
            f"{spec.name} images",
            f"be {side}x{side}",
            as_text(f"{shape[0]}x{shape[1]}"),
            f"Pass resolution={side} to crop the centre and resize.",
        )
    # An unknown set takes the training images' channels for its test images.
    test_images = test_records.read(test_indices, shape[2], resolution)
    if test_images.shape[1:] != shape:
        sizes = ["x".join(map(str, one[:2])) for one in (shape, test_images.shape[1:])]
        raise fail(
            "test images",
            "have the size of the training images",
            as_text(f"{sizes[0]} and {sizes[1]}"),
            "Pass resolution to crop the centre and resize.",
        )
    facts["train_count"], facts["test_count"] = len(indices), len(test_indices)
    facts["resolution"] = list(shape[:2])
    if resolution is not None:
        facts["resize"] = "central square, exact area means"
    if spec is not None and spec.note:
        facts["note"] = spec.note
    return {
        "name": name,
        "train": Split(images, labels[indices]),
        "test": Split(test_images, test_labels),
        "class_names": class_names,
        "provenance": facts,
    }


def _labels(
    spec: DatasetSpec | None, found: Source
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Return labels as class indices, and the files' own class names, else the known ones."""
    test = None if found.test is None else found.test.labels
    names = found.class_names
    if spec is not None:
        if names and len(names) != spec.num_classes:
            raise fail(
                f"{spec.name}",
                f"have {spec.num_classes} classes",
                as_text(f"{len(names)} class names in the files"),
                "Load it under a name of its own if it is another set.",
            )
        names = names or spec.class_names or tuple(map(str, range(spec.num_classes)))
    return encode_labels(found.train.labels, test, class_names=names)


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
