"""The named protocols: DM's and MTT's evaluation, and a set's own by its manifest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.datasets.augmentation import DSA_GRAY_OPS, DSA_RGB_OPS, RGB_OPS
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation import (
    EvaluationSettings,
    evaluate,
    evaluation,
    random_real,
)
from isa_toolkit.evaluation.evaluation import with_learned
from isa_toolkit.evaluation.protocols import network_of, protocol_of
from isa_toolkit.evaluation.train import TestResult
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings, SGDSettings, dsa_fit

pytestmark = pytest.mark.slow

DIGITS = load_dataset("digits")


def made_by(method: str | None, **manifest) -> DistilledSet:
    network = {"name": "convnet_in", "width": 4, "depth": 2, "norm": "instance"}
    experiment = {"method": {"name": method}} if method else {}
    return dataclasses.replace(
        random_real(DIGITS, 2),
        manifest={"network": network, "experiment": experiment, **manifest},
    )


def test_the_protocol_of_dm_and_mtt_is_filled_in():
    settings = EvaluationSettings(protocol="dsa").resolve(
        image_shape=(32, 32, 3), num_distilled=100
    )
    assert settings.network == NetworkSettings(
        name="convnet_in", width=128, depth=3, norm="instance"
    )
    assert settings.fit == SGDSettings(steps=1001, decay_step=502, batch_size=100)
    assert settings.ops == DSA_RGB_OPS
    quick = EvaluationSettings(protocol="dsa", epochs=50).resolve(
        image_shape=(28, 28, 1), num_distilled=10
    )
    assert quick.fit == dsa_fit(10, epochs=50)
    assert quick.ops == DSA_GRAY_OPS


def test_the_protocol_of_dc_depends_on_the_data_set():
    dc = EvaluationSettings(protocol="dc")
    shape = (28, 28, 1)
    mnist = dc.resolve(image_shape=shape, num_distilled=10, dataset="mnist")
    assert (mnist.ops, mnist.augment_mode) == (("crop", "scale", "rotate"), "sample")
    assert mnist.fit == dsa_fit(10, epochs=1000)
    cifar = dc.resolve(image_shape=(32, 32, 3), num_distilled=600, dataset="cifar10")
    assert cifar.ops == ()
    assert cifar.fit == SGDSettings(steps=602, decay_step=304)
    assert cifar.network == NetworkSettings(
        name="convnet_in", width=128, depth=3, norm="instance"
    )
    fashion = EvaluationSettings(protocol="dsa").resolve(
        image_shape=shape, num_distilled=10, dataset="fashion_mnist"
    )
    assert fashion.ops == DSA_RGB_OPS


def test_dc_trains_on_digits_under_its_augmentation():
    seen = evaluate(
        made_by(None),
        DIGITS,
        protocol="dc",
        epochs=150,
        networks=1,
        ops=("scale", "crop", "rotate"),
    )
    assert seen.settings.fit == dsa_fit(20, epochs=150)
    assert seen.network[0] > 0.3


def test_a_set_is_judged_by_its_own_protocol_only_if_asked(monkeypatch):
    learned = {"student_learning_rate": 0.125}
    mtt = made_by("mtt", learned=learned)
    short = {"networks": 1, "ops": ()}
    seen = evaluate(mtt, DIGITS, protocol="published", epochs=150, **short)
    assert seen.settings.protocol == "dsa"
    assert seen.settings.network == NetworkSettings(
        name="convnet_in", width=4, depth=2, norm="instance"
    )
    # The step size that MTT learned, in place of .01.
    assert seen.settings.fit == dsa_fit(20, learning_rate=0.125, epochs=150)
    assert seen.network[0] > 0.3
    # The choice is made before anything is trained.
    nothing = TestResult(*[np.zeros(1, np.float32)] * 2, {})
    monkeypatch.setattr(evaluation, "run_evaluation", lambda *_, **__: nothing)
    named = evaluate(mtt, DIGITS, protocol="dsa", epochs=150, **short).settings
    assert named.fit == dsa_fit(20, epochs=150)
    fit = FitSettings(steps=1)
    usual = evaluate(mtt, DIGITS, fit=fit, **short).settings
    assert usual.protocol == "isa"
    assert usual.network == NetworkSettings(width=4, depth=2, norm="none").resolve(
        DIGITS.image_shape
    )


@pytest.mark.parametrize(
    ("method", "protocol"),
    [
        ("dm", "dsa"),
        ("mtt", "dsa"),
        ("frepo", "isa"),
        ("rfad", "rfad"),
        ("rcig", "rcig"),
        ("elsewhere", "isa"),
        (None, "isa"),
    ],
)
def test_the_manifest_names_the_protocol(method, protocol):
    assert protocol_of(made_by(method)) == protocol


@pytest.mark.parametrize(("count", "steps"), [(10, 1000), (11, 2000), (500, 2000)])
def test_rcig_trains_slowly_and_briefly(count, steps):
    settings = EvaluationSettings(protocol="rcig").resolve(
        image_shape=(28, 28, 1), num_distilled=count
    )
    fit = settings.fit
    # Batches are decided before flipped copies are added.
    batch_size = 256 if count > 256 else 2 * count
    assert (fit.steps, fit.batch_size, fit.learning_rate) == (steps, batch_size, 1e-4)
    assert (fit.warmup_steps, fit.final_learning_rate) == (500, 0.01)
    assert (settings.networks, settings.network.norm) == (5, "none")
    assert (settings.augment_mode, settings.flips) == ("sample", False)
    assert settings.ops == ("crop", "rotate", "translate", "cutout")
    flipped = EvaluationSettings(protocol="rcig").resolve(
        image_shape=(32, 32, 3), num_distilled=count
    )
    assert (flipped.ops, flipped.flips) == (RGB_OPS, True)
    # The published number of CIFAR-10 is without augmentation.
    plain = EvaluationSettings(protocol="rcig").resolve(
        image_shape=(32, 32, 3), num_distilled=count, dataset="cifar10"
    )
    assert (plain.ops, plain.fit.batch_size) == ((), batch_size)
    assert (plain.fit.steps, plain.fit.final_steps) == (2.5 * steps, 1.5 * steps)


@pytest.mark.parametrize("flips", [False, True])
def test_rcig_trains_on_flipped_copies_as_the_distillation_did(flips, monkeypatch):
    seen = []

    def remember(keys, images, labels, *rest):
        seen.append((images, labels))
        return TestResult(*[np.zeros(len(keys), np.float32)] * 2, {})

    monkeypatch.setattr(evaluation, "train_and_test", lambda *_, **__: remember)
    made = made_by("rcig")
    made.manifest["experiment"]["method"]["flips"] = flips
    evaluate(made, DIGITS, protocol="published")
    ((images, labels),) = seen
    count = len(made.images)
    assert len(images) == len(labels) == (2 if flips else 1) * count
    np.testing.assert_array_equal(images[:count], made.images)
    np.testing.assert_array_equal(
        images[-count:, :, ::-1] if flips else images, made.images
    )


def test_rfad_takes_a_wide_network_at_the_depth_of_the_distillation():
    assert network_of(made_by("rfad"), "rfad") == NetworkSettings(
        name="convnet_flat", width=1024, depth=2
    )
    with pytest.warns(UserWarning, match="evaluation for 'digits'"):
        settings = EvaluationSettings(protocol="rfad").resolve_for(
            made_by(None), DIGITS
        )
    assert settings.fit.label_scale > 1
    with pytest.raises(ValueError, match="fit must be given"):
        EvaluationSettings(protocol="rfad").resolve(
            image_shape=(8, 8, 1), num_distilled=10
        )
    with pytest.raises(ValueError, match="ops must be left out"):
        EvaluationSettings(protocol="rfad", ops=("flip",))


def test_a_learned_step_size_changes_no_other_protocol():
    usual = EvaluationSettings().resolve(image_shape=(8, 8, 1), num_distilled=10)
    assert with_learned(usual, {"student_learning_rate": 0.5}) == usual


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(TypeError, match="fit must be SGDSettings under protocol 'dsa'"):
        EvaluationSettings(protocol="dsa", fit=FitSettings(steps=1))
    with pytest.raises(TypeError, match="fit must be FitSettings under protocol 'isa'"):
        EvaluationSettings(fit=dsa_fit(10))
    with pytest.raises(ValueError, match="augment_mode must be 'batch' under"):
        EvaluationSettings(protocol="dsa", augment_mode="sample")
    with pytest.raises(ValueError, match=r"each of ops must be one of .*'scale'"):
        EvaluationSettings(protocol="dsa", ops=("translate",))
    with pytest.raises(ValueError, match="protocol must be looked up in a set's"):
        EvaluationSettings(protocol="published").resolve(
            image_shape=(8, 8, 1), num_distilled=10
        )
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        EvaluationSettings(epochs=0)
