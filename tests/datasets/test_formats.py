"""Files and folders: the form that they have, their splits, and damage to them."""

import gzip
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from image_files import idx, write_idx
from image_files import put_image as put
from image_files import write_parquet as write

from isa_toolkit.datasets import DATASETS
from isa_toolkit.datasets.formats import read_idx, read_images, read_local, sort_shards

TESTS = ("test", "validation")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
GREY = IMAGES[..., 0]
LABELS = (np.arange(12) % 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("files", "train", "test"),
    [
        (["train-0.parquet", "test-0.parquet"], 1, 1),
        (["train-0-of-2.parquet", "train-1-of-2.parquet", "valid-0.parquet"], 2, 1),
        (["train/0000.parquet", "validation/0000.parquet"], 1, 1),
        (["data/imagenette-train.parquet", "data/imagenette-validation.parquet"], 1, 1),
        (["anything.parquet"], 1, 0),
        (["train.parquet"], 1, 0),
        (["Training/0000.parquet", "Testing/0000.parquet"], 1, 1),
    ],
)
def test_shards_are_sorted_by_their_names(files, train, test):
    found = sort_shards([Path("r", file) for file in files], Path("r"), TESTS)
    assert (len(found[0]), len(found[1][0]) if found[1] else 0) == (train, test)


def test_the_preferred_test_split_wins():
    files = [Path("r", f"{n}-0.parquet") for n in ("train", "test", "validation")]
    assert sort_shards(files, Path("r"), TESTS)[1][0] == [files[1]]
    assert sort_shards(files, Path("r"), TESTS[::-1])[1][0] == [files[2]]


def test_unsorted_or_doubled_shards_are_refused():
    with pytest.raises(ValueError, match=r"named train-\*\.parquet, got a\.parquet"):
        sort_shards([Path("r/a.parquet"), Path("r/b.parquet")], Path("r"), TESTS)
    two = [Path("r/160px/train-0.parquet"), Path("r/320px/train-0.parquet")]
    with pytest.raises(ValueError, match="one version of the set, got 160px, 320px"):
        sort_shards(two, Path("r"), TESTS)


def test_a_known_set_takes_its_own_version(tmp_path):
    for version in ("160px", "320px"):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "train-0.parquet")
    found = read_local(tmp_path, DATASETS["imagenette"])
    assert found.facts["files"] == ["160px/train-0.parquet"]


def test_single_files_are_read(tmp_path):
    write(tmp_path / "mine.parquet")
    found = read_local(tmp_path / "mine.parquet")
    assert (len(found.train.labels), found.test) == (23, None)
    assert found.class_names == ("a", "b", "c")
    images = np.zeros((4, 3, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=[0, 1, 0, 1])
    assert len(read_local(str(tmp_path / "mine.npz")).train.labels) == 4


def test_what_is_missing_or_foreign_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"existing file or folder, got .*/none'"
    ) as it:
        read_local(tmp_path / "none")
    assert "Expected parquet files" in str(it.value)
    with pytest.raises(ValueError, match=r"root must hold parquet files .* empty"):
        read_local(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"root must hold parquet files .* notes.txt"):
        read_local(tmp_path)
    with pytest.raises(ValueError, match=r"end in \.parquet or \.npz"):
        read_local(tmp_path / "notes.txt")
    (tmp_path / "data_batch_1").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no pickled batches.*Nothing is unpickled"):
        read_local(tmp_path)


# --- NPZ ---


def test_archives_come_back(tmp_path):
    np.savez_compressed(
        tmp_path / "x.npz",
        train_images=IMAGES[:9],
        train_labels=LABELS[:9],
        test_images=IMAGES[9:],
        test_labels=LABELS[9:],
    )
    train, test, *_ = read_local(tmp_path / "x.npz")
    np.testing.assert_array_equal(train.read(np.arange(9), None, None), IMAGES[:9])
    np.testing.assert_array_equal(test.labels, LABELS[9:])


def test_an_archive_may_hold_no_test_split(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES / 255, labels=LABELS)
    train, test, *_ = read_local(tmp_path / "x.npz")
    assert test is None
    np.testing.assert_array_equal(train.read(np.arange(12), None, None), IMAGES)


@pytest.mark.parametrize("labels", [None, np.full(3, -1)])
def test_hidden_test_labels_in_an_archive_are_ignored(tmp_path, labels):
    arrays = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES[:3]}
    if labels is not None:
        arrays["test_labels"] = labels
    np.savez(tmp_path / "x.npz", **arrays)
    found = read_local(tmp_path / "x.npz")
    assert found.test is None
    assert found.facts["ignored"] == ["test_images: no labels"]


