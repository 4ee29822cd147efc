"""Data that a method makes once: written shard by shard, shared by every run that fits.

A folder is named by the hash of everything its numbers depend on. A shard is a
safetensors file that is there whole or not at all, so making them can be stopped and gone
on with at any time.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from isa_toolkit import checks
from isa_toolkit.distillation.experiment import ResolvedExperiment
from isa_toolkit.files import write_atomically, write_json
from isa_toolkit.methods.base import Shards
from isa_toolkit.networks import build

__all__ = [
    "LIMIT_BYTES",
    "gathered",
    "shards_bar",
    "shards_folder",
    "wanted_shards",
]

# Ours: 100 published experts of CIFAR-10 are 6.5 GB, of Tiny-ImageNet 17 GB.
LIMIT_BYTES = 32 * 2**30
_POLL_S = 0.2


def shards_folder(shards: Shards, out: Path) -> Path:
    """Return where shards lie: ``<out>/shared/<kind>-<hash of the description>``."""
    text = json.dumps(shards.description, sort_keys=True)
    return out / "shared" / f"{shards.kind}-{_hash(text)}"


def wanted_shards(
    resolved: ResolvedExperiment, *, limit_bytes: int = LIMIT_BYTES
) -> Shards | None:
    """Return what an experiment's method has to make first, or None.

    Args:
        resolved: the experiment.
        limit_bytes: most that all shards together may take.

    Raises:
        ValueError: they would take more; nothing has been made or written then.
    """
    checks.check_integer("shards_limit_bytes", limit_bytes, minimum=0)
    settings, data = resolved.settings, resolved.train
    network = build(
        resolved.network,
        image_shape=data.image_shape,
        num_classes=data.num_classes,
    )
    make = settings.method.build(network).shards
    if make is None:
        return None
    shards = make(data.inputs("train"), data.train.labels)
    size = sum(shards.sizes)
    if size > limit_bytes:
        raise checks.fail(
            f"the size of the {shards.kind}",
            f"be at most shards_limit_bytes = {limit_bytes:,}",
            checks.as_text(f"{size:,} bytes"),
            "Make fewer or smaller ones, or raise shards_limit_bytes.",
        )
    return shards


def gathered(
    shards: Shards,
    out: Path,
    *,
    tell: Callable[[], None] = lambda: None,
    heed: Callable[[], None] = lambda: None,
) -> PyTree:
    """Return what the shards hold together; those that are missing are made first.

    Processes that want the same shards divide them: each is made by one of them.

    Args:
        shards: what is wanted.
        out: folder that holds run folders.
        tell: called after each shard.
        heed: called every few seconds; what it raises ends this, with whole shards kept.

    Returns:
        ``shards.gather`` of all shards.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = shards_folder(shards, out)
    loaded: dict[int, dict[str, np.ndarray]] = {}
    missing = list(range(len(shards.sizes)))
    while missing:
        for index in missing:
            arrays = _read_or_make(shards, index, folder, heed)
            if arrays is None:
                continue
            loaded[index] = arrays
            tell()
            heed()
        left = [index for index in missing if index not in loaded]
        if left == missing:  # others make them
            time.sleep(_POLL_S)
            heed()
        missing = left
    return shards.gather([loaded[index] for index in sorted(loaded)])


def _read_or_make(
    shards: Shards, index: int, folder: Path, heed: Callable[[], None]
) -> dict[str, np.ndarray] | None:
    """Return a shard, or None while another process makes it."""
    from filelock import FileLock, Timeout

    path = folder / f"{index:04d}.safetensors"
    arrays = _read(path)
    if arrays is not None:
        return arrays
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f".{index:04d}.lock"
    try:
        with FileLock(lock, blocking=False):
            # Made since we looked, or damaged as before.
            arrays = _read(path, warn=False)
            if arrays is None:
                if not (folder / "description.json").exists():
                    write_json(folder / "description.json", shards.description)
                arrays = shards.make(index, heed)
                _write(path, arrays)
            return arrays
    except Timeout:
        return None


@contextmanager
def shards_bar(shards: Shards, progress: bool | None) -> Iterator[Callable[[], None]]:
    """Show a progress bar over shards; the value is to be called after each one.

    Args:
        shards: what is made.
        progress: show it; None: only on a terminal or in a notebook.
    """
    import tqdm.auto

    disable = None if progress is None else not progress
    with tqdm.auto.tqdm(
        total=len(shards.sizes), desc=shards.kind, unit="shard", disable=disable
    ) as bar:

        def tell() -> None:
            bar.update()

        yield tell


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    # It writes memory as it lies, whatever the strides.
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_atomically(path, save(whole))


def _read(path: Path, *, warn: bool = True) -> dict[str, np.ndarray] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        return None
    try:
        return load_file(path)
    except SafetensorError:
        if warn:
            warnings.warn(
                f"The file {path} is damaged; it is made again.",
                RuntimeWarning,
                stacklevel=3,
            )
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
