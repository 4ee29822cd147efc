"""Parquet files, whole and damaged, and the Hub behind a function of the test's own."""

import dataclasses
import socket
import urllib.request
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import IMAGES, LABELS, encode
from image_files import write_parquet as write

from isa_toolkit.datasets import DATASETS, load_dataset
from isa_toolkit.datasets.readers import read_parquet

FIXTURES = Path(__file__).parent / "fixtures"


def read(records, indices=None, channels=None, resolution=None):
    kept = np.arange(len(records.labels)) if indices is None else np.asarray(indices)
    return records.read(kept, channels, resolution)


@pytest.mark.parametrize("image", ["image", "img"])
def test_image_structs_come_back_in_order_over_row_groups_and_shards(tmp_path, image):
    one = write(tmp_path / "a.parquet", IMAGES[:9], LABELS[:9], image, row_group_size=4)
    two = write(tmp_path / "b.parquet", IMAGES[9:], LABELS[9:], image, row_group_size=5)
    records, names = read_parquet([one, two])
    np.testing.assert_array_equal(records.labels, LABELS)
    np.testing.assert_array_equal(read(records), IMAGES)
    some = [0, 3, 4, 8, 9, 13, 14, 22]
    np.testing.assert_array_equal(read(records, some), IMAGES[some])
    assert names == ("a", "b", "c")


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int64()])
def test_plain_arrays_are_read_too(tmp_path, kind):
    nested = pa.array(IMAGES.tolist(), pa.list_(pa.list_(pa.list_(kind))))
    table = pa.table({"image": nested, "label": LABELS})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    records, names = read_parquet([tmp_path / "x.parquet"])
    np.testing.assert_array_equal(read(records), IMAGES)
    np.testing.assert_array_equal(read(records, [2, 8, 21]), IMAGES[[2, 8, 21]])
    assert names == ()


def test_plain_grey_arrays_and_binary_columns_are_read_too(tmp_path):
    grey = IMAGES[..., 0]
    pq.write_table(
        pa.table({"image": grey.tolist(), "label": LABELS}), tmp_path / "x.parquet"
    )
    found = read(read_parquet([tmp_path / "x.parquet"])[0], channels=3)
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=3))
    binary = pa.array([encode(one) for one in IMAGES], pa.binary())
    pq.write_table(pa.table({"img": binary, "label": LABELS}), tmp_path / "y.parquet")
    np.testing.assert_array_equal(
        read(read_parquet([tmp_path / "y.parquet"])[0]), IMAGES
    )


def test_the_wanted_label_column_is_taken(tmp_path):
    structs = [{"bytes": encode(one), "path": None} for one in IMAGES]
    table = pa.table({"img": structs, "coarse_label": LABELS, "fine_label": LABELS + 1})
    pq.write_table(table, tmp_path / "x.parquet")
    records, _ = read_parquet([tmp_path / "x.parquet"], ("fine_label", "label"))
    np.testing.assert_array_equal(records.labels, LABELS + 1)


def test_real_shards_are_read():
    mnist, _ = read_parquet([FIXTURES / "mnist" / "train-00000-of-00001.parquet"])
    assert np.bincount(mnist.labels).tolist() == [2] * 10
    assert read(mnist).shape == (20, 28, 28, 1)
    cifar, _ = read_parquet([FIXTURES / "cifar10" / "train-00000-of-00001.parquet"])
    images = read(cifar)
    assert images.shape == (20, 32, 32, 3)
    # Natural photographs: neighbours resemble each other far more than strangers do.
    near = np.abs(np.diff(images.astype(float), axis=1)).mean()
    far = np.abs(images[:, :16].astype(float) - images[:, 16:]).mean()
    assert 3 * near < 2 * far


