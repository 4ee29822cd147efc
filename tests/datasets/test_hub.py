"""The Hub, behind a download function that the test writes itself."""

import dataclasses

import huggingface_hub
import numpy as np
import pytest
from image_files import IMAGES, LABELS
from image_files import write_parquet as write

from isa_toolkit.datasets import DATASETS, hub, load_dataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """Serve a small set under the name of CIFAR-10 and record what was asked."""
    calls = []
    folder = tmp_path / "snapshots" / COMMIT
    (folder / "plain_text").mkdir(parents=True)
    write(folder / "plain_text" / "train-00000-of-00001.parquet", image="img")
    write(folder / "plain_text" / "test-00000-of-00001.parquet", IMAGES[:6], LABELS[:6])
    write(folder / "train-of-something-else.parquet")

    def download(repo_id, **settings):
        calls.append({"repo_id": repo_id, **settings})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    small = dataclasses.replace(
        DATASETS["cifar10"],
        num_classes=3,
        class_names=(),
        train_count=23,
        test_count=6,
        is_resized=True,
        resolution=4,
    )
    monkeypatch.setitem(DATASETS, "cifar10", small)
    return calls


def test_the_pinned_commit_is_asked_for_and_recorded(snapshot):
    data = load_dataset("cifar10")
    (call,) = snapshot
    assert call["repo_id"] == "uoft-cs/cifar10"
    assert call["repo_type"] == "dataset"
    assert call["revision"] == DATASETS["cifar10"].hub_revision
    assert call["allow_patterns"] == [
        "plain_text/train*.parquet",
        "plain_text/test*.parquet",
    ]
    assert data.provenance["revision"] == COMMIT
    assert data.provenance["files"] == [
        "plain_text/train-00000-of-00001.parquet",
        "plain_text/test-00000-of-00001.parquet",
    ]
    assert data.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(data.train.labels, LABELS)


def test_another_revision_can_be_named(snapshot):
    data = load_dataset("cifar10@main", source="hub")
    assert snapshot[0]["revision"] == "main"
    assert data.provenance["requested_revision"] == "main"
    assert data.provenance["revision"] == COMMIT


def test_a_set_of_another_size_is_refused(snapshot, monkeypatch):
    larger = dataclasses.replace(DATASETS["cifar10"], train_count=50_000)
    monkeypatch.setitem(DATASETS, "cifar10", larger)
    with pytest.raises(ValueError, match=r"hold 50000 training .* got 23 and 6"):
        load_dataset("cifar10")


def test_an_unreachable_hub_is_one_sentence(monkeypatch):
    def download(repo_id, **settings):
        raise huggingface_hub.errors.LocalEntryNotFoundError("long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE") as caught:
        load_dataset("mnist")
    assert "ylecun/mnist" in str(caught.value)


def test_offline_with_an_empty_cache_asks_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="complete in its cache"):
        hub.read_hub(DATASETS["mnist"])


def test_missing_files_and_unknown_sets_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path)
    )
    with pytest.raises(ValueError, match=r"hold mnist/train\*\.parquet .* 0 and 0 fil"):
        load_dataset("mnist")
    with pytest.raises(ValueError, match=r"known on the Hub .*got 'cub200'"):
        load_dataset("cub200")
