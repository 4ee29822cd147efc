"""What is exported holds the set, is read back, and replaces nothing unasked."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import files_of

from isa_toolkit.datasets import Dataset, load_dataset, read_images
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.formats import EXPORT_KINDS, clipped_fraction, folder_names

NAMES = ("cat", "dog")


def a_set(channels: int = 3, names: tuple[str, ...] = NAMES) -> DistilledSet:
    """Return images whose classes alternate, some pixels outside [0, 1]."""
    draw = np.random.default_rng(0)
    labels = draw.normal(size=(6, len(names))).astype("float32")
    labels[np.arange(6), np.arange(6) % len(names)] = 4
    return DistilledSet(
        images=draw.normal(size=(6, 5, 7, channels)),
        labels=labels,
        pixels=draw.normal(0.5, 0.4, size=(6, 5, 7, channels)),
        class_names=names,
        preprocessing={"fingerprint": "f"},
        manifest={"seed": 3},
    )


def levels_of(distilled: DistilledSet) -> np.ndarray:
    return np.round(np.clip(distilled.pixels, 0, 1) * 255)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_folder_holds_the_clipped_images_under_their_classes(
    channels: int, tmp_path: Path
) -> None:
    distilled = a_set(channels)
    folder = distilled.export(tmp_path / "deep" / "set")
    for place in range(6):
        file = folder / NAMES[place % 2] / f"{place:06d}.png"
        stored = np.asarray(Image.open(file)).reshape(5, 7, channels)
        np.testing.assert_array_equal(stored, levels_of(distilled)[place])
    assert len(list(folder.rglob("*.png"))) == 6
    about = json.loads((folder / "about.json").read_text())
    assert about["class_names"] == list(NAMES)
    assert about["manifest"] == {"seed": 3}


def test_our_own_reader_reads_a_png_folder_back(tmp_path: Path) -> None:
    distilled = a_set()
    folder = distilled.export(tmp_path / "set")
    found = read_images(folder)
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = [int(row["index"]) for row in rows]
    assert sorted(places) == list(range(6))
    np.testing.assert_array_equal(found.images, levels_of(distilled)[places])
    np.testing.assert_array_equal(found.labels, distilled.classes[places])
    assert found.class_names == NAMES
    # Not one bit of the soft labels is lost in decimals.
    soft = np.array([[row["label_0"], row["label_1"]] for row in rows], np.float32)
    np.testing.assert_array_equal(soft, distilled.labels[places])
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    assert load_dataset("mine", root=folder).class_names == NAMES


def test_an_npz_file_holds_plain_arrays_to_the_bit(tmp_path: Path) -> None:
    distilled = a_set()
    path = distilled.export(tmp_path / "set.npz", kind="npz")
    with np.load(path, allow_pickle=False) as file:
        for name in ("images", "pixels", "labels"):
            assert file[name].tobytes() == getattr(distilled, name).tobytes()
        assert tuple(file["class_names"]) == NAMES
        about = json.loads(str(file["about"]))
    assert about["preprocessing"] == {"fingerprint": "f"}
    found = read_images(path)
    np.testing.assert_array_equal(found.images, levels_of(distilled))
    np.testing.assert_array_equal(found.labels, distilled.classes)


def test_safetensors_is_what_save_writes(tmp_path: Path) -> None:
    path = a_set().export(tmp_path / "set", kind="safetensors")
    assert path.read_bytes() == a_set().save(tmp_path / "other").read_bytes()


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_nothing_that_exists_is_replaced_unasked(kind: str, tmp_path: Path) -> None:
    one, other = a_set(), a_set(names=("cat", "dog", "eel"))
    out = one.export(tmp_path / "set", kind=kind)
    before = files_of(tmp_path)
    with pytest.raises(FileExistsError, match="out must be new, got"):
        other.export(out, kind=kind)
    assert files_of(tmp_path) == before
    other.export(out, kind=kind, overwrite=True)
    assert list(tmp_path.iterdir()) == [out]
    after = files_of(tmp_path)
    assert after != before
    # Another program's things stay whatever is asked.
    theirs = tmp_path / "theirs"
    (theirs / "deep").mkdir(parents=True)
    (theirs / "deep" / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="out must be an earlier export"):
        one.export(theirs, kind=kind, overwrite=True)
    assert (theirs / "deep" / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", EXPORT_KINDS)
def test_a_failed_export_leaves_what_was_there(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = a_set().export(tmp_path / "set", kind=kind)
    before = files_of(tmp_path)

    def full(*arguments: object, **rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The last file, or the last thing that is done to it.
    monkeypatch.setattr(Path, "write_text" if kind == "png" else "replace", full)
    with pytest.raises(OSError, match="No space left"):
        a_set(names=("a", "b", "c")).export(out, kind=kind, overwrite=True)
    assert files_of(tmp_path) == before
    assert list(tmp_path.iterdir()) == [out]


def test_an_export_that_cannot_take_its_place_gives_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = a_set().export(tmp_path / "set")
    before, rename, calls = files_of(tmp_path), Path.replace, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OSError, match="Permission denied"):
        a_set(names=("a", "b", "c")).export(out, overwrite=True)
    assert files_of(tmp_path) == before
    assert list(tmp_path.iterdir()) == [out]


def test_unknown_kinds_and_images_that_no_png_holds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind must be one of 'npz', 'png', 'safe"):
        a_set().export(tmp_path / "set", kind="gif")
    with pytest.raises(ValueError, match="must have 1 or 3 channels for kind 'png'"):
        a_set(channels=2).export(tmp_path / "set")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("airplane", "bird", "cat"), ["airplane", "bird", "cat"]),
        (("dog", "cat"), ["0-dog", "1-cat"]),
        (("T-shirt/top", "Trouser"), ["0-T-shirt_top", "1-Trouser"]),
        (("a", "train"), ["0-a", "1-train"]),
        (("A", "a"), ["0-A", "1-a"]),
        (("..", "b"), ["0-_", "1-b"]),
        (
            tuple(map(str, range(11))),
            [f"{number:02d}-{number}" for number in range(11)],
        ),
    ],
)
def test_folders_sort_as_the_classes_do(
    names: tuple[str, ...], folders: list[str], tmp_path: Path
) -> None:
    assert folder_names(names) == folders == sorted(folders)
    made = a_set(names=names).export(tmp_path / "set")
    assert sorted(path.name for path in made.iterdir() if path.is_dir()) == folders


def test_a_class_that_no_image_shows_keeps_its_folder(tmp_path: Path) -> None:
    whole = a_set()
    labels = np.tile(np.float32([1, 0]), (6, 1))
    alone = DistilledSet(
        images=whole.images, pixels=whole.pixels, labels=labels, class_names=NAMES
    )
    folder = alone.export(tmp_path / "set")
    # Left out, every later class would be read under another number.
    with pytest.raises(ValueError, match="class folder dog must hold an image"):
        read_images(folder)


def test_the_clipped_fraction_counts_values_outside() -> None:
    distilled = a_set()
    pixels = np.full(distilled.pixels.shape, 0.5, np.float32)
    pixels[0, 0, 0] = [-0.1, 0.0, 1.0]
    pixels[1, 0, 0] = [1.5, 0.2, 2.0]
    changed = DistilledSet(
        images=distilled.images,
        labels=distilled.labels,
        pixels=pixels,
        class_names=NAMES,
    )
    assert clipped_fraction(changed) == 3 / pixels.size


def test_an_exported_set_comes_back_as_a_distilled_set(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    data = Dataset.from_arrays(
        draw.integers(0, 256, (12, 5, 7, 3), np.uint8), np.arange(12) % 2
    )
    kind = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    first = DistilledSet.from_pixels(
        data.train.images[:4], data.train.labels[:4], **kind
    )
    with np.load(first.export(tmp_path / "set.npz", kind="npz")) as file:
        arrays = DistilledSet.from_pixels(file["pixels"], file["labels"], **kind)
    np.testing.assert_allclose(arrays.images, first.images, atol=1e-6)
    np.testing.assert_array_equal(arrays.labels, first.labels)
    found = read_images(first.export(tmp_path / "set"))
    folder = DistilledSet.from_pixels(found.images, found.labels, **kind)
    order = np.argsort(first.classes, kind="stable")
    np.testing.assert_allclose(folder.images, first.images[order], atol=1e-5)
    np.testing.assert_array_equal(folder.labels, first.labels[order])


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_file_that_is_no_export_is_never_replaced(kind: str, tmp_path: Path) -> None:
    for content in (b"precious", b""):
        out = tmp_path / "notes.txt"
        out.write_bytes(content)
        with pytest.raises(FileExistsError, match="out must be an earlier export"):
            a_set().export(out, kind=kind, overwrite=True)
        assert out.read_bytes() == content
    np.savez(tmp_path / "own.npz", about=np.zeros(2))
    with pytest.raises(FileExistsError, match="out must be an earlier export"):
        a_set().export(tmp_path / "own.npz", kind=kind, overwrite=True)


def test_an_export_is_replaced_from_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = a_set().export(tmp_path / "set")
    monkeypatch.chdir(out)
    a_set(names=("a", "b", "c")).export(".", overwrite=True)
    assert (out / "c").is_dir()