def test_a_damaged_shard_is_named(tmp_path):
    whole = write(tmp_path / "train.parquet").read_bytes()
    for content in (b"", b"PAR1 nonsense", whole[: len(whole) // 2]):
        (tmp_path / "train.parquet").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"train\.parquet must be a complete parquet file"
        ):
            read_parquet([tmp_path / "train.parquet"])


def test_damage_inside_a_page_is_found(tmp_path):
    path = write(tmp_path / "train.parquet", compression="zstd")
    content = bytearray(path.read_bytes())
    content[40:400] = b"\xff" * 360
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a complete"):
        read(read_parquet([path])[0])


def test_metadata_of_very_many_levels_are_damage(tmp_path):
    table = pa.table({"image": [encode(IMAGES[0])], "label": [0]})
    deep = table.replace_schema_metadata({"huggingface": "[" * 200_000})
    pq.write_table(deep, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="be a complete parquet file"):
        read_parquet([tmp_path / "x.parquet"])


def test_postscript_in_a_parquet_file_is_not_rendered(tmp_path):
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n"
    table = pa.table({"image": [content] * 2, "label": [0, 1]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="must be a complete PNG, JPEG"):
        read(read_parquet([tmp_path / "x.parquet"])[0])


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": [0, 1]}, "have an image column named image or img"),
        ({"image": [b"", b""]}, "have a label column named label .* columns image"),
        (
            {"image": [b"", b""], "label": [0, None]},
            "whole numbers or names, got empty rows",
        ),
        ({"image": [None, None], "label": [0, 1]}, "hold the bytes of an image"),
        ({"image": [{"path": "a"}] * 2, "label": [0, 1]}, "hold the bytes of an ima"),
        ({"image": [[[1]], [[1, 2]]], "label": [0, 1]}, "be numbers of one size"),
        ({"image": [[[1]], [[300]]], "label": [0, 1]}, r"lie in 0\.\.255, got 300"),
        ({"image": [[["a"]], [["b"]]], "label": [0, 1]}, "be numbers"),
    ],
)
def test_wrong_columns_are_refused_in_one_sentence(columns, sentence, tmp_path):
    if columns.get("image") == [None, None]:
        columns = {**columns, "image": pa.array([None, None], pa.binary())}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=sentence):
        read(read_parquet([tmp_path / "x.parquet"])[0])


def test_doubled_columns_are_refused(tmp_path):
    columns = [pa.array([b"", b""]), pa.array([b"", b""]), pa.array([0, 1])]
    table = pa.Table.from_arrays(columns, names=["image", "image", "label"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"have an image column named .*, once, got"):
        read_parquet([tmp_path / "x.parquet"])


def test_labels_may_be_names(tmp_path):
    images, names = [encode(one) for one in IMAGES[:4]], ["owl", "cat", "owl", "cat"]
    pq.write_table(pa.table({"img": images, "label": names}), tmp_path / "x.parquet")
    data = load_dataset("birds", root=tmp_path / "x.parquet")
    assert data.class_names == ("cat", "owl")
    assert sorted([*data.train.labels, *data.test.labels]) == [0, 0, 1, 1]


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("ISA_CACHE_DIR", "/dev/null/isa_toolkit")
    with pytest.raises(OSError, match=r"cannot take a copy .* set ISA_CACHE_DIR"):
        read_parquet([write(tmp_path / "x.parquet")])


# --- The Hub ---

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """Serve a small set under the name of CIFAR-10 and record the calls."""
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


def test_the_pinned_commit_is_requested_and_recorded(snapshot):
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


def test_offline_with_an_empty_cache_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="complete in its cache"):
        load_dataset("mnist")


def test_without_a_network_nothing_is_tried_again(monkeypatch):
    asked = []

    def download(repo_id, *, local_files_only, **settings):
        asked.append(local_files_only)
        raise huggingface_hub.errors.LocalEntryNotFoundError("long story")

    def resolve(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ValueError, match="complete in its cache"):
        load_dataset("mnist")
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "proxy"})
    with pytest.raises(ValueError, match="complete in its cache"):
        load_dataset("mnist")
    assert asked == [True, False]


def test_missing_files_and_unknown_sets_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path)
    )
    with pytest.raises(ValueError, match=r"hold mnist/train\*\.parquet .* 0 and 0 fil"):
        load_dataset("mnist")
    with pytest.raises(ValueError, match=r"known on the Hub .*got 'cub200'"):
        load_dataset("cub200")


def test_a_repository_of_ones_own_is_read_by_its_name(snapshot, tmp_path):
    (tmp_path / "snapshots" / COMMIT / "train-of-something-else.parquet").unlink()
    data = load_dataset("somebody/animals@v2")
    assert snapshot[0]["repo_id"] == "somebody/animals"
    assert snapshot[0]["allow_patterns"] == ["*.parquet"]
    assert (data.name, data.provenance["revision"]) == ("animals", COMMIT)
