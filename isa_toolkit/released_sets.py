"""Distilled sets that other projects released, and exports of our own, read back.

Nothing in a file is executed: msgpack, NPZ without pickles, and PyTorch's own reader of
plain tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from isa_toolkit.annotations import typed
from isa_toolkit.checks import as_text, check_integer, check_one_of, fail, match_name
from isa_toolkit.datasets import DATASETS, Dataset, Preprocessing, load_dataset
from isa_toolkit.datasets.formats import open_archive
from isa_toolkit.datasets.validation import check_file
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import IsaError

ReleasedKind = Literal["frepo", "rcig", "rfad", "dc", "dsa", "npz"]


class _Space(NamedTuple):
    """How a project preprocesses pixels, and what it does with a set.

    whitening: Name of the whitening of colour images; grey ones are standardised.
    std: Channel standard deviations by data set, where they are not those of the data set.
    method: Method of the manifest, which names its protocol.
    network: Size of the network of the distillation.
    """

    whitening: Literal["standardise", "zca", "rfad_zca"]
    std: dict[str, tuple[float, ...]]
    method: dict[str, Any]
    network: dict[str, int]


_WIDE = {"width": 128, "depth": 3}
# Source: docs/algorithms.md, sections 1.1 to 1.3 (preprocessing), 2 (networks) and 7.
_DC_STD = {"cifar10": (0.2023, 0.1994, 0.2010)}
_SPACES = {
    "frepo": _Space("zca", {}, {"name": "frepo", "protocol": "frepo"}, _WIDE),
    # The distilled CIFAR-10 set is trained on with its flipped copies.
    "rcig": _Space(
        "zca", {}, {"name": "rcig", "protocol": "rcig", "flips": True}, _WIDE
    ),
    "rfad": _Space("rfad_zca", {}, {"name": "rfad", "protocol": "rfad"}, {"depth": 3}),
    "dc": _Space("standardise", _DC_STD, {"name": "dc", "protocol": "dc"}, _WIDE),
    "dsa": _Space("standardise", _DC_STD, {"name": "dsa", "protocol": "dsa"}, _WIDE),
}


class _Arrays(NamedTuple):
    """What a file holds: images [m, h, w, ch], labels [m] or [m, c], learned numbers."""

    images: np.ndarray
    labels: np.ndarray
    learned: dict[str, float]


@typed
def import_distilled(
    path: str | Path,
    *,
    kind: ReleasedKind,
    dataset: Dataset | str,
    root: str | Path | None = None,
    index: int = 0,
) -> DistilledSet:
    """Return a distilled set from a file of another project, or from an export.

    The set carries the space of its images (normalisation and whitening) and its method,
    so that ``evaluate`` loads the real images in the same way and
    ``protocol="published"`` is the protocol of that project.

    Args:
        path: Path of the file.
        kind: Origin of the file: ``"frepo"`` or ``"rcig"`` (a Flax checkpoint in msgpack),
            ``"rfad"`` (its ``best.npz``), ``"dc"`` or ``"dsa"`` (of DC, and of DSA or DM:
            the ``.pt`` that they write, which needs PyTorch, or its ``images`` and
            ``labels`` as NPZ) or ``"npz"`` (``DistilledSet.export(kind="npz")``; or
            ``images``, as pixels, and ``labels``).
        dataset: Data set, or the name of a known one.
        root: Path of the files of a data set given by name. Whitened images need them,
            since the whitening is fitted on the training images.
        index: Index of the set in a file of several.

    Raises:
        FileNotFoundError: There is no such file.
        ModuleNotFoundError: A ``.pt`` file without PyTorch; the sentence says how to
            convert it.
        InvalidValueError: The file is not of this kind, or does not fit the data set.

    Example:
        >>> import tempfile
        >>> import isa_toolkit as isa
        >>> digits = isa.load_dataset("digits")
        >>> few = isa.evaluation.random_real(digits, images_per_class=1)
        >>> path = few.export(tempfile.mkdtemp() + "/few.npz", kind="npz")
        >>> isa.import_distilled(path, kind="npz", dataset=digits)
        DistilledSet(10 images of 8x8x1, 10 classes, random_real)

    Source: docs/algorithms.md, sections 1 and 7.
    """
    check_one_of("kind", kind, get_args(ReleasedKind))
    check_integer("index", index, minimum=0)
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    check_file(path)
    try:
        found = _READERS[kind](path, index)
    except (IsaError, ModuleNotFoundError, MemoryError):
        raise
    except Exception as error:
        # Whatever msgpack, NumPy and PyTorch raise for a damaged file.
        reason = as_text(f"{path.name} ({type(error).__name__}: {error})")
        raise fail("path", f"be a file of kind {kind!r}", reason) from error
    if isinstance(found, DistilledSet):
        return found
    preprocessing, names, name = _space_of(kind, dataset, root)
    if found.images.shape[1:] != tuple(preprocessing.image_shape):
        rule = f"have the shape {tuple(preprocessing.image_shape)} of {name!r}"
        raise fail(f"the images in {path.name}", rule, found.images.shape[1:])
    manifest = {
        "imported": {
            "file": path.name,
            "kind": kind,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
        "experiment": {"dataset": {"name": name}},
    }
    make = DistilledSet.from_pixels
    if kind != "npz":
        make, space = DistilledSet.from_inputs, _SPACES[kind]
        manifest["experiment"]["method"] = space.method
        manifest |= {"network": space.network, "learned": found.learned}
    return make(
        found.images, found.labels,
        preprocessing=preprocessing, class_names=names, manifest=manifest,
    )  # fmt: skip


def loading_options(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``load_dataset`` that preprocess as a summary says."""
    if "zca" not in preprocessing:
        return {}
    mean, std = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
    whitening = preprocessing["zca"]["kind"].removeprefix("block ")
    if whitening == "none" and set(mean) == {0.0} and set(std) == {1.0}:
        return {"whitening": "none"}
    whitening = "standardise" if whitening == "none" else whitening
    return {"whitening": whitening, "mean": mean, "std": std}


