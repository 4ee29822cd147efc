"""The settings of RCIG: what they refuse and how they are filled in."""

from __future__ import annotations

import dataclasses

import pytest

from isa_toolkit.methods import RCIG


def test_what_is_open_is_filled_in_by_row():
    def resolved(dataset, count, classes, **settings):
        return RCIG(**settings).resolve(
            dataset=dataset, images_per_class=count, num_classes=classes
        )

    photographs = resolved("imagenette", 1, 10)
    assert (photographs.ridge, photographs.flips) == (0.05, True)
    assert (photographs.distilled_subset, photographs.target_subset) == (0, 256)
    large = resolved("tiny_imagenet", 10, 200, target_subset=0)
    assert (large.flips, large.distilled_subset, large.target_subset) == (False, 500, 0)
    digits = resolved("digits", 1, 10, learning_rate=0.5)
    assert (digits.learning_rate, digits.ridge, digits.flips) == (0.5, 5e-4, False)
    own = resolved("my_cells", 1, 4)
    assert (own.learning_rate, own.flips, own.target_subset) == (3e-3, False, 0)
    with pytest.warns(UserWarning, match="no published settings of RCIG for 'cifar10'"):
        assert resolved("cifar10", 7, 10).flips is True
    for settings in (photographs, large, digits, own):
        fields = dataclasses.asdict(settings)
        assert None not in fields.values()
        assert settings.segment == (-1.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segment": (0.0, 0.5)}, r"segment must lie in \[-1, 0\]"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0"),
        ({"inner_learning_rate": -1.0}, "inner_learning_rate must be at least 0"),
        ({"average_decay": 1.0}, "average_decay must lie in"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"max_online_updates": 0}, "max_online_updates must be at least 1"),
        ({"target_subset": -1}, "target_subset must be at least 0"),
    ],
)
def test_bad_settings_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        RCIG(**settings)


@pytest.mark.parametrize("name", ["learn_labels", "label_margin", "tune", "flips"])
def test_a_word_is_no_truth_value(name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
        RCIG(**{name: "no"})
