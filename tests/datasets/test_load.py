"""``load_dataset`` from name to Dataset."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import IMAGES, LABELS, encode, write_idx
from image_files import put_image as put
from image_files import write_parquet as write

from isa_toolkit.datasets import DATASETS, load_dataset

FIXTURES = Path(__file__).parent / "fixtures"


def test_real_mnist_is_standardised_with_the_published_constants():
    data = load_dataset("mnist", root=FIXTURES / "mnist")
    assert data.image_shape == (28, 28, 1)
    assert data.preprocessing.zca is None
    expected = (data.train.images / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(data.inputs(), expected, atol=1e-5)
    assert data.provenance["is_whole"] is False
    assert data.provenance["train_count"] == 20
    json.dumps(data.provenance)


def test_real_cifar10_is_whitened_and_comes_back():
    data = load_dataset("cifar10", root=FIXTURES / "cifar10")
    assert data.image_shape == (32, 32, 3)
    assert data.preprocessing.zca.rank == 19
    assert data.class_names[:2] == ("airplane", "automobile")
    back = data.preprocessing.invert(data.inputs())
    np.testing.assert_array_equal(np.rint(back * 255), data.train.images)
    test = data.preprocessing.invert(data.inputs("test"))
    np.testing.assert_array_equal(np.rint(test * 255), data.test.images)


def test_data_of_ones_own_needs_no_entry(tmp_path):
    for index in range(10):
        put(tmp_path / "cats" / f"{index}.png", 20 * index)
        put(tmp_path / "dogs" / f"{index}.png", 10 * index)
    data = load_dataset("pets", root=tmp_path)
    assert data.class_names == ("cats", "dogs")
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert data.provenance["test_split"] == "0.2 of train, seed 0"
    assert data.inputs().std() == pytest.approx(1, abs=1e-5)


def test_idx_files_are_found_by_folder_or_by_one_of_them(tmp_path):
    write_idx(tmp_path, IMAGES[..., 0], LABELS.astype(np.uint8), 15, ".gz")
    folder = load_dataset("mine", root=tmp_path)
    file = load_dataset("mine", root=tmp_path / "train-images-idx3-ubyte.gz")
    assert folder.fingerprint == file.fingerprint
    assert folder.image_shape == (4, 5, 1)


def test_a_limit_leaves_the_test_set_alone():
    data = load_dataset("mnist", root=FIXTURES / "mnist", limit=10)
    assert np.bincount(data.train.labels).tolist() == [1] * 10
    assert len(data.test.labels) == 10
    whole = load_dataset("mnist", root=FIXTURES / "mnist")
    kept = {image.tobytes() for image in data.train.images}
    assert kept <= {image.tobytes() for image in whole.train.images}
    with pytest.raises(ValueError, match="limit must be at least 10, got 9"):
        load_dataset("mnist", root=FIXTURES / "mnist", limit=9)


def test_sizes_that_vary_are_cropped_for_sets_that_are(tmp_path):
    for label in range(10):
        for side in (130, 160):
            put_side(tmp_path / "train" / str(label) / f"{side}.png", side)
        put_side(tmp_path / "val" / str(label) / "a.png", 150)
    with pytest.raises(ValueError, match=r"130x150 \(0/130.png\) and 160x180") as it:
        load_dataset("mine", root=tmp_path)
    assert "Pass resolution" in str(it.value)
    data = load_dataset("mine", root=tmp_path, resolution=16)
    assert data.image_shape == (16, 16, 1)
    small = load_dataset("imagenette", root=tmp_path, resolution=8)
    assert small.image_shape == (8, 8, 3)
    assert DATASETS["imagenette"].image_shape == (128, 128, 3)


def put_side(path, side):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.arange(side * (side + 20)).reshape(side, side + 20, 1) % 251
    path.write_bytes(encode(levels.astype(np.uint8)))


def test_a_known_set_of_another_size_is_refused(tmp_path):
    images = np.zeros((20, 30, 30), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(20) % 10)
    with pytest.raises(ValueError, match=r"images must be 28x28, got 30x30. Pass"):
        load_dataset("mnist", root=tmp_path)
    data = load_dataset("mnist", root=tmp_path, resolution=28)
    assert data.image_shape == (28, 28, 1)


def test_sets_of_another_class_count_are_refused(tmp_path):
    write(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="cifar10 must have 10 classes, got 3"):
        load_dataset("cifar10", root=tmp_path)
    np.savez(tmp_path / "x.npz", images=np.zeros((6, 28, 28)), labels=np.arange(6))
    with pytest.raises(ValueError, match=r"no image of class 6 \(6\)"):
        load_dataset("mnist", root=tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "minst"}, "name must be one of .*'mnist', .*pass root"),
        ({"name": "mnist", "source": "web"}, "source must be one of 'digits', 'hub'"),
        ({"name": "mnist", "source": "local"}, "root must be a file or folder"),
        ({"name": "mnist", "source": "hub", "root": "."}, "root must be left out"),
        ({"name": "digits", "source": "hub"}, "source must be 'digits'"),
        ({"name": "mnist", "source": "digits"}, "source must be 'local' or 'hub'"),
        ({"name": "digits", "root": "."}, "source must be 'digits'"),
        ({"name": "mnist@main", "root": "."}, "carry a revision for source 'hub'"),
        ({"name": "digits", "limit": -1}, "limit must be at least 10, got -1"),
        ({"name": "digits", "resolution": 0}, "resolution must be at least 1"),
        ({"name": "digits", "resolution": 10**7}, "resolution must be at most 8192, "),
        ({"name": "digits", "whitening": "pca"}, "whitening must be one of"),
    ],
)
def test_contradictions_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_dataset(**arguments)


def test_a_limit_must_be_a_whole_number():
    with pytest.raises(TypeError, match="limit must be a whole number"):
        load_dataset("digits", limit=12.5)


def test_the_package_is_light_to_import():
    code = (
        "import sys, isa_toolkit.datasets; "
        "heavy = {'jax', 'sklearn', 'pyarrow', 'scipy', 'datasets', 'PIL'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_digits_are_1797_real_images_split_by_class():
    data = load_dataset("digits")
    assert data.train.images.shape == (1438, 8, 8, 1)
    assert len(data.test.labels) == 359
    fractions = np.bincount(data.test.labels) / (
        np.bincount(data.test.labels) + np.bincount(data.train.labels)
    )
    assert np.abs(fractions - 0.2).max() < 0.01
    # Seventeen levels, spread over the whole byte.
    levels = np.unique(data.train.images)
    np.testing.assert_array_equal(levels, np.rint(np.arange(17) * 255 / 16))
    inputs = data.inputs()
    np.testing.assert_allclose([inputs.mean(), inputs.std()], [0, 1], atol=1e-5)
    assert load_dataset("digits").fingerprint == data.fingerprint


def test_digits_can_be_limited():
    data = load_dataset("digits", limit=25)
    assert np.bincount(data.train.labels).tolist() == [3] * 5 + [2] * 5
    assert len(data.test.labels) == 359


@pytest.mark.parametrize("name", ["Digits", "DIGITS", "digits"])
def test_names_are_matched_up_to_case_and_dashes(name):
    assert load_dataset(name).name == "digits"


def test_another_whitening_and_other_constants_can_be_chosen():
    raw = load_dataset("digits", whitening="none")
    assert raw.preprocessing.kind == "raw pixels"
    fixed = load_dataset("digits", mean=[0.5], std=[0.25])
    assert (fixed.preprocessing.mean, fixed.preprocessing.std) == ((0.5,), (0.25,))
