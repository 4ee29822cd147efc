"""The paper's numbers and claims beside ours: every verdict by hand, names that meet."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hand_tables import TABLES

from isa_toolkit.figures import fig5, published_results, table6
from isa_toolkit.figures.published_results import (
    AGREES,
    DIFFERS,
    NO_INTERVAL,
    NOT_RUN,
    OTHER_SETTING,
    check_claims,
    claims_as_text,
    compare,
    published_claims,
    published_numbers,
)
from isa_toolkit.figures.registry import ITEMS
from isa_toolkit.figures.results_table import as_table

# CIFAR-10, 1 per class, FRePo, network: 46.8 ± 0.7 over five networks, hence an
# interval of 46.8 ± 2 * 0.7 / sqrt(5) = 46.8 ± 0.626.
PAPER, HALF = 46.8, 2 * 0.7 / math.sqrt(5)


def ours(value=PAPER, half=0.5, **changes):
    reported = {
        "dataset": "cifar10", "images_per_class": 1, "setting": "frepo",
        "predictor": "network", "quantity": "accuracy_percent",
    }  # fmt: skip
    return {
        **reported, **changes, "value": value, "low": value - half, "high": value + half,
        "n": 3, "over": "distilled sets",
    }  # fmt: skip


def beside(*rows, published=True, item="table6"):
    table = compare(item, as_table(rows), is_published_scale=published)
    return table[
        (table.dataset == "cifar10") & (table.images_per_class == 1)
        & (table.method == "frepo") & (table.predictor == "network")
    ].iloc[0]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (PAPER, AGREES),
        (PAPER + HALF + 0.49, AGREES),
        (PAPER + HALF + 0.51, DIFFERS),
        (PAPER - HALF - 0.49, AGREES),
        (PAPER - HALF - 0.51, DIFFERS),
    ],
)
def test_two_numbers_agree_where_their_intervals_meet(value, verdict):
    found = beside(ours(value))
    assert found.verdict == verdict
    assert (found.value, found["std"], found.ours) == (PAPER, 0.7, value)
    assert found.difference == pytest.approx(value - PAPER)
    assert (found.low, found.high) == pytest.approx((value - 0.5, value + 0.5))
    assert (found.n, found.over, found.our_dataset) == (3, "distilled sets", "cifar10")


def test_a_smaller_scale_or_another_data_set_is_another_setting():
    assert beside(ours(), published=False).verdict == OTHER_SETTING
    found = beside(ours(dataset="digits"))
    assert (found.verdict, found.our_dataset, found.ours) == (
        OTHER_SETTING,
        "digits",
        PAPER,
    )
    # The same data set goes before another, whatever their order.
    both = beside(ours(99.0, dataset="digits"), ours())
    assert (both.verdict, both.our_dataset) == (AGREES, "cifar10")


@pytest.mark.parametrize(
    "changes",
    [
        {"images_per_class": 10},
        {"predictor": "ridge"},
        {"setting": "isa"},
        {"quantity": "recall_k5"},
        {"seed": 0},
        {"against": "isa"},
    ],
)
def test_what_is_not_the_same_number_is_not_run(changes):
    assert beside(ours(**changes)).verdict == NOT_RUN
    assert beside().verdict == NOT_RUN
    assert math.isnan(beside(ours(**changes)).ours)


def test_one_seed_tells_no_interval():
    assert beside({**ours(), "low": math.nan, "high": math.nan}).verdict == NO_INTERVAL


def test_hours_on_another_device_are_never_compared():
    mine = ours(2.5, images_per_class=10, setting="isa", quantity="hours_500k_steps")
    table = compare("cost", as_table([mine]), is_published_scale=True)
    assert list(table.verdict) == [NOT_RUN, OTHER_SETTING]
    assert table.ours[1] == 2.5


def test_numbers_without_a_stated_setting_are_shown_and_not_compared():
    mine = ours(0.85, dataset="digits", images_per_class=10, quantity="recall_k5")
    table = compare("diversity", as_table([mine]), is_published_scale=True)
    assert list(table.verdict) == [OTHER_SETTING, NOT_RUN]


def test_every_number_of_the_paper_has_a_row():
    paper = published_numbers()
    assert list(paper.columns) == [
        "item", "dataset", "images_per_class", "method", "predictor", "quantity", "value",
        "std", "note",
    ]  # fmt: skip
    assert paper["item"].value_counts().to_dict() == {
        "table6": 32, "table7": 24, "table8": 12, "information": 4, "diversity": 2,
        "cost": 2,
    }  # fmt: skip
    keys = ["item", "dataset", "images_per_class", "method", "predictor", "quantity"]
    assert not paper.duplicated(keys).any()
    assert paper.value.notna().all()
    accuracies = paper[paper.quantity == "accuracy_percent"]
    assert accuracies.value.between(0, 100).all()
    assert accuracies["std"].notna().all()
    # One that the appendix misprints says so.
    misprint = paper[paper.note.fillna("").str.contains("misprint")]
    assert list(misprint.value) == [57.9]


@pytest.mark.parametrize(
    "name", [name for name in [*TABLES, "table7"] if ITEMS[name].published]
)
def test_items_give_what_the_paper_states_under_the_papers_names(name):
    """A number of any data set is found for each of the paper's methods and quantities."""
    target = ITEMS[name].published
    assert target in set(published_numbers()["item"])
    table = TABLES["table6" if name == "table7" else name]()
    # At each size that the paper states.
    sizes = (
        published_numbers().query("item == @target").images_per_class.dropna().unique()
    )
    tables = [table, *(table.assign(images_per_class=size) for size in sizes)]
    found = compare(target, as_table(pd.concat(tables)), is_published_scale=False)
    assert set(found.verdict) == {OTHER_SETTING}
    assert set(ITEMS["table7"].datasets) <= set(published_numbers().dataset.dropna())


def test_an_item_without_published_numbers_compares_with_none():
    assert len(compare("fig5", TABLES["fig5"](), is_published_scale=True)) == 0
    assert {one.key for one in fig5.variants()} == set(TABLES["fig5"]().setting)
    assert {one.key for one in table6.VARIANTS} <= set(published_numbers().method)
    assert published_results.PAPER_NETWORKS == 5


# --- claims, each against a paired difference

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


@pytest.mark.slow
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
    made = claims_as_text(checked)
    assert len(checked) > len(made) == 1
    assert made.to_dict("records") == [
        {
            "images per class": "1",
            "difference [95 % interval]": "+0.300 [+0.100, +0.500]",
            "verdict": "agrees",
        }
    ]