def test_pickled_objects_are_refused(tmp_path):
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "x.npz", train_images=objects, train_labels=LABELS[:2])
    with pytest.raises(ValueError, match="hold plain arrays only, got pickled objects"):
        read_local(tmp_path / "x.npz")


def test_damaged_and_foreign_archives_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[:-50])
    with pytest.raises(ValueError, match=r"x\.npz must be a complete \.npz"):
        read_local(tmp_path / "x.npz")
    np.save(tmp_path / "y", IMAGES)
    shutil.move(tmp_path / "y.npy", tmp_path / "y.npz")
    with pytest.raises(ValueError, match=r"be a complete \.npz archive"):
        read_local(tmp_path / "y.npz")
    np.savez(tmp_path / "z.npz", x_train=IMAGES, other=LABELS)
    with pytest.raises(ValueError, match="hold train_images and train_labels, got arr"):
        read_local(tmp_path / "z.npz")
    np.savez(tmp_path / "z.npz", images=IMAGES, labels=LABELS[:-1])
    with pytest.raises(ValueError, match="11 labels for 12 images"):
        read_local(tmp_path / "z.npz")
    np.savez(tmp_path / "z.npz", images=IMAGES.astype(int), labels=LABELS)
    with pytest.raises(ValueError, match="must be uint8, or floats"):
        read_local(tmp_path / "z.npz")


# --- IDX ---


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_four_idx_files_come_back(tmp_path, suffix):
    write_idx(tmp_path, GREY, LABELS, 9, suffix)
    train, test, _, facts = read_local(tmp_path)
    np.testing.assert_array_equal(train.labels, LABELS[:9])
    np.testing.assert_array_equal(test.labels, LABELS[9:])
    found = train.read(np.array([1, 7]), None, None)
    np.testing.assert_array_equal(found[..., 0], GREY[[1, 7]])
    assert len(facts["files"]) == 4


def test_half_a_pair_is_refused(tmp_path):
    write_idx(tmp_path, GREY, LABELS, 9)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="hold images and labels of train"):
        read_local(tmp_path)


