"""Settings: their names say how they differ, and each has a colour of its own."""

from __future__ import annotations

import pytest

from isa_toolkit.figures.variants import SETTINGS, Variant, label_of, setting


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
    with pytest.raises(ValueError, match=r"setting must be .*'frepo'.*, got 'magic'"):
        setting("magic")


def test_a_baseline_has_no_method_and_an_unknown_key_a_readable_label():
    with pytest.raises(ValueError, match=r"^variant must be one of frepo, .*'random'"):
        Variant("random").method(1e-3)
    assert Variant("dm", (("drop_easy", 0.4),)).method(1e-3).drop_easy == 0.4
    assert label_of("isa") == "FRePo + crucial + ISA"
    assert label_of("mse_random_20_from_80") == "mse random 20 from 80"
