"""The segment's closed form stands beside the mean of its samples."""

from __future__ import annotations

import re

import numpy as np
import pytest

from isa_toolkit.figures import fig7
from isa_toolkit.widgets import ISA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def panel(study):
    return ISA(study)


def test_the_ends_move_the_numbers_and_not_the_pair(panel):
    panel.check()
    before, data = panel.caption.value, panel.segment.data
    panel.segment.value = (-1.0, 0.5)
    panel.check()
    assert "Segment [-1, 0.5]" in panel.caption.value
    assert panel.segment.data is data
    panel.set(segment=(1.0, 0.5))
    assert panel.error.startswith("start must be at most stop, got 1 and 0.5.")
    panel.set(segment=(-1.0, 0.0))
    assert panel.caption.value == before


def test_the_samples_come_close_to_the_closed_form(panel):
    panel.set(segment=(-1.0, 0.5))
    text = panel.caption.value
    exact, sampled, error = map(
        float, re.findall(r"(\d+\.\d+)(?= in closed| ±|\s\(standard)", text)
    )
    assert abs(exact - sampled) < 4 * error + 1e-5
    # The browser has the same samples, and all that the closed form needs.
    draws = np.frombuffer(panel.segment.draws, np.float32) * 1.5 - 1
    data = panel.segment.data
    losses = (data["aa"] + 2 * draws * data["ab"] + draws**2 * data["bb"]) / 2
    assert losses.mean() == pytest.approx(sampled, abs=1e-5)


def test_any_kept_sample_and_partner_can_be_chosen(panel):
    kept = np.flatnonzero(panel.pair.batch.kept)
    panel.segment.picked = int(kept[3])
    panel.check()
    first = panel.pair.indices
    assert first[0] == panel.segment.data["pair"][0] == kept[3]
    panel.partner.value = 2
    panel.check()
    assert panel.pair.indices[0] == first[0]
    assert panel.pair.indices[1] != first[1]
    # A sample that is dropped is not shown.
    panel.drop_easy.value = 0.9
    panel.check()
    assert panel.pair.batch.kept[list(panel.pair.indices)].all()
    panel.partner.value = 999
    assert panel.error.startswith("partner must be at most")
    panel.segment.picked = -1
    panel.set(partner=1, drop_easy=0.2)
    panel.check()


def test_partners_are_ranked_by_cosine_among_the_kept():
    draw = np.random.default_rng(0)
    real, scores = draw.normal(size=(40, 5)), draw.random(40)
    kept = scores > 0.2
    batch = fig7.Batch(
        real, draw.normal(size=(40, 3)), scores, kept,
        np.zeros((40, 2, 2, 1)), np.array(list("abc") * 13 + ["a"]),
    )  # fmt: skip
    first, second = fig7.pair_of(batch).indices
    assert kept[first]
    assert batch.labels[first] != batch.labels[second]
    unit = real / np.linalg.norm(real, axis=1, keepdims=True)
    others = [at for at in np.flatnonzero(kept) if at != first]
    ranked = sorted(others, key=lambda at: -(unit[first] @ unit[at]))
    assert second == ranked[0]
    for rank in (2, len(ranked)):
        pair = fig7.pair_of(batch, first, partner=rank)
        assert pair.indices == (first, ranked[rank - 1])
        # The plane contains the pair, and keeps its distance.
        distance = np.linalg.norm(np.subtract(*pair.points[list(pair.indices)]))
        apart = np.linalg.norm(real[first] - real[pair.indices[1]])
        assert distance == pytest.approx(apart)
    with pytest.raises(ValueError, match="index of a kept sample"):
        fig7.pair_of(batch, int(np.flatnonzero(~kept)[0]))


def test_no_width_means_one_point():
    batch = fig7.Batch(
        features=np.zeros((3, 2)),
        residuals=np.array([[1.0, 2.0], [0.0, -1.0], [0.0, 0.0]]),
        scores=np.array([2.5, 0.5, 0.0]),
        kept=np.ones(3, bool),
        images=np.zeros((3, 2, 2, 1)),
        labels=np.array(["a", "b", "a"]),
    )
    pair = fig7.Pair(batch, (0, 1), np.zeros((3, 2)))
    table = fig7.segment_table(pair, (-1.0, -1.0), samples=50)
    # At t = -1 the virtual sample is the partner.
    assert table[table.kind == "mean"].loss.iloc[0] == pytest.approx(0.5)
    assert table[table.kind == "running"].loss.to_numpy() == pytest.approx(0.5)
    table = fig7.segment_table(pair, (0.0, 1.0), samples=50)
    # By hand: 1/2 sum (A^2 + A B + B^2 / 3) with A = (1, 2), B = (1, 3).
    by_hand = 0.5 * ((1 + 4) + (1 + 6) + (1 + 9) / 3)
    assert table[table.kind == "mean"].loss.iloc[0] == pytest.approx(by_hand)