def test_idx_images_without_labels_are_ignored_as_a_test_split(tmp_path):
    write_idx(tmp_path, GREY, LABELS, 9)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    found = read_local(tmp_path)
    assert found.test is None
    assert found.facts["ignored"] == ["t10k-images-idx3-ubyte: no labels"]
    assert found.facts["files"] == [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    write_idx(tmp_path, GREY, LABELS, 9)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(ValueError, match="hold images and labels of test"):
        read_local(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a", idx(GREY)[:-1], "must hold 240 bytes after its header, got 239"),
        ("a", idx(GREY) + b"x", "must hold 240 bytes after its header, got more"),
        ("a", idx(GREY)[:9], "must be an IDX file"),
        ("a", b"", "must be an IDX file"),
        ("a", b"\x89PNG and so on", "must be an IDX file"),
        ("a", idx(GREY, 0x0D), "must hold unsigned bytes .* got 0x0d"),
        ("a.gz", gzip.compress(idx(GREY))[:-20], "must be a complete gzip file"),
        ("a.gz", b"not gzip", "must be a complete gzip file"),
        ("a.gz", gzip.compress(idx(GREY) + bytes(10**6)), "must hold .* got more"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"file {name} {sentence}"):
        read_idx(tmp_path / name)


# --- Image files ---


def test_train_and_test_folders(tmp_path):
    put(tmp_path / "train" / "owl" / "b.png", 20)
    put(tmp_path / "train" / "cat" / "a.PNG", 10)
    put(tmp_path / "train" / "cat" / "deep" / "c.jpeg", 30, "JPEG")
    put(tmp_path / "val" / "owl" / "a.png", 40)
    train, test, names, facts = read_local(tmp_path)
    assert names == ("cat", "owl")
    assert facts["files"] == ["train", "val"]
    assert train.labels.tolist() == [0, 0, 1]
    found = train.read(np.arange(3), 1, None)
    assert found[:, 0, 0, 0].tolist() == [10, 30, 20]
    assert test.labels.tolist() == [1]


def test_bare_class_folders_are_all_training(tmp_path):
    put(tmp_path / "b" / "1.png")
    put(tmp_path / "a" / "1.png")
    train, test, names, _ = read_local(tmp_path)
    assert (train.labels.tolist(), test, names) == ([0, 1], None, ("a", "b"))


def test_the_official_tiny_imagenet_layout(tmp_path):
    for wnid, level in (("n01", 1), ("n02", 2)):
        put(tmp_path / "train" / wnid / "images" / f"{wnid}_0.JPEG", level, "JPEG")
    put(tmp_path / "val" / "images" / "val_0.JPEG", 8, "JPEG")
    put(tmp_path / "val" / "images" / "val_1.JPEG", 9, "JPEG")
    annotations = "val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\n"
    (tmp_path / "val" / "val_annotations.txt").write_text(annotations)
    # Its test images have no labels, so val is the test set whatever the order.
    put(tmp_path / "test" / "images" / "test_0.JPEG", 8, "JPEG")
    train, test, names, facts = read_local(tmp_path)
    assert names == ("n01", "n02")
    assert facts["files"] == ["train", "val"]
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1, 0]
    found = test.read(np.arange(2), 3, None)
    assert found[:, 0, 0, 0].tolist() == [8, 9]


def test_a_class_without_images_is_named(tmp_path):
    put(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="class folder b must hold an image"):
        read_local(tmp_path)


def test_test_classes_that_train_lacks_are_refused(tmp_path):
    put(tmp_path / "train" / "a" / "1.png")
    put(tmp_path / "test" / "z" / "1.png")
    with pytest.raises(ValueError, match="hold only classes that train has, got 'z'"):
        read_local(tmp_path)


@pytest.mark.parametrize("train", ["Train", "training"])
@pytest.mark.parametrize("test", ["Testing", "VAL", "dev"])
def test_split_folders_have_any_usual_name(tmp_path, train, test):
    for split, count in ((train, 3), (test, 2)):
        for label in "ab":
            for number in range(count):
                put(tmp_path / split / label / f"{number}.png")
    found = read_local(tmp_path)
    assert (len(found.train.labels), len(found.test.labels)) == (6, 4)
    assert found.class_names == ("a", "b")
    put(tmp_path / "TRAIN" / "a" / "0.png")
    with pytest.raises(ValueError, match="one folder of train images"):
        read_local(tmp_path)


@pytest.mark.parametrize("splits", [("test", "val"), ("Testing",)])
def test_splits_without_one_to_train_on_are_refused(tmp_path, splits):
    for split in splits:
        put(tmp_path / split / "a" / "0.png")
        put(tmp_path / split / "b" / "0.png")
    with pytest.raises(ValueError, match="hold a folder of train images, got"):
        read_local(tmp_path)


@pytest.mark.parametrize("inner", ["", "train"])
def test_one_folder_too_high_is_found(tmp_path, inner):
    for label in "ab":
        put(tmp_path / "download" / "pets" / inner / label / "0.png")
    put(tmp_path / "__MACOSX" / "pets" / "._0.png")
    assert read_local(tmp_path).class_names == ("a", "b")


def test_hidden_and_sidecar_files_are_passed_over_and_others_counted(tmp_path):
    for label in "ab":
        put(tmp_path / label / "0.png")
    (tmp_path / "a" / "._0.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"")
    put(tmp_path / "a" / "@eaDir" / "0.png" / "thumbnail.jpg", kind="JPEG")
    (tmp_path / "a" / "drawing.eps").write_bytes(b"%!PS")
    (tmp_path / "readme.txt").write_text("hello")
    found = read_local(tmp_path)
    assert found.train.labels.tolist() == [0, 1]
    assert found.facts["left_out"] == 2


@pytest.mark.parametrize("name", ["x.npz", "train.parquet", "train-images-idx3-ubyte"])
def test_sidecars_of_archives_and_shards_are_passed_over(tmp_path, name):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    if "parquet" in name:
        write(tmp_path / name)
    elif "idx" in name:
        write_idx(tmp_path, GREY, LABELS, 9)
    (tmp_path / f"._{name}").write_bytes(b"\0\5\26\7")
    assert name in read_local(tmp_path).facts["files"]


def test_files_that_may_not_be_read_are_named(tmp_path, monkeypatch):
    put(tmp_path / "a" / "0.png")
    put(tmp_path / "b" / "0.png")
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    for reading, root, what in (
        ("open", "x.npz", r"file x\.npz"),
        ("iterdir", ".", "root"),
        ("read_bytes", ".", r"image a/0\.png"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(Path, reading, refuse)
            with pytest.raises(ValueError, match=f"{what} must be readable.*permissi"):
                read_images(tmp_path / root)
        (tmp_path / "x.npz").unlink(missing_ok=True)


def test_links_to_folders_are_followed_and_dead_links_named(tmp_path):
    put(tmp_path / "elsewhere" / "0.png", 7)
    put(tmp_path / "set" / "a" / "0.png", 9)
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "again").symlink_to(tmp_path / "set")
    found = read_local(tmp_path / "set")
    assert found.class_names == ("a", "b")
    (tmp_path / "set" / "a" / "1.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"a/1\.png must exist"):
        read_images(tmp_path / "set")


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF", "PPM", "WEBP"])
def test_every_raster_format_is_read(tmp_path, kind):
    for label in "ab":
        put(tmp_path / label / f"0.{kind.lower()}", kind=kind)
    assert read_images(tmp_path).images.shape[0] == 2


@pytest.mark.parametrize("home", ["images", "."])
@pytest.mark.parametrize(
    "table",
    [
        "file_name,label\n{0}.png,owl\n{1}.png,cat\n{2}.png,owl\n",
        "id,breed\n{0},owl\n{1},cat\n{2},owl\n",
        "width,image,class\n4,{0}.png,owl\n4,{1}.png,cat\n4,{2}.png,owl\n",
    ],
)
def test_a_table_names_the_classes(tmp_path, home, table):
    names = ["x1", "x2", "x0"]
    for number, name in enumerate(names):
        put(tmp_path / home / f"{name}.png", number)
    (tmp_path / "labels.csv").write_text(table.format(*names))
    found = read_images(tmp_path)
    assert found.class_names == ("cat", "owl")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "mark"), [("labels.csv", ","), ("metadata.tsv", "\t")]
)
def test_a_table_one_folder_deeper_may_number_its_classes_from_one(
    tmp_path, name, mark
):
    for number in range(3):
        put(tmp_path / "download" / "images" / f"{number}.png", number)
    rows = ["file_name" + mark + "label", *(f"{n}.png{mark}{3 - n}" for n in range(3))]
    (tmp_path / "download" / name).write_text("\n".join(rows))
    found = read_images(tmp_path)
    assert (found.labels.tolist(), found.class_names) == ([2, 1, 0], ("1", "2", "3"))


def test_a_table_that_lists_a_missing_file_is_refused(tmp_path):
    put(tmp_path / "images" / "0.png")
    (tmp_path / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    with pytest.raises(
        ValueError, match=r"table labels\.csv must list .* got '1\.png'"
    ):
        read_local(tmp_path)


@pytest.mark.parametrize("inner", [".", "images", "unknown"])
def test_a_test_folder_without_labels_is_ignored_and_said_so(tmp_path, inner):
    for label in "ab":
        put(tmp_path / "train" / label / "0.png")
    put(tmp_path / "test" / inner / "0.png")
    found = read_local(tmp_path)
    assert found.test is None
    assert "test" in found.facts["ignored"][0]


def test_splits_and_folders_that_are_not_used_are_named(tmp_path):
    for split in ("train", "test", "val", "extra"):
        put(tmp_path / "folders" / split / "a" / "0.png")
        put(tmp_path / "folders" / split / "b" / "0.png")
    assert read_local(tmp_path / "folders").facts["ignored"] == [
        "extra: no split by its name",
        "val: test is the test split",
    ]
    for split in ("train", "test", "validation"):
        write(tmp_path / f"{split}.parquet")
    assert read_local(tmp_path).facts["ignored"] == [
        "validation.parquet: test.parquet is the test split"
    ]


@pytest.mark.parametrize(
    "hidden",
    [
        {"labels": np.full(23, -1)},
        {"labels": pa.nulls(23, pa.int64())},
        {"labels": np.zeros(23), "label": "id"},
    ],
    ids=["-1", "null", "no column"],
)
def test_hidden_test_labels_in_parquet_are_ignored(tmp_path, hidden):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", **hidden)
    write(tmp_path / "validation.parquet")
    found = read_local(tmp_path)
    assert found.facts["files"] == ["train.parquet", "validation.parquet"]
    assert found.facts["ignored"] == ["test.parquet: no labels"]


@pytest.mark.parametrize(
    ("before", "mark", "suffix"), [("emnist-letters-", "-", ".gz"), ("", ".", "")]
)
def test_idx_files_may_have_other_usual_names(tmp_path, before, mark, suffix):
    write_idx(tmp_path, GREY, LABELS, 9, suffix)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / (before + file.name.replace("-idx", f"{mark}idx")))
    assert len(read_local(tmp_path).train.labels) == 9


def test_of_several_sets_of_idx_files_in_a_folder_one_is_named(tmp_path):
    for number, name in enumerate(["balanced", "letters"]):
        write_idx(tmp_path, GREY, (LABELS + number) % 3, 9)
        for file in tmp_path.glob("t*"):
            file.rename(tmp_path / f"emnist-{name}-{file.name}")
    with pytest.raises(ValueError, match=r"emnist-balanced, emnist-letters\. Name one"):
        read_local(tmp_path)
    found = read_local(tmp_path / "emnist-letters-t10k-images-idx3-ubyte")
    assert found.train.labels.tolist() == ((LABELS + 1) % 3)[:9].tolist()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    "name", ["train.parquet", "set.npz", "train-images-idx3-ubyte.gz"]
)
def test_a_git_lfs_pointer_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(POINTER)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(POINTER)
    with pytest.raises(ValueError, match=r"Git LFS pointer .*git lfs pull"):
        read_local(tmp_path / name)


def test_a_header_that_lies_about_its_size_takes_no_memory(tmp_path):
    content = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000, 3)}
    np.lib.format.write_array_header_1_0(content, shape)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", content.getvalue())
        archive.writestr("labels.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"x\.npz must be a complete \.npz archive"):
        read_local(tmp_path / "x.npz")
    big = bytes([0, 0, 8, 3]) + (2**31).to_bytes(4, "big") * 3
    (tmp_path / "train-images-idx3-ubyte").write_bytes(big)
    with pytest.raises(ValueError, match="must fit in memory"):
        read_idx(tmp_path / "train-images-idx3-ubyte")


def test_what_unpacks_to_more_than_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    zeros = np.zeros((100, 100, 100), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=zeros, labels=np.arange(100) % 2)
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(zeros)))
    monkeypatch.setenv("ISA_MAX_MEMORY", "999999")
    for read, name in ((read_local, "x.npz"), (read_idx, "x.gz")):
        with pytest.raises(ValueError, match=f"file {name} must fit .*ISA_MAX_MEMORY"):
            read(tmp_path / name)
    monkeypatch.setenv("ISA_MAX_MEMORY", "9999999")
    assert read_images(tmp_path / "x.npz").images.shape == (100, 100, 100, 1)


