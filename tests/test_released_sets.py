"""Sets that other projects released are read, evaluated and measured like our own.

``ISA_RELEASED_SETS=<folder>`` names a folder with some of those sets in ``released_sets/``
and with the real images in ``mnist/`` and ``cifar10/``; without it none is evaluated.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import flax.serialization
import numpy as np
import pytest
from PIL import Image

from isa_toolkit.analysis import diversity
from isa_toolkit.cli import main
from isa_toolkit.datasets import DATASETS, Dataset, load_dataset, read_images
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.evaluation import EvaluationSettings, evaluate, random_real
from isa_toolkit.evaluation.protocols import protocol_of
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings
from isa_toolkit.released_sets import import_distilled, loading_options


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", limit=200)


def from_npz(folder: Path, digits: Dataset) -> DistilledSet:
    """Return the first six of each class by way of plain arrays."""
    chosen = first_of_each(digits)
    path = folder / "elsewhere.npz"
    np.savez(path, x=digits.train.images[chosen] / 255, y=digits.train.labels[chosen])
    with np.load(path, allow_pickle=False) as file:
        return DistilledSet.from_pixels(
            file["x"],
            file["y"],
            preprocessing=digits.preprocessing,
            class_names=digits.class_names,
        )


def from_folder(folder: Path, digits: Dataset) -> DistilledSet:
    """Return the same by way of class folders of PNG files."""
    for index in first_of_each(digits):
        label = folder / digits.class_names[digits.train.labels[index]]
        label.mkdir(exist_ok=True)
        picture = Image.fromarray(digits.train.images[index, :, :, 0])
        picture.save(label / f"{index:05d}.png")
    found = read_images(folder)
    return DistilledSet.from_pixels(
        found.images,
        found.labels,
        preprocessing=digits.preprocessing,
        class_names=digits.class_names,
    )


def first_of_each(digits: Dataset) -> np.ndarray:
    labels = digits.train.labels
    return np.concatenate([np.flatnonzero(labels == c)[:6] for c in range(10)])


@pytest.mark.slow
@pytest.mark.parametrize("made", [from_npz, from_folder])
def test_it_goes_through_evaluation_and_analysis(made, digits, tmp_path):
    distilled = made(tmp_path, digits)
    chosen = first_of_each(digits)
    inputs = digits.inputs("train")
    np.testing.assert_allclose(distilled.images, inputs[chosen], atol=1e-5)
    np.testing.assert_array_equal(distilled.labels, digits.targets("train")[chosen])
    settings = EvaluationSettings(
        network=NetworkSettings(width=2, depth=1, norm="none"),
        networks=1,
        fit=FitSettings(steps=2, warmup_steps=1),
        ops=(),
    )
    evaluation = evaluate(distilled, digits, settings)
    # Real images, so the ridge predictor is far above chance even untrained.
    assert evaluation.ridge[0] > 0.5
    real, own = inputs.reshape(len(inputs), -1), distilled.images.reshape(60, -1)
    measured = diversity.prdc(real, own)
    # Its points are real points: each lies in a ball around itself.
    assert measured.precision == 1
    assert 0 < diversity.recall(real, own) <= 1


RANDOM = np.random.default_rng(0)
MNIST = RANDOM.normal(size=(2, 10, 28, 28, 1)).astype(np.float32)
CIFAR = RANDOM.normal(size=(10, 32, 32, 3)).astype(np.float32)
SOFT = (np.eye(10) - 0.1).astype(np.float32)


def test_a_set_of_dc_has_its_own_space_and_protocol(tmp_path):
    path = tmp_path / "dc.npz"
    np.savez(path, images=MNIST, labels=np.tile(np.arange(10), (2, 1)))
    found = import_distilled(path, kind="dc", dataset="mnist", index=1)
    np.testing.assert_array_equal(found.images, MNIST[1])
    np.testing.assert_array_equal(found.classes, np.arange(10))
    spec = DATASETS["mnist"]
    np.testing.assert_allclose(
        found.pixels, MNIST[1] * spec.std + spec.mean, rtol=1e-5, atol=1e-6
    )
    assert protocol_of(found) == "dc"
    of_dsa = import_distilled(path, kind="dsa", dataset="mnist", index=1)
    np.testing.assert_array_equal(of_dsa.images, found.images)
    assert protocol_of(of_dsa) == "dsa"
    assert loading_options(found.preprocessing) == {
        "whitening": "standardise", "mean": spec.mean, "std": spec.std
    }  # fmt: skip


def test_dc_divides_cifar10_by_deviations_of_its_own(tmp_path):
    path = tmp_path / "dc.npz"
    np.savez(path, images=CIFAR, labels=np.arange(10))
    found = import_distilled(path, kind="dc", dataset="CIFAR-10")
    assert loading_options(found.preprocessing)["std"] == (0.2023, 0.1994, 0.2010)


def test_a_checkpoint_gives_its_averaged_images_and_learned_numbers(tmp_path):
    path = tmp_path / "checkpoint_3"
    proto = {"x_proto": MNIST[0], "y_proto": SOFT, "log_temp": np.float32(0.5)}
    latest = {"x_proto": MNIST[1], "y_proto": SOFT}
    tree = {"ema_average": proto, "params": latest, "step": 3}
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    found = import_distilled(path, kind="rcig", dataset="mnist")
    np.testing.assert_array_equal(found.images, MNIST[0])
    assert found.manifest["learned"] == {"log_temp": 0.5}
    assert protocol_of(found) == "rcig"
    frepo = import_distilled(path, kind="frepo", dataset="mnist")
    assert protocol_of(frepo) == "frepo"


def test_a_set_of_rfad_has_its_channels_last(tmp_path):
    path = tmp_path / "best.npz"
    np.savez(path, images=MNIST[0].transpose(0, 3, 1, 2), labels=SOFT, k=3.7)
    found = import_distilled(path, kind="rfad", dataset="mnist")
    np.testing.assert_array_equal(found.images, MNIST[0])
    assert found.manifest["learned"] == {"platt_scale": 3.7}
    assert protocol_of(found) == "rfad"


def test_an_export_comes_back_as_it_was(digits, tmp_path):
    few = random_real(digits, images_per_class=1)
    path = few.export(tmp_path / "few.npz", kind="npz")
    again = import_distilled(path, kind="npz", dataset=digits)
    for name in ("images", "labels", "pixels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(few, name))
    assert again.manifest == few.manifest
    assert again.preprocessing == few.preprocessing


@pytest.mark.slow
def test_the_command_writes_a_set_that_evaluate_reads(digits, tmp_path, capsys):
    pixels = digits.train.images[first_of_each(digits)[::6]]
    np.savez(tmp_path / "plain.npz", images=pixels, labels=np.arange(10))
    file, out = str(tmp_path / "plain.npz"), str(tmp_path / "set.safetensors")
    argv = ["import", file, "--kind", "npz", "--dataset", "digits", "--out", out]
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 10
    assert main(argv) == 2  # nothing is replaced unasked
    assert "--overwrite" in capsys.readouterr().err
    fast = ["--networks", "1", "--steps", "1", "--width", "2", "--depth", "1"]
    assert main(["evaluate", out, *fast, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["ridge"]) == 1


@pytest.mark.parametrize(
    ("content", "kind", "index", "name"),
    [
        ({"images": MNIST}, "dc", 0, "path"),
        ({"images": MNIST, "labels": np.arange(10)}, "rfad", 0, "images"),
        ({"images": MNIST, "labels": np.tile(np.arange(10), (2, 1))}, "dc", 2, "index"),
        ({"images": MNIST[0], "labels": np.arange(10)}, "dc", 1, "index"),
        ({"images": CIFAR, "labels": np.arange(10)}, "dc", 0, "images"),
        (None, "rcig", 0, "path"),
        (None, "npz", 0, r"set\.npz"),
        (None, "magic", 0, "kind"),
    ],
)
def test_a_file_of_another_kind_is_refused(content, kind, index, name, tmp_path):
    path = tmp_path / "set.npz"
    if content is None:
        path.write_bytes(b"no archive")
    else:
        np.savez(path, **content)
    with pytest.raises(InvalidValueError, match=name):
        import_distilled(path, kind=kind, dataset="mnist", index=index)


def test_a_file_of_pytorch_without_pytorch_says_how_to_convert_it(tmp_path):
    path = tmp_path / "res_DC.pt"
    path.write_bytes(b"")
    with pytest.raises(ModuleNotFoundError, match=r"torch\.load"):
        import_distilled(path, kind="dc", dataset="mnist")


FOLDER = os.environ.get("ISA_RELEASED_SETS")


@pytest.mark.slow
@pytest.mark.skipif(FOLDER is None, reason="ISA_RELEASED_SETS names no folder")
@pytest.mark.parametrize(
    ("file", "published"),
    [("dc_cifar10_ipc1.npz", (28.4, 0.5)), ("dc_mnist_ipc1.npz", (91.8, 0.5))],
)
def test_a_released_set_scores_what_was_published(file, published):
    path = Path(str(FOLDER)) / "released_sets" / file
    kind, name, *_ = file.split("_")
    found = import_distilled(path, kind=kind, dataset=name, root=f"{FOLDER}/{name}")
    real = load_dataset(
        name, root=f"{FOLDER}/{name}", **loading_options(found.preprocessing)
    )
    (accuracy,) = evaluate(found, real, protocol="published", networks=1).network
    mean, std = published
    # One network, and the published deviation is over networks.
    assert abs(100 * accuracy - mean) < 4 * std
