"""Settings: their names say how they differ, and each has a colour of its own."""

from __future__ import annotations

import numpy as np
import pytest

from isa_toolkit.figures.variants import (
    SETTINGS,
    Variant,
    label_of,
    looks_of,
    setting,
)
from isa_toolkit.methods import DM


def contrast_with_white(colour):
    """Return the contrast ratio of WCAG 2.2 of a hexadecimal colour with white."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
    ]
    return 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05)


def test_settings_differ_by_what_their_names_say():
    plain = setting("frepo").build(1e-3)
    assert (plain.drop_easy, plain.drop_hard, plain.segment) == (0, 0, (0, 0))
    assert setting("isa").build(1e-3).segment == (0.0, 0.5)
    crucial = {"frepo+drop_easy", "isa", "mixup", "single_step"}
    for key in {"frepo", "frepo+drop_hard", *crucial}:
        made = setting(key).build(1e-3)
        assert made.learning_rate == 1e-3
        assert made.drop_easy == (0.2 if key in crucial else 0)
        assert made.drop_hard == (0.2 if key == "frepo+drop_hard" else 0)
    colours = [one.colour for one in SETTINGS.values()]
    assert len(set(colours)) == len(colours)
    assert min(map(contrast_with_white, colours)) >= 3
    with pytest.raises(ValueError, match=r"setting must be .*'frepo'.*, got 'magic'"):
        setting("magic")


def test_a_baseline_has_no_method_and_an_unknown_key_a_readable_label():
    with pytest.raises(ValueError, match=r"^variant must be one of frepo, .*'random'"):
        Variant("random").method(1e-3)
    assert Variant("dm", (("drop_easy", 0.4),)).method(1e-3).drop_easy == 0.4
    assert label_of("isa") == "FRePo + crucial + ISA"
    assert label_of("mse_random_20_from_80") == "mse random 20 from 80"


def test_own_settings_have_any_label_and_a_colour_that_no_other_has():
    mine = Variant("a DM of mine", own=DM(drop_easy=0.3, learning_rate=7.0))
    assert mine.method(1e-3) == DM(drop_easy=0.3, learning_rate=7.0)
    assert mine._replace(changes=(("drop_easy", 0.4),)).method(1e-3).drop_easy == 0.4
    keys = ["frepo", mine.key, "another_one", "isa"]
    looks = looks_of(keys)
    assert list(looks) == keys
    assert looks["frepo"] == setting("frepo")
    assert looks["another_one"].label == "another_one"
    assert len({look.colour for look in looks.values()}) == 4
