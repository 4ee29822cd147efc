"""The hash covers every choice; bad choices get one sentence."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from tiny_run import tiny

from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Experiment
from isa_toolkit.distillation.schedule import early_validations, first_images
from isa_toolkit.methods import METHODS, RFAD, FRePo
from isa_toolkit.networks import NetworkSettings

# Another value for each setting.
OTHER: dict[str, Any] = {
    "limit": 1000,
    "method": FRePo(pool_size=3),
    "images_per_class": 2,
    "network": NetworkSettings(width=5),
    "steps": 25,
    "batch_size": 33,
    "seed": 1,
    "selection": "last",
    "validation_fraction": 0.2,
    "validation_every": 9,
    "validation_networks": 2,
    "validation_steps": 6,
    "log_every": 5,
}
OTHER_METHOD: dict[str, Any] = {
    "drop_easy": 0.3,
    "drop_hard": 0.1,
    "select_from": 0.5,
    "select_from_accuracy": 0.5,
    "segment": (0.0, 0.4),
    "augmentation": "single",
    "partner": "random",
    "reduction": "released",
    "ridge": 1e-5,
    "flips": True,
    "label_scale": 2.0,
    "learn_labels": False,
    "label_margin": False,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "final_learning_rate": 0.2,
    "pool_size": 3,
    "max_online_updates": 6,
    "stagger": False,
    "online_learning_rate": 1e-3,
    "online_batch_size": 7,
    "target_precision": "bfloat16",
}
DIGITS = tiny().load()


def digest(**changes: Any) -> str:
    return tiny(**{"dataset": DIGITS, **changes}).resolve().hash


def test_the_lists_here_name_every_setting() -> None:
    fields = {field.name for field in dataclasses.fields(Experiment)}
    # Where the data come from does not matter, what they are does.
    # Where a run starts is in the tests of ``source_run``.
    assert set(OTHER) == fields - {
        "dataset",
        "source",
        "root",
        "resolution",
        "whitening",
        "start_from",
        "start_step",
    }
    assert set(OTHER_METHOD) == {field.name for field in dataclasses.fields(FRePo)}


def test_the_hash_covers_every_setting() -> None:
    changes = [
        {name: value}
        for name, value in OTHER.items()
        # The method's settings follow; the limit is another set of images.
        if name not in ("limit", "method")
    ]
    changes += [{name: value} for name, value in OTHER_METHOD.items()]
    changes += [
        {"network": NetworkSettings(width=4, depth=depth, norm=norm)}
        for depth, norm in ((1, "batch"), (2, "instance"))
    ]
    hashes = [digest(), *(digest(**change) for change in changes)]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_covers_the_data_and_their_number() -> None:
    images, labels, test = DIGITS.train.images, DIGITS.train.labels, DIGITS.test
    one_pixel = images.copy()
    one_pixel[0, 0, 0, 0] ^= 1
    hashes = {
        Dataset.from_arrays(
            pixels, labels, test.images, test.labels, whitening=whitening
        )
        for pixels, whitening in (
            (images, "none"),
            (one_pixel, "none"),
            (images, "standardise"),
        )
    }
    assert len({digest(dataset=dataset) for dataset in hashes}) == 3
    assert digest(dataset="digits", limit=1000) != digest(dataset="digits")


def test_where_the_data_come_from_does_not_matter() -> None:
    assert digest() == digest(dataset="digits") == digest(source="local", root="/x")


def test_equal_settings_have_equal_hashes() -> None:
    assert digest(drop_easy=0, segment=(0, 0)) == digest(
        drop_easy=np.float64(0), segment=(0.0, -0.0)
    )


def test_numpy_numbers_become_plain_ones() -> None:
    experiment = tiny(seed=3)
    object.__setattr__(experiment, "seed", np.int64(3))
    experiment.__post_init__()
    assert type(experiment.seed) is int


def test_the_description_is_json_without_gaps() -> None:
    resolved = tiny(dataset=DIGITS).resolve()
    text = json.dumps(resolved.description, allow_nan=False)
    assert json.loads(text) == resolved.description

    def holes(value: Any) -> bool:
        if isinstance(value, dict):
            return any(map(holes, value.values()))
        return value is None

    assert not holes(resolved.description["method"])
    assert not holes(resolved.description["network"])
    assert resolved.name == f"digits-ipc1-frepo-{resolved.hash[:8]}"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, r"steps must be at least 1, got 0\."),
        ({"images_per_class": -1}, "images_per_class must be at least 1, got -1"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"selection": "best"}, "selection must be one of 'last', 'released'"),
        (
            {"validation_fraction": 1},
            r"validation_fraction must be at least 0 and below 1",
        ),
        ({"validation_fraction": 0}, r"above 0 with .* Use selection='last'"),
        ({"validation_every": 0}, r"above 0 with .* Use selection='last'"),
        ({"validation_every": -1}, "validation_every must be at least 0"),
        ({"validation_networks": 0}, "validation_networks must be at least 1"),
        ({"validation_steps": 0}, "validation_steps must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"drop_easy": 0.6, "drop_hard": 0.4}, r"drop_easy \+ drop_hard must be below"),
    ],
)
def test_a_bad_value_gets_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        tiny(**changes)
    assert "\n" not in str(caught.value)


def test_a_value_of_the_wrong_kind_gets_one_sentence() -> None:
    with pytest.raises(TypeError, match=r"steps must be a whole number, got 2\.5\."):
        tiny(steps=2.5)
    with pytest.raises(TypeError, match=r"method must be one of .*\bFRePo\b.*got int"):
        tiny().__class__(method=3)  # pyright: ignore[reportArgumentType]


def test_more_images_per_class_than_there_are_is_refused() -> None:
    fewest = np.bincount(DIGITS.train.labels).min()
    said = f"images_per_class must be at most {fewest}, the training"
    with pytest.raises(ValueError, match=said):
        tiny(dataset=DIGITS, images_per_class=500, selection="last").resolve()
    # Nor so many as there were before some were held out.
    kept = np.bincount(tiny(dataset=DIGITS).resolve().train.train.labels).min()
    said = f"at most {kept}, .*Some images are held out: lower validation_fraction"
    assert kept < fewest
    with pytest.raises(ValueError, match=said):
        tiny(dataset=DIGITS, images_per_class=int(fewest)).resolve()
    tiny(dataset=DIGITS, images_per_class=int(kept)).resolve()


def test_an_unknown_data_set_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'digits'"):
        tiny(dataset="digit").resolve()


def test_each_selection_holds_out_what_it_says() -> None:
    last = tiny(dataset=DIGITS, selection="last").resolve()
    assert last.validation is None
    assert last.train is DIGITS
    long = {"steps": 500_000, "validation_every": None, "validation_networks": None}
    released = tiny(dataset=DIGITS, selection="released", **long).resolve()
    settings = released.settings
    assert (settings.validation_every, settings.validation_networks) == (10_000, 5)
    # 52 checkpoints, as in the released code.
    checkpoints = {*range(10_000, 500_001, 10_000), *early_validations(settings)}
    assert len(checkpoints) == 52
    assert released.validation is not None
    np.testing.assert_array_equal(released.validation[1], DIGITS.test.labels)
    assert released.train is DIGITS
    validation = tiny(dataset=DIGITS).resolve()
    assert validation.validation is not None
    held = len(validation.validation[1])
    assert len(validation.train.train.labels) + held == len(DIGITS.train.labels)
    assert held == pytest.approx(0.1 * len(DIGITS.train.labels), rel=0.05)


def test_first_images_depend_on_the_seed_alone() -> None:
    images, classes = first_images(tiny(dataset=DIGITS, images_per_class=2).resolve())
    assert classes.tolist() == np.repeat(np.arange(10), 2).tolist()
    hyperparameters = {
        "drop_easy": 0.0,
        "segment": (0.0, 0.0),
        "steps": 30,
        "pool_size": 3,
    }
    same, _ = first_images(
        tiny(dataset=DIGITS, images_per_class=2, **hyperparameters).resolve()
    )
    np.testing.assert_array_equal(images, same)
    other, _ = first_images(tiny(dataset=DIGITS, images_per_class=2, seed=1).resolve())
    assert np.abs(images - other).max() > 0.1


def test_a_method_brings_its_network_unless_one_is_named() -> None:
    def resolved(**more: Any):
        return Experiment(dataset=DIGITS, method=RFAD(), steps=1, **more).resolve()

    own = resolved()
    assert own.settings.network == NetworkSettings(
        name="convnet_flat", width=256, depth=3, norm="none"
    )
    # What judges the images does not depend on what made them.
    assert own.evaluation.network == NetworkSettings(width=256, depth=3, norm="none")
    other = resolved(network=NetworkSettings(name="convnet_in")).settings.network
    assert (other.name, other.norm) == ("convnet_in", "instance")


# --- how it is written and shown ------------------------------------------------------


def test_the_data_set_is_positional_and_a_method_can_be_named() -> None:
    assert Experiment("digits", method="FRePo").method == FRePo()
    assert Experiment("digits", method="rfad").method == RFAD()
    with pytest.raises(ValueError, match="method must be one of"):
        Experiment("digits", method="best")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="images_per_class"):
        Experiment("digits", ipc=10)  # pyright: ignore[reportCallIssue]


def test_an_experiment_is_shown_in_a_line_or_two() -> None:
    assert repr(Experiment(DIGITS, steps=9)) == (
        f"Experiment(dataset={DIGITS!r}, steps=9, batch_size=1024)"
    )
    everything = Experiment(DIGITS, **{**OTHER, "method": FRePo(**OTHER_METHOD)})
    assert len(repr(everything)) <= 300


@pytest.mark.parametrize("method", METHODS)
def test_an_experiment_is_read_back_from_its_description(method: str) -> None:
    network = NetworkSettings(width=4, depth=2)
    experiment = Experiment(
        "digits", method=METHODS[method].settings(), network=network, steps=5
    )
    resolved = experiment.resolve()
    stored = json.loads(json.dumps(resolved.description))
    assert Experiment.from_description(stored).resolve().hash == resolved.hash


@pytest.mark.parametrize(
    ("method", "images_per_class", "options"),
    [
        ("frepo", 1, {"whitening": None}),
        ("rfad", 1, {"whitening": "rfad_zca"}),
        ("dm", 10, {"whitening": "standardise", "std": [0.2023, 0.1994, 0.2010]}),
        ("mtt", 1, {"whitening": "mtt_zca"}),
        ("mtt", 50, {"whitening": "standardise"}),
    ],
)
def test_a_named_data_set_is_whitened_as_the_method_is_published(
    method, images_per_class, options, monkeypatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        "isa_toolkit.distillation.experiment.load_dataset",
        lambda _, **others: asked.update(others) or DIGITS,
    )
    experiment = Experiment(
        "CIFAR-10", method=method, images_per_class=images_per_class
    )
    experiment.load()
    assert asked.items() >= options.items()
    dataclasses.replace(experiment, whitening="none").load()
    assert asked["whitening"] == "none"


def test_data_that_are_whitened_otherwise_than_published_warn() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    labels = np.arange(40) % 10
    data = Dataset.from_arrays(images, labels, images, labels, name="cifar10")
    experiment = Experiment(data, method="mtt", selection="last")
    with pytest.warns(UserWarning, match="whitening='mtt_zca'"):
        experiment.resolve()