@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 99)])
def test_encrypted_archives_and_unknown_compression_are_named(tmp_path, offset, value):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    # Flags and compression of an entry stand before it and, 2 bytes on, in the listing.
    for mark, start in ((b"PK\3\4", offset), (b"PK\1\2", offset + 2)):
        at = content.find(mark)
        while at >= 0:
            content[at + start] = value
            at = content.find(mark, at + 1)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"neither encrypted .* Save it with numpy"):
        read_local(tmp_path / "x.npz")


def test_a_pointer_among_the_images_is_named(tmp_path):
    put(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "1.png").write_bytes(POINTER)
    put(tmp_path / "b" / "0.png")
    with pytest.raises(ValueError, match=r"image a/1\.png .* Git LFS pointer"):
        read_images(tmp_path)


@pytest.mark.parametrize("labels", [["b", "a", "c"], [1, 2, 3], [0.0, 1.0, 2.0]])
def test_labels_in_archives_may_be_names_or_numbers(tmp_path, labels):
    np.savez(tmp_path / "x.npz", images=IMAGES[:3], labels=labels)
    found = read_images(tmp_path)
    assert found.labels.tolist() == np.argsort(np.argsort(labels)).tolist()
    assert found.class_names == tuple(
        sorted(str(int(x) if x != str(x) else x) for x in labels)
    )


@pytest.mark.parametrize("header", [b"{" * 60, b"(" * 5000, b"\xff" * 60])
def test_a_damaged_header_is_refused(tmp_path, header):
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", content)
        archive.writestr("labels.npy", content)
    with pytest.raises(ValueError, match=r"x\.npz must be a complete \.npz archive"):
        read_local(tmp_path / "x.npz")


@pytest.mark.parametrize("root", [3, b"folder", ["a"]])
def test_a_root_that_is_no_path_is_refused(root):
    with pytest.raises(TypeError, match="root must be a path"):
        read_local(root)


@pytest.mark.parametrize("root", ["x" * 5000, "a\0b", "~nobody-of-that-name/x"])
def test_an_impossible_name_is_refused(root):
    with pytest.raises(ValueError, match="root must be an existing file or folder"):
        read_local(root)
