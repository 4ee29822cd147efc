"""The Hugging Face Hub: pinned parquet files, through its own client and cache."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from isa_toolkit.checks import as_text, fail
from isa_toolkit.datasets.formats import parquet_source
from isa_toolkit.datasets.records import Source
from isa_toolkit.datasets.registry import DATASETS, DatasetSpec

__all__ = ["read_hub"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def read_hub(spec: DatasetSpec, revision: str | None = None) -> Source:
    """Return a data set of the Hub, downloaded once and then read from the cache.

    ``huggingface_hub`` decides where the cache lies and whether the network may be
    used (``HF_HOME``, ``HF_HUB_OFFLINE``); only parquet files are fetched and no code
    of the repository is run.

    Args:
        spec: a catalogue entry with a ``hub_id``.
        revision: commit, tag or branch; None is the commit the catalogue pins. The
            commit that was read is recorded in the provenance either way.

    Returns:
        Its splits, with labels read and images not yet decoded.

    Raises:
        ImportError: ``huggingface_hub`` is not installed.
        ValueError: the set is not on the Hub, or nothing could be fetched.
    """
    if spec.hub_id is None:
        listed = ", ".join(name for name, one in DATASETS.items() if one.hub_id)
        raise fail(
            "name",
            f"be a set known on the Hub ({listed})",
            spec.name,
            "Pass root to read local files.",
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "huggingface_hub must be installed for source 'hub'. "
            "Run pip install 'isa-toolkit[hub]', or pass root to read local files."
        ) from error
    wanted = revision or spec.hub_revision
    patterns = [spec.hub_train, spec.hub_test]
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                spec.hub_id,
                repo_type="dataset",
                revision=wanted,
                allow_patterns=patterns,
            )
        )
    # Every error of the client (offline, no such revision, time out) is an OSError or
    # a ValueError, whichever HTTP library is under it.
    except (OSError, ValueError) as error:
        raise fail(
            f"{spec.hub_id} at revision {wanted}",
            "be reachable on the Hub or complete in its cache",
            as_text(type(error).__name__),
            "Check the network and HF_HUB_OFFLINE, "
            f"try '{spec.name}@main', or pass root to read local files.",
        ) from error
    # Other revisions' leftovers may lie beside: take what the patterns name.
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    train, test = (
        [found[name] for name in sorted(fnmatch.filter(found, pattern))]
        for pattern in patterns
    )
    if not train or not test:
        raise fail(
            f"{spec.hub_id} at revision {wanted}",
            f"hold {patterns[0]} and {patterns[1]}",
            as_text(f"{len(train)} and {len(test)} files"),
            "Name another revision as 'name@revision', or pass root.",
        )
    # The cache names a snapshot's folder by its commit.
    commit = folder.name if _COMMIT.fullmatch(folder.name) else None
    facts = {
        "source": "hub",
        "hub_id": spec.hub_id,
        "requested_revision": wanted,
        "revision": commit or wanted,
    }
    return parquet_source(train, test, folder, spec, facts)
