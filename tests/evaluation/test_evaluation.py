"""What an evaluation promises: numbers, intervals, defaults and refusals."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from isa_toolkit import presets
from isa_toolkit.datasets import Dataset, load_dataset
from isa_toolkit.datasets.augmentation import GRAY_OPS, RGB_OPS
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation import (
    Evaluation,
    EvaluationSettings,
    evaluate,
    random_real,
)
from isa_toolkit.evaluation import evaluation as evaluation_module
from isa_toolkit.evaluation.evaluation import check_fit, run_evaluation
from isa_toolkit.evaluation.train import TestResult
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

pytestmark = pytest.mark.slow

# No augmentation: its ops take longer to compile than all the rest.
SMALL = EvaluationSettings(
    network=NetworkSettings(width=4, depth=2, norm="none"),
    networks=2,
    fit=FitSettings(steps=60, learning_rate=1e-2, warmup_steps=5),
    ops=(),
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", limit=50)


@pytest.fixture(scope="module")
def distilled(digits) -> DistilledSet:
    return random_real(digits, 5)


@pytest.fixture(scope="module")
def evaluation(distilled, digits) -> Evaluation:
    return evaluate(distilled, digits, SMALL)


def fit(**changes) -> FitSettings:
    return dataclasses.replace(SMALL.fit, **changes)


def test_training_beats_chance(evaluation, distilled, digits):
    short = evaluate(distilled, digits, SMALL, fit=fit(steps=1))
    assert evaluation.network.shape == evaluation.ridge.shape == (2,)
    assert (evaluation.network > 0.3).all()
    assert (evaluation.network > short.network).all()
    assert (evaluation.ridge > 0.3).all()


def test_the_seed_decides_the_numbers(evaluation, distilled, digits):
    again = evaluate(distilled, digits, SMALL)
    other = evaluate(distilled, digits, SMALL, seed=1)
    np.testing.assert_array_equal(evaluation.network, again.network)
    np.testing.assert_array_equal(evaluation.ridge, again.ridge)
    assert (evaluation.network != other.network).any()


def test_defaults_are_the_width_and_depth_of_the_distillation(distilled, digits):
    network = {"width": 4, "depth": 2, "norm": "batch"}
    made = dataclasses.replace(distilled, manifest={"network": network})
    changes = {"networks": 2, "ops": (), "fit": SMALL.fit}
    settings = evaluate(made, digits, **changes).settings
    assert settings.network == SMALL.network


def test_another_architecture(distilled, digits):
    network = NetworkSettings(name="convnet_in", width=4, depth=2)
    result = evaluate(distilled, digits, SMALL, network=network, networks=1)
    assert result.settings.network.name == "convnet_in"
    assert result.network[0] > 0.3


def test_what_is_reported_is_json_with_every_choice(evaluation):
    read = json.loads(json.dumps(evaluation.to_dict()))
    assert read["network"] == evaluation.network.tolist()
    assert read["settings"]["network"]["width"] == 4
    assert read["settings"]["fit"]["steps"] == 60
    assert None not in read["settings"].values()


def test_the_published_protocol_is_the_default():
    for count, protocol in ((10, "isa"), (1000, "isa"), (1000, "frepo")):
        settings = EvaluationSettings(protocol=protocol).resolve(
            image_shape=(32, 32, 3), num_distilled=count
        )
        fit = settings.fit
        assert fit is not None
        assert fit.steps == presets.evaluation_steps(count, protocol)
        assert (fit.batch_size, fit.learning_rate) == (min(count, 500), 3e-4)
        assert (fit.warmup_steps, fit.final_learning_rate) == (500, 0.01)
        assert fit.order == "shuffled"
    assert (settings.networks, settings.network.norm) == (5, "none")
    assert (settings.network.width, settings.network.depth) == (128, 3)


@pytest.mark.parametrize(("channels", "ops"), [(1, GRAY_OPS), (3, RGB_OPS)])
def test_only_rgb_is_flipped(channels, ops):
    shape = (32, 32, channels)
    settings = EvaluationSettings().resolve(image_shape=shape, num_distilled=10)
    assert settings.ops == ops
    assert settings.flips == (channels == 3)
    kept = EvaluationSettings(flips=channels != 3, ops=()).resolve(
        image_shape=shape, num_distilled=10
    )
    assert kept.flips == (channels != 3)
    assert kept.ops == ()


def accuracies(network, ridge=None) -> Evaluation:
    network = np.asarray(network, np.float32)
    ridge = network if ridge is None else np.asarray(ridge, np.float32)
    return Evaluation(network, ridge, SMALL)


def test_one_set_has_an_interval_over_networks():
    interval = accuracies([0.7, 0.8, 0.9], [0.5, 0.5, 0.5]).interval()
    assert interval.kind == "networks, one distilled set"
    assert (interval.n, interval.mean) == (3, pytest.approx(0.8))
    # t quantile 4.303 for two degrees of freedom, deviation .1
    assert interval.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    ridge = accuracies([0.7, 0.8, 0.9], [0.5, 0.5, 0.5]).interval("ridge")
    assert (ridge.mean, ridge.half_width) == (0.5, 0)
    with pytest.raises(
        ValueError, match=r"predictor must be one of 'network', 'ridge'"
    ):
        accuracies([0.7]).interval("krr")


def test_it_shows_mean_and_interval_of_both_predictors():
    result = accuracies([0.7, 0.8, 0.9], [0.5, 0.5, 0.5])
    assert repr(result) == "80.0 ± 24.8 % (3 networks, test)"
    assert repr(accuracies([0.7])) == "70.0 % (1 network, test)"
    assert (result.mean, result.network.shape) == (pytest.approx(0.8), (3,))
    page = result._repr_html_()
    assert "80.0 ± 24.8 %" in page
    assert "50.0 ± 0.0 %" in page


def test_a_comparison_is_paired_and_says_when_nothing_is_shown():
    first, second = accuracies([0.7, 0.8, 0.9]), accuracies([0.6, 0.71, 0.79])
    clear = first.compare(second)
    assert clear.mean == pytest.approx(0.1)
    assert clear.is_clear
    assert repr(clear) == "+10.0 ± 2.5 points (3 pairs, network)"
    unclear = first.compare(accuracies([0.7, 0.9, 0.7]))
    assert not unclear.is_clear
    assert "inside the interval" in repr(unclear)
    assert "no interval" in repr(accuracies([0.7]).compare(accuracies([0.6]), "ridge"))
    with pytest.raises(ValueError, match="number of networks"):
        first.compare(accuracies([0.5]))
    other = dataclasses.replace(second, settings=dataclasses.replace(SMALL, seed=1))
    with pytest.raises(ValueError, match="the seed of both"):
        first.compare(other)


def test_a_run_a_path_and_the_name_of_a_data_set_do(
    digits, distilled, tmp_path, monkeypatch
):
    seen = []

    def remember(images, labels, test_images, test_labels, settings, **rest):
        seen.append(len(test_images))
        return TestResult(*[np.zeros(2, np.float32)] * 2, {})

    monkeypatch.setattr(evaluation_module, "run_evaluation", remember)

    def load(name, *, whitening, mean, std):
        assert (name, whitening) == ("digits", "standardise")
        assert (mean, std) == (digits.preprocessing.mean, digits.preprocessing.std)
        return digits

    monkeypatch.setattr(evaluation_module, "load_dataset", load)
    file = distilled.save(tmp_path / "distilled.safetensors")
    run = type("Run", (), {"distilled": distilled})()
    for given in (distilled, run, tmp_path, str(file)):
        evaluate(given, "digits", SMALL)
    named = dataclasses.replace(
        distilled, manifest={"experiment": {"dataset": {"name": "digits"}}}
    )
    evaluate(named)
    assert seen == [len(digits.test.labels)] * 5
    with pytest.raises(TypeError, match="dataset must be"):
        evaluate(distilled)
    with pytest.raises(TypeError, match="from_pixels"):
        evaluate(digits.train.images, digits.train.labels)
    with pytest.raises(TypeError, match="'networks'"):
        evaluate(distilled, digits, num_eval=3)


def toy_set(shape=(8, 8, 1), classes=10, preprocessing=None) -> DistilledSet:
    images = np.zeros((classes, *shape), np.float32)
    return DistilledSet(
        images=images,
        labels=np.eye(classes, dtype=np.float32),
        pixels=images,
        class_names=tuple(map(str, range(classes))),
        preprocessing=preprocessing or {},
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"shape": (6, 6, 1)},
            r"^the distilled images must have the shape \(8, 8, 1\) of 'digits', "
            r"got \(6, 6, 1\)\.$",
        ),
        (
            {"classes": 3},
            r"^the distilled labels must have the 10 classes of 'digits', got 3\.$",
        ),
        (
            {"preprocessing": {"fingerprint": "0123456789abcdef"}},
            r"^the distilled set must be preprocessed like 'digits' \([0-9a-f]{8}\), "
            r"got '01234567'\. Load the data as it was loaded",
        ),
    ],
)
def test_a_set_of_other_data_is_refused_in_a_sentence(digits, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(toy_set(**changes), digits, SMALL)


def test_a_set_of_unknown_preprocessing_or_of_this_data_fits(digits, distilled):
    check_fit(toy_set(), digits)
    check_fit(distilled, digits)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"networks": 0}, "networks must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        (
            {"protocol": "ours"},
            "protocol must be one of 'dc', 'dsa', 'frepo', .* got 'ours'",
        ),
        ({"ops": ("spin",)}, "each of ops must be one of .*'flip'.*, got 'spin'"),
        ({"augment_mode": "all"}, "augment_mode must be one of 'batch', 'sample'"),
        ({"ridge": -1.0}, "ridge must be at least 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        EvaluationSettings(**changes)


def test_plain_arrays_need_resolved_settings(distilled, digits):
    with pytest.raises(ValueError, match="settings must be resolved"):
        run_evaluation(
            distilled.images,
            distilled.labels,
            digits.inputs("test"),
            digits.test.labels,
            EvaluationSettings(),
            num_classes=10,
        )
