"""A distilled set survives the disk to the bit, and refuses what is none."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pytest

from isa_toolkit.datasets import Dataset
from isa_toolkit.distilled import DistilledSet

NAMES = ("cat", "dog")


def a_set(**changes) -> DistilledSet:
    draw = np.random.default_rng(0)
    arrays = {
        "images": draw.normal(size=(4, 5, 6, 3)).astype("float32"),
        "labels": draw.normal(size=(4, 2)).astype("float32"),
        "pixels": draw.normal(0.5, 1, size=(4, 5, 6, 3)).astype("float32"),
    }
    about = {"preprocessing": {"kind": "none"}, "manifest": {"seed": 3, "a": [1, 2]}}
    return DistilledSet(**{**arrays, **about, "class_names": NAMES, **changes})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    one = a_set()
    path = one.save(tmp_path / "deep" / "set.safetensors")
    two = DistilledSet.load(path)
    for field in dataclasses.fields(DistilledSet):
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, np.ndarray):
            assert second.dtype == np.float32
            assert first.tobytes() == second.tobytes()
        else:
            assert first == second


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    first = a_set().save(tmp_path / "one").read_bytes()
    again = a_set(manifest={"a": [1, 2], "seed": 3}).save(tmp_path / "two")
    assert again.read_bytes() == first
    assert a_set(manifest={}).save(tmp_path / "three").read_bytes() != first


@pytest.mark.parametrize("name", ["images", "labels", "pixels"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused(name: str, value: float) -> None:
    array = getattr(a_set(), name).copy()
    array.flat[-1] = value
    with pytest.raises(ValueError, match=f"distilled {name} must be finite"):
        a_set(**{name: array})


def test_shapes_must_agree() -> None:
    good = a_set()
    with pytest.raises(ValueError, match="images and pixels must have one shape"):
        a_set(pixels=good.pixels[:3])
    with pytest.raises(ValueError, match=r"labels must have the shape \(4, 2\), got"):
        a_set(labels=good.labels[:3])
    with pytest.raises(ValueError, match=r"labels must have the shape \(4, 1\), got"):
        a_set(class_names=("cat",))


def test_pixels_are_clipped_only_for_display() -> None:
    one = a_set()
    assert one.pixels.min() < 0
    assert one.pixels.max() > 1
    shown = one.to_pixels()
    assert (shown.min(), shown.max()) == (0, 1)
    raw = one.to_pixels(clip=False)
    np.testing.assert_array_equal(raw, one.pixels)
    raw[:] = 7
    assert one.pixels.max() < 7


def test_the_class_is_the_largest_label() -> None:
    labels = np.array([[0.1, 0.2], [3, 1], [-2, -1], [0.5, 0.4]], "float32")
    assert a_set(labels=labels).classes.tolist() == [1, 0, 1, 0]


def test_inputs_and_pixels_are_two_views_of_one_set() -> None:
    draw = np.random.default_rng(1)
    images = draw.integers(0, 256, (40, 8, 8, 1), np.uint8)
    data = Dataset.from_arrays(images, np.arange(40) % 2, whitening="zca")
    kind = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    labels = np.eye(2, dtype="float32")
    one = DistilledSet.from_pixels(data.train.images[:2], labels, **kind)
    np.testing.assert_allclose(one.pixels * 255, data.train.images[:2], atol=1e-4)
    np.testing.assert_allclose(one.images, data.inputs("train")[:2], atol=1e-5)
    two = DistilledSet.from_inputs(one.images, labels, **kind)
    np.testing.assert_allclose(two.pixels, one.pixels, atol=1e-3)
    assert two.preprocessing == data.preprocessing.describe()


def test_a_failed_save_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_set().save(tmp_path / "set")
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        a_set(manifest={}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no distilled set at"):
        DistilledSet.load(tmp_path / "none")


@pytest.mark.parametrize("kind", ["garbage", "empty", "truncated", "other", "list"])
def test_a_file_that_is_no_distilled_set_is_refused(kind: str, tmp_path: Path) -> None:
    from safetensors.numpy import save

    whole = a_set().save(tmp_path / "set").read_bytes()
    content = {
        "garbage": b"not a set at all" * 9,
        "empty": b"",
        "truncated": whole[:-8],
        "other": save({"weights": np.zeros(3)}),
        "list": save({"images": np.zeros(3)}, metadata={"manifest": "[]"}),
    }
    path = tmp_path / "file"
    path.write_bytes(content[kind])
    with pytest.raises(ValueError, match="is not a distilled set") as caught:
        DistilledSet.load(path)
    assert "\n" not in str(caught.value)


def some_data() -> Dataset:
    draw = np.random.default_rng(1)
    return Dataset.from_arrays(
        draw.integers(0, 256, (12, 6, 6), np.uint8), np.arange(12) % 3
    )


def test_class_numbers_become_centred_one_hot_labels() -> None:
    from isa_toolkit.datasets import centred_one_hot

    data = some_data()
    kind = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    expected = centred_one_hot(data.train.labels, 3)
    for dtype in (np.uint8, np.int32, np.int64):
        numbers = data.train.labels.astype(dtype)
        made = DistilledSet.from_pixels(data.train.images, numbers, **kind)
        np.testing.assert_array_equal(made.labels, expected)
        np.testing.assert_array_equal(made.classes, numbers)
    made = DistilledSet.from_pixels(
        data.train.images[..., 0], data.train.labels.tolist(), **kind
    )
    assert made.pixels.shape == data.train.images.shape
    inputs = DistilledSet.from_inputs(made.images, data.train.labels, **kind)
    np.testing.assert_array_equal(inputs.labels, expected)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 3], r"distilled labels must lie in 0\.\.2, got 3\."),
        ([0, -1, 2], r"distilled labels must lie in 0\.\.2, got -1\."),
        ([0.0, 1.0, 2.0], "class numbers, whole, .* got float64 of shape"),
        ([True, False, True], "got bool of shape"),
        (["a", "b", "c"], "got <U1 of shape"),
        ([0, 1], r"distilled labels must have the shape \(3, 3\), got \(2, 3\)"),
        (np.eye(3)[:, :2], r"must have the shape \(3, 3\), got \(3, 2\)"),
    ],
)
def test_bad_labels_get_one_sentence(labels: object, sentence: str) -> None:
    data = some_data()
    with pytest.raises(ValueError, match=sentence) as caught:
        DistilledSet.from_pixels(
            data.train.images[:3],
            labels,
            preprocessing=data.preprocessing,
            class_names=data.class_names,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array.transpose(0, 2, 1, 3),
        lambda array: array[::-1],
        lambda array: array[::2],
        np.asfortranarray,
    ],
)
def test_a_view_is_saved_as_what_it_shows(view, tmp_path: Path) -> None:
    whole = a_set()
    labels = whole.labels[: len(view(whole.images))]
    one = a_set(images=view(whole.images), pixels=view(whole.pixels), labels=labels)
    two = DistilledSet.load(one.save(tmp_path / "set"))
    np.testing.assert_array_equal(two.images, view(whole.images))
    np.testing.assert_array_equal(two.pixels, view(whole.pixels))


def test_an_empty_set_is_refused() -> None:
    whole = a_set()
    few = {name: getattr(whole, name)[:0] for name in ("images", "pixels", "labels")}
    with pytest.raises(ValueError, match="the distilled set must hold an image, got 0"):
        a_set(**few)


@pytest.mark.parametrize(
    "described", ["null", "[]", '{"format": 2}', '{"format": 1, "class_names": 3}']
)
def test_another_description_is_refused(described: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    one = a_set()
    arrays = {name: getattr(one, name) for name in ("images", "labels", "pixels")}
    save_file(arrays, tmp_path / "set", metadata={"manifest": described})
    with pytest.raises(ValueError, match="is not a distilled set that this version"):
        DistilledSet.load(tmp_path / "set")


def test_it_shows_itself_in_one_line_and_as_escaped_images() -> None:
    experiment = {"method": {"name": "frepo"}, "dataset": {"name": "x" * 500}}
    one = a_set(
        class_names=("<b>cat</b>", "dog"),
        labels=np.tile(np.float32([1, 0]), (4, 1)),
        manifest={"experiment": experiment, "selection": {"step": 3}},
    )
    assert repr(one).startswith("DistilledSet(4 images of 5x6x3, 2 classes, frepo of x")
    assert len(repr(one)) <= 300
    assert len(one) == 4
    page = one._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;cat" in page
    assert page.count("data:image/png;base64,") == 1
    # Four images of 5 x 6 pixels, enlarged eight times, with gaps of 2.
    assert one.show().size == (4 * (48 + 2) - 2, 40)
    assert one.show(columns=2).size == (2 * (48 + 2) - 2, 40)
    few = a_set(
        images=one.images[:2], pixels=one.pixels[:2], labels=np.eye(2, dtype="float32")
    )
    assert few.show().size == (2 * (48 + 2) - 2, 40)
    assert few.show(columns=1).size == (48, 2 * (40 + 2) - 2)


def test_images_that_are_not_shown_are_counted() -> None:
    one = a_set(
        images=np.zeros((24, 2, 2, 1)),
        pixels=np.zeros((24, 2, 2, 1)),
        labels=np.tile(np.float32([1, 0]), (24, 1)),
    )
    assert "14 more images are not shown." in one._repr_html_()
