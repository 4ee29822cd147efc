"""Each claim of the paper against a paired difference, with every verdict by hand."""

from __future__ import annotations

import math

import pytest
from hand_tables import TABLES

from isa_toolkit.figures.claim_tests import as_text, check_claims, published_claims
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.results_table import as_table

pytestmark = pytest.mark.slow

CLAIMS = list(published_claims().itertuples())


def difference(low, high, **changes):
    reported = {
        "dataset": "toy", "images_per_class": 1, "setting": "isa", "against": "frepo",
        "predictor": "network", "quantity": "accuracy_percent",
    }  # fmt: skip
    value = (low + high) / 2
    return {**reported, **changes, "value": value, "low": low, "high": high, "n": 3}


def verdicts(item, *rows):
    checked = check_claims({item: as_table(rows)})
    return checked[checked["item"] == item]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.5, "agrees"),
        (-0.5, -0.1, "differs"),
        (-0.1, 0.5, "inside the noise"),
        (0.0, 0.5, "inside the noise"),
        (-0.5, 0.0, "inside the noise"),
        (math.nan, math.nan, "inside the noise"),
    ],
)
def test_a_claim_of_more_is_judged_by_its_interval(low, high, verdict):
    [found] = verdicts("table6", difference(low, high)).to_dict("records")
    assert (found["verdict"], found["expected"]) == (verdict, "above 0")
    assert (found["dataset"], found["images_per_class"], found["n"]) == ("toy", 1, 3)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.5, "differs"),
        (-0.5, -0.1, "agrees"),
        (-0.5, 0.1, "inside the noise"),
    ],
)
def test_a_claim_of_less_is_judged_the_other_way(low, high, verdict):
    mine = difference(low, high, setting="frepo+drop_hard", x=0.2)
    found = verdicts("fig5", mine)
    less = found[found.expected == "below 0"]
    assert list(less.verdict) == [verdict]
    # The claim about easy samples in the same table has no number.
    assert list(found[found.expected == "above 0"].verdict) == ["not run"]


def test_what_is_not_there_is_not_run():
    everything = check_claims({})
    assert list(everything.claim) == [claim.claim for claim in CLAIMS]
    assert set(everything.verdict) == {"not run"}
    assert everything.value.isna().all()
    for changes in (
        {"against": "random"}, {"predictor": "ridge"}, {"setting": "mixup"}, {"seed": 1},
        {"quantity": "recall_k5"},
    ):  # fmt: skip
        found = verdicts("table6", difference(0.1, 0.5, **changes))
        assert list(found.verdict) == ["not run"]
    assert list(verdicts("table6").verdict) == ["not run"]


def test_every_size_is_judged():
    rows = [difference(0.1, 0.5), difference(-2, 5, images_per_class=10)]
    found = verdicts("table6", *rows)
    assert list(found.images_per_class) == [1, 10]
    assert list(found.verdict) == ["agrees", "inside the noise"]


def test_figure_5_is_judged_at_the_share_that_is_claimed():
    rows = [
        difference(low, low + 0.1, setting="frepo+drop_easy", x=x)
        for low, x in ((-9, 0.1), (1, 0.2), (-9, 0.3))
    ]
    easy = verdicts("fig5", *rows).query("expected == 'above 0'")
    assert list(easy.value) == [1.05]
    assert list(easy.verdict) == ["agrees"]


def test_figure_8_is_judged_at_the_first_step_after_the_shared_images():
    rows = [difference(low, low, x=x) for low, x in ((0, 0), (7, 50), (3, 20), (9, 90))]
    [found] = verdicts("fig8", *rows).to_dict("records")
    assert found["value"] == 3


@pytest.mark.parametrize(
    "claim", [one for one in CLAIMS if one.item in TABLES], ids=lambda one: one.claim
)
def test_items_give_what_the_claims_are_about(claim, tiny):
    table = ITEMS[claim.item].numbers(tiny, [TABLES[claim.item]()])
    checked = check_claims({claim.item: table})
    mine = checked[checked.claim == claim.claim]
    assert len(mine) > 0
    assert "not run" not in set(mine.verdict)


def test_the_text_of_claims_has_a_row_for_each_that_was_tested():
    checked = check_claims({"table6": as_table([difference(0.1, 0.5)])})
    made = as_text(checked)
    assert len(checked) > len(made) == 1
    assert made.to_dict("records") == [
        {
            "images per class": "1",
            "difference [95 % interval]": "+0.300 [+0.100, +0.500]",
            "verdict": "agrees",
        }
    ]
