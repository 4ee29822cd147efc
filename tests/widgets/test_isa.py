"""The segment's closed form stands beside the mean of its samples."""

from __future__ import annotations

import re

import numpy as np
import pytest

from isa_toolkit.figures import fig7
from isa_toolkit.widgets import ISA


@pytest.fixture(scope="module")
def panel(study):
    return ISA(study)


def test_the_ends_move_the_picture_and_the_numbers(panel):
    panel.check()
    before = bytes(panel.picture.value), panel.caption.value
    panel.controls["stop"].value = 0.5
    panel.check()
    assert bytes(panel.picture.value) != before[0]
    assert "Segment [-1, 0.5]" in panel.caption.value
    panel.controls["start"].value = 1.0
    assert panel.error.startswith("start must be at most stop, got 1 and 0.5.")
    panel.set(start=-1.0, stop=0.0)
    assert (bytes(panel.picture.value), panel.caption.value) == before


def test_more_samples_come_closer_to_the_closed_form(panel):
    panel.set(start=-1.0, stop=0.5, samples=100_000)
    text = panel.caption.value
    exact, sampled, error = map(
        float, re.findall(r"(\d+\.\d+)(?= in closed| ±|\s\(standard)", text)
    )
    assert abs(exact - sampled) < 4 * error + 1e-5
    panel.set(samples=10)
    few = float(re.search(r"± (\d+\.\d+)", panel.caption.value)[1])
    assert few > 20 * error


def test_the_partner_can_be_random(panel):
    panel.set(partner="nearest", samples=1000)
    nearest = bytes(panel.picture.value)
    panel.partner.value = "random"
    panel.check()
    assert bytes(panel.picture.value) != nearest
    panel.partner.value = "nearest"
    assert bytes(panel.picture.value) == nearest


def test_the_nearest_partner_is_the_most_alike_by_cosine():
    draw = np.random.default_rng(0)
    real, scores = draw.normal(size=(40, 5)), draw.random(40)
    kept, classes = scores > 0.2, np.arange(40) % 3
    first, second = fig7._pair(real, scores, kept, classes, 0)
    unit = real / np.linalg.norm(real, axis=1, keepdims=True)
    others = [at for at in np.flatnonzero(kept) if at != first]
    assert second == max(others, key=lambda at: unit[first] @ unit[at])
    assert kept[first]
    assert classes[first] != classes[second]
    _, random = fig7._pair(real, scores, kept, classes, 1)
    assert kept[random]


def test_no_width_means_one_point():
    pair = fig7.Pair(
        residuals=np.array([[1.0, 2.0], [0.0, -1.0]]),
        ends=np.zeros((2, 2)),
        images=(np.zeros((2, 2, 1)), np.zeros((2, 2, 1))),
        labels=("a", "b"),
        scores=(2.5, 0.5),
        points=np.zeros((3, 2)),
        kept=np.ones(3, bool),
    )
    table = fig7.segment_table(pair, (-1.0, -1.0), samples=50)
    # At t = -1 the virtual sample is the partner.
    assert table[table.kind == "mean"].loss.iloc[0] == pytest.approx(0.5)
    assert table[table.kind == "running"].loss.to_numpy() == pytest.approx(0.5)
    table = fig7.segment_table(pair, (0.0, 1.0), samples=50)
    # By hand: 1/2 sum (A^2 + A B + B^2 / 3) with A = (1, 2), B = (1, 3).
    by_hand = 0.5 * ((1 + 4) + (1 + 6) + (1 + 9) / 3)
    assert table[table.kind == "mean"].loss.iloc[0] == pytest.approx(by_hand)
