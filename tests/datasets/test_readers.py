"""Parquet: image bytes, plain arrays, real shards, damaged shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import IMAGES, LABELS, encode
from image_files import write_parquet as write

from isa_toolkit.datasets.parquet import read_class_names, read_parquet

FIXTURES = Path(__file__).parent / "fixtures"


def read(records, indices=None, channels=None, resolution=None):
    kept = np.arange(len(records.labels)) if indices is None else np.asarray(indices)
    return records.read(kept, channels, resolution)


@pytest.mark.parametrize("image", ["image", "img"])
def test_image_structs_come_back_in_order_over_row_groups_and_shards(tmp_path, image):
    one = write(tmp_path / "a.parquet", IMAGES[:9], LABELS[:9], image, row_group_size=4)
    two = write(tmp_path / "b.parquet", IMAGES[9:], LABELS[9:], image, row_group_size=5)
    records = read_parquet([one, two])
    np.testing.assert_array_equal(records.labels, LABELS)
    np.testing.assert_array_equal(read(records), IMAGES)
    some = [0, 3, 4, 8, 9, 13, 14, 22]
    np.testing.assert_array_equal(read(records, some), IMAGES[some])
    assert read_class_names(one) == ("a", "b", "c")


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int64()])
def test_plain_arrays_are_read_too(tmp_path, kind):
    nested = pa.array(IMAGES.tolist(), pa.list_(pa.list_(pa.list_(kind))))
    table = pa.table({"image": nested, "label": LABELS})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=7)
    records = read_parquet([tmp_path / "x.parquet"])
    np.testing.assert_array_equal(read(records), IMAGES)
    np.testing.assert_array_equal(read(records, [2, 8, 21]), IMAGES[[2, 8, 21]])
    assert read_class_names(tmp_path / "x.parquet") == ()


def test_plain_grey_arrays_and_binary_columns_are_read_too(tmp_path):
    grey = IMAGES[..., 0]
    pq.write_table(
        pa.table({"image": grey.tolist(), "label": LABELS}), tmp_path / "x.parquet"
    )
    found = read(read_parquet([tmp_path / "x.parquet"]), channels=3)
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=3))
    binary = pa.array([encode(one) for one in IMAGES], pa.binary())
    pq.write_table(pa.table({"img": binary, "label": LABELS}), tmp_path / "y.parquet")
    np.testing.assert_array_equal(read(read_parquet([tmp_path / "y.parquet"])), IMAGES)


def test_the_wanted_label_column_is_taken(tmp_path):
    structs = [{"bytes": encode(one), "path": None} for one in IMAGES]
    table = pa.table({"img": structs, "coarse_label": LABELS, "fine_label": LABELS + 1})
    pq.write_table(table, tmp_path / "x.parquet")
    records = read_parquet([tmp_path / "x.parquet"], ("fine_label", "label"))
    np.testing.assert_array_equal(records.labels, LABELS + 1)


def test_real_shards_are_read():
    mnist = read_parquet([FIXTURES / "mnist" / "train-00000-of-00001.parquet"])
    assert np.bincount(mnist.labels).tolist() == [2] * 10
    assert read(mnist).shape == (20, 28, 28, 1)
    cifar = read_parquet([FIXTURES / "cifar10" / "train-00000-of-00001.parquet"])
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
        read(read_parquet([path]))


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": [0, 1]}, "have an image column named image or img"),
        ({"image": [b"", b""]}, "have a label column named label .* columns image"),
        ({"image": [b"", b""], "label": ["a", "b"]}, "whole numbers, got type string"),
        ({"image": [b"", b""], "label": [0, None]}, "whole numbers, got empty rows"),
        ({"image": [None, None], "label": [0, 1]}, "hold the bytes of an image"),
        ({"image": [[[1]], [[1, 2]]], "label": [0, 1]}, "one size, got sides of 1 and"),
        ({"image": [[[1]], [[300]]], "label": [0, 1]}, r"lie in 0\.\.255, got 300"),
        ({"image": [[["a"]], [["b"]]], "label": [0, 1]}, "hold numbers"),
    ],
)
def test_wrong_columns_are_refused_in_one_sentence(columns, sentence, tmp_path):
    if columns.get("image") == [None, None]:
        columns = {**columns, "image": pa.array([None, None], pa.binary())}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=sentence):
        read(read_parquet([tmp_path / "x.parquet"]))
