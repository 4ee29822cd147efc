"""``load_dataset``: a name and perhaps a folder become a checked, preprocessed Dataset."""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, check_one_of, fail, match_name
from isa_toolkit.datasets.dataset import Dataset, build, check_choices
from isa_toolkit.datasets.formats import parquet_source, read_local
from isa_toolkit.datasets.readers import Source, from_arrays
from isa_toolkit.datasets.registry import DATASETS, DatasetSpec, Whitening
from isa_toolkit.errors import InvalidTypeError

_SOURCES = ("digits", "hub", "local")


@typed
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
        whitening: Preprocessing of the pixels: ``"standardise"``, ``"zca"`` (FRePo, ISA,
            RCIG), ``"rfad_zca"``, ``"mtt_zca"`` or ``"none"``; None takes the published
            one, or ``"standardise"`` for data of one's own.
        mean: Channel means of pixels in [0, 1]; None takes the published ones, or measures
            them.
        std: Channel standard deviations of pixels in [0, 1], likewise.

    Returns:
        The data set. Without test files, a fifth of each class is held out (seed 0). What
        was read, held out, ignored and left out is in its provenance. Training images that
        take more than 4 GiB are decoded once into a file of the cache folder and stay
        there. :mod:`isa_toolkit.environment` lists the limits, and how to set them.

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
    try:
        known = match_name(
            "name", base, DATASETS, fix="For data of your own, pass root."
        )
    except ValueError:
        if source != "local" and root is None and not is_repository:
            raise
        spec = None
    else:
        spec, base = DATASETS[known], known
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
    check_choices(whitening, resolution)

    if source == "digits":
        found = _read_digits()
    elif source == "hub":
        found = _read_hub(spec, base, revision or None)
    else:
        found = read_local(root or "", spec)
    return build(
        base.rpartition("/")[2] if source == "hub" else base,
        found,
        spec=spec,
        limit=limit,
        resolution=resolution,
        whitening=whitening,
        mean=mean,
        std=std,
    )


def _read_digits() -> Source:
    """Return scikit-learn's 1,797 real handwritten digits, 8x8 grey, all as training records.

    Intensities 0..16 become uint8 by rounding x * 255 / 16.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
    (1998), the test part, as scikit-learn ships it.
    """
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    # The file that load_digits reads: to import scikit-learn takes a second.
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, delimiter=",")
    images = np.rint(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = rows[:, -1].astype(int)
    names = tuple(map(str, range(10)))
    facts = {"source": "digits", "files": ["sklearn.datasets.load_digits"]}
    return Source(from_arrays("digits", images, labels), None, names, facts)


def _is_offline(address: str) -> bool:
    """Return whether a host has no address here, so that no retry would reach it."""
    if urllib.request.getproxies():
        return False  # the proxy knows addresses
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(address).hostname, None)
    except OSError:
        return True
    return False


def _read_hub(spec: DatasetSpec | None, name: str, revision: str | None) -> Source:
    """Return a data set of the Hub; only its parquet files are fetched, once.

    ``huggingface_hub`` decides where files are kept and whether the network may be used
    (``HF_HOME``, ``HF_HUB_OFFLINE``).
    """
    import huggingface_hub

    if spec is not None and spec.hub_id is None:
        listed = ", ".join(one for one, known in DATASETS.items() if known.hub_id)
        rule = f"be a set known on the Hub ({listed})"
        raise fail("name", rule, spec.name, "Pass root to read local files.")
    repository = name if spec is None else str(spec.hub_id)
    wanted = revision or ("main" if spec is None else spec.hub_revision)
    patterns = ["*.parquet"] if spec is None else [spec.hub_train, spec.hub_test]
    described = f"{repository} at revision {wanted}"
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository,
            repo_type="dataset",
            revision=wanted,
            allow_patterns=patterns,
            local_files_only=_is_offline(huggingface_hub.constants.ENDPOINT),
        )
    # Every error of the client (offline, no such revision, time out) is an OSError or
    # a ValueError, whichever HTTP library is under it.
    except (OSError, ValueError) as error:
        rule = "be reachable on the Hub or complete in its cache"
        fix = (
            "Check the network and HF_HUB_OFFLINE, "
            f"try '{repository}@main', or pass root to read local files."
        )
        raise fail(described, rule, as_text(type(error).__name__), fix) from error
    folder = Path(snapshot)
    # The folder may hold files that an earlier call asked for: take what is asked for now.
    files = [sorted(folder.rglob(pattern)) for pattern in patterns]
    if not all(files):
        found = as_text(f"{' and '.join(str(len(some)) for some in files)} files")
        fix = "Name another revision as 'name@revision', or pass root."
        raise fail(described, f"hold {' and '.join(patterns)}", found, fix)
    facts = {
        "source": "hub",
        "hub_id": repository,
        "requested_revision": wanted,
        "revision": folder.name,  # the cache names a snapshot's folder by its commit
    }
    if spec is None:
        local = read_local(folder)
        return local._replace(facts={**local.facts, **facts, "root": str(folder)})
    return parquet_source(files[0], [files[1]], folder, spec, facts)