def _space_of(
    kind: str, dataset: Dataset | str, root: str | Path | None
) -> tuple[Preprocessing, tuple[str, ...], str]:
    """Return preprocessing, class names and name of the data set of an imported set."""
    if not isinstance(dataset, Dataset):
        spec = DATASETS[match_name("dataset", dataset, DATASETS)]
        options: dict[str, Any] = {}
        if kind in _SPACES:
            space = _SPACES[kind]
            std = space.std.get(spec.name, spec.std)
            is_plain = "standardise" in (spec.whitening, space.whitening)
            if is_plain and spec.mean is not None and std is not None:
                plain = Preprocessing(
                    mean=spec.mean, std=std, image_shape=spec.image_shape
                )
                names = spec.class_names or tuple(map(str, range(spec.num_classes)))
                return plain, names, spec.name
            options = {"whitening": space.whitening, "std": std}
        dataset = load_dataset(spec.name, root=root, **options)
    return dataset.preprocessing, dataset.class_names, dataset.name


def _read_checkpoint(path: Path, index: int) -> _Arrays:
    """Read the images of a Flax checkpoint: averaged ones where it has them."""
    from flax.serialization import msgpack_restore

    tree: Any = msgpack_restore(path.read_bytes())
    for name in ("ema_average", "params"):
        part = tree.get(name) or {}
        if "x_proto" in part and "y_proto" in part:
            learned = {k: float(v) for k, v in part.items() if np.ndim(v) == 0}
            return _Arrays(_one(part["x_proto"], index, 4), part["y_proto"], learned)
    raise KeyError("x_proto, y_proto")


def _read_rfad(path: Path, index: int) -> _Arrays:
    with open_archive(path) as arrays:
        images = _one(arrays["images"], index, 4).transpose(0, 2, 3, 1)
        learned = {"platt_scale": float(arrays["k"])} if "k" in arrays else {}
        return _Arrays(images, arrays["labels"], learned)


def _read_dc(path: Path, index: int) -> _Arrays:
    if path.suffix == ".npz":
        with open_archive(path) as arrays:
            images, labels = arrays["images"], arrays["labels"]
        return _Arrays(_one(images, index, 4), _one(labels, index, 1), {})
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path.name} needs PyTorch, which is not installed. Install it, or convert the "
            "file where it is: images, labels = torch.load(FILE, weights_only=True)"
            "['data'][0]; numpy.savez('set.npz', images=images.permute(0, 2, 3, 1), "
            "labels=labels).",
            name="torch",
        ) from error
    from pickle import UnpicklingError

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError("it holds more than plain tensors") from error
    sets = content["data"]
    if index >= len(sets):
        raise fail("index", f"be below {len(sets)}, the number of sets", index)
    images, labels = (np.asarray(one) for one in sets[index])
    return _Arrays(images.transpose(0, 2, 3, 1), labels, {})


def _read_npz(path: Path, index: int) -> _Arrays | DistilledSet:
    with open_archive(path) as arrays:
        if "about" not in arrays:
            images = _one(arrays["images"], index, 4)
            return _Arrays(images, _one(arrays["labels"], index, 2), {})
        about = json.loads(str(arrays["about"]))
        about["class_names"] = tuple(about["class_names"])
        parts = {name: arrays[name] for name in ("images", "labels", "pixels")}
    return DistilledSet(**parts, **about)


def _one(array: np.ndarray, index: int, most: int) -> np.ndarray:
    """Return the set of an index from an array that may have a leading axis over sets."""
    if array.ndim <= most:
        if index:
            raise fail("index", "be 0 for a file of one set", index)
        return array
    if index >= len(array):
        raise fail("index", f"be below {len(array)}, the number of sets", index)
    return array[index]


_READERS = {
    "frepo": _read_checkpoint,
    "rcig": _read_checkpoint,
    "rfad": _read_rfad,
    "dc": _read_dc,
    "dsa": _read_dc,
    "npz": _read_npz,
}
