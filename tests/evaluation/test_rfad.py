"""RFAD's evaluation: its published rows, its checks, and a set of digits."""

from __future__ import annotations

import pytest

from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import (
    RFADSettings,
    finite_network,
    random_real,
    rfad_settings,
)
from isa_toolkit.networks import NetworkSettings


def test_the_published_rows():
    row = rfad_settings("mnist", 10)
    assert (row.learning_rate, row.label_scale, row.weight_decay) == (1e-2, 8, 1e-3)
    assert (row.network.name, row.network.width) == ("convnet_flat", 1024)
    assert (row.steps, row.validate_every, row.patience) == (20_000, 100, 500)
    assert (row.batch_size, row.validation_per_class, row.momentum) == (513, 500, 0.9)
    cifar = rfad_settings("cifar10", 10, networks=2)
    assert (cifar.label_scale, cifar.weight_decay, cifar.networks) == (2, 0, 2)
    with pytest.raises(ValueError, match="learning_rate must be given for 'digits'"):
        rfad_settings("digits", 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"label_scale": -1.0}, "label_scale must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"validate_every": 0}, "validate_every must be at least 1"),
        ({"validation_per_class": 0}, "validation_per_class must be at least 1"),
    ],
)
def test_bad_settings_get_one_sentence(changes, sentence):
    usual = {"learning_rate": 0.1, "label_scale": 8.0, "weight_decay": 0.0}
    with pytest.raises(ValueError, match=sentence):
        RFADSettings(**{**usual, **changes})


def test_a_set_of_digits_is_judged():
    digits = load_dataset("digits", limit=300)
    settings = rfad_settings(
        "digits",
        1,
        learning_rate=0.03,
        label_scale=2.0,
        weight_decay=0.0,
        network=NetworkSettings(name="convnet_flat", width=8, depth=1),
        networks=2,
        steps=60,
        validate_every=20,
        patience=40,
    )
    distilled = random_real(digits, 3)
    judged = finite_network(distilled, digits, settings)
    assert judged.network.shape == (2,)
    assert (judged.network > 0.5).all()
    assert (judged.steps <= 60).all()
    assert judged.interval().kind == "networks, one distilled set"
    with pytest.raises(ValueError, match="network must have no running statistics"):
        finite_network(
            distilled,
            digits,
            settings,
            network=NetworkSettings(name="convnet_flat", norm="batch"),
        )
