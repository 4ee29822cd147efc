"""Files that never end, that take the machine, or that start programs."""

from __future__ import annotations

import gzip
import os
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import IMAGES, LABELS, encode, idx, put_image

import isa_toolkit as isa
from isa_toolkit.datasets import read_images
from isa_toolkit.errors import InvalidValueError, IsaError

POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
)
NAMES = ["a/x.png", "mine.npz", "train-0.parquet", "labels.csv", "val_annotations.txt"]
NAMES += ["train-images-idx3-ubyte"]


def beside(folder: Path, name: str) -> Path:
    """Return the path of a file among those that make it be read."""
    for one in ("a/0.png", "b/0.png") if "/" in name else ("0.png",):
        put_image(folder / one)
    if "idx" in name:
        (folder / name.replace("images-idx3", "labels-idx1")).write_bytes(idx(LABELS))
    return folder / name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", NAMES)
def test_pipes_devices_and_folders_are_not_read(name: str, tmp_path: Path) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        path = beside(folder, name)
        make(path)
        if name == "val_annotations.txt":  # only where it is a file
            path.with_name("0.png").unlink()
        elif make is Path.mkdir and name == "a/x.png":
            continue  # a folder of images, which is empty
        with pytest.raises(InvalidValueError) as caught:
            read_images(folder)
        if name != "val_annotations.txt":
            assert "must be a regular file" in str(caught.value)
    pipe = tmp_path / "root.npz"
    os.mkfifo(pipe)
    for read in (read_images, isa.DistilledSet.load):
        with pytest.raises((IsaError, FileNotFoundError)):
            read(pipe)
    with pytest.raises(InvalidValueError, match="must be a regular file"):
        isa.import_distilled(pipe, kind="npz", dataset="mnist")


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program"))
    monkeypatch.setattr(
        "subprocess.check_call", lambda *_, **__: pytest.fail("program")
    )
    beside(tmp_path, "a/x.png").write_bytes(POSTSCRIPT)
    with pytest.raises(InvalidValueError, match=r"a/x\.png must be a complete PNG"):
        read_images(tmp_path)


def bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", bytes(2**25))
        file.writestr("labels.npy", b"")


def lying_header(folder: Path) -> None:
    head = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20, 2**20)}
    with zipfile.ZipFile(folder / "x.npz", "w") as file:
        with file.open("images.npy", "w") as part:
            np.lib.format.write_array_header_1_0(part, head)
        with file.open("labels.npy", "w") as part:
            np.save(part, LABELS)


def deep_header(folder: Path) -> None:
    head = b"{'descr': " + b"[" * 4000 + b"\n"
    with zipfile.ZipFile(folder / "x.npz", "w") as file:
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
        file.writestr("images.npy", content)
        file.writestr("labels.npy", content)


def encrypted(folder: Path) -> None:
    changed(folder, flags=1, method=0)


def unknown_compression(folder: Path) -> None:
    changed(folder, flags=0, method=77)


def changed(folder: Path, *, flags: int, method: int) -> None:
    """Write an archive, then its flags and the number of its compression in each header."""
    path = folder / "x.npz"
    np.savez(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + at] |= flags
            content[place + at + 2] = method
            place = content.find(mark, place + 4)
    path.write_bytes(content)


def gzip_bomb(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(IMAGES[..., 0]) + bytes(2**25)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype(np.uint8)))


def many_axes(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 255]) + b"\0\0\0\1" * 255 + b"x")
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:1].astype(np.uint8)))


def huge_label(folder: Path) -> None:
    np.savez(
        folder / "x.npz", images=IMAGES, labels=np.where(LABELS == 2, 10**9, LABELS)
    )


def bytes_for_labels(folder: Path) -> None:
    np.savez(folder / "x.npz", images=IMAGES, labels=np.array([b"\xff"] * 23))


def parquet_of(image: object) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(
        pa.table({"image": [image] * 23, "label": LABELS}), folder / "train-0.parquet"
    )


def doubled_columns(folder: Path) -> None:
    column = pa.array([encode(one) for one in IMAGES])
    table = pa.Table.from_arrays(
        [column, column, pa.array(LABELS)], ["image", "image", "label"]
    )
    pq.write_table(table, folder / "train-0.parquet")


def sparse_image(folder: Path) -> None:
    path = beside(folder, "a/x.png")
    with path.open("wb") as file:
        file.truncate(2**30)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (bomb, "must fit in memory"),
        (lying_header, r"x\.npz must be a complete \.npz archive"),
        (deep_header, r"x\.npz must be a complete \.npz archive"),
        (encrypted, "must be neither encrypted nor"),
        (unknown_compression, "must be neither encrypted nor"),
        (gzip_bomb, "must hold 460 bytes after its header, got more"),
        (many_axes, "must be an IDX file"),
        (huge_label, "number the classes from 0 .* got 1000000000"),
        (bytes_for_labels, "train_labels must be text"),
        (
            parquet_of({"bytes": None, "path": "/etc/passwd"}),
            "hold the bytes of an image",
        ),
        (parquet_of(1), "must have shape"),
        (doubled_columns, "have an image column named .*, once"),
        (sparse_image, r"x\.png must fit in memory"),
    ],
)
def test_what_takes_the_machine_is_refused(
    write: Callable[[Path], None], sentence: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("ISA_MAX_MEMORY", str(2**24))
    write(tmp_path)
    with pytest.raises(InvalidValueError, match=sentence):
        read_images(tmp_path)


@pytest.mark.parametrize("is_struct", [False, True])
def test_repeated_images_do_not_fill_the_disk(
    is_struct: bool, tmp_path: Path, monkeypatch
) -> None:
    count = 100_000
    indices = pa.array(np.zeros(count, np.int32))
    column = pa.DictionaryArray.from_arrays(indices, pa.array([bytes(2**20)]))
    if is_struct:
        parts = [column, pa.nulls(count, pa.string())]
        column = pa.StructArray.from_arrays(parts, ["bytes", "path"])
    table = pa.table({"image": column, "label": np.arange(count) % 2})
    pq.write_table(table, tmp_path / "train-0.parquet")
    cache = tmp_path / "cache"
    monkeypatch.setenv("ISA_CACHE_DIR", str(cache))
    free = types.SimpleNamespace(free=2**30)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(
        OSError, match=r"repeats images, which take 97\.7 GiB, and 1\.0"
    ):
        read_images(tmp_path)
    assert sum(one.stat().st_size for one in cache.rglob("*")) < 2**20


def test_a_dictionary_of_images_is_read(tmp_path: Path) -> None:
    images = pa.array([encode(one) for one in IMAGES[:3]])
    column = pa.DictionaryArray.from_arrays(pa.array(LABELS.astype(np.int32)), images)
    table = pa.table({"image": column, "label": LABELS})
    pq.write_table(table, tmp_path / "train-0.parquet")
    np.testing.assert_array_equal(read_images(tmp_path).images, IMAGES[:3][LABELS])
