"""The published rows, told twice: here as the sources list them."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest

from isa_toolkit.presets import (
    EVALUATION_STEPS,
    PUBLISHED,
    SCALES,
    evaluation_batch_size,
    evaluation_steps,
    label_scale,
    preset,
)

# data set, images per class, flips, label scale, selection updates, depth,
# evaluation updates by FRePo's and by ISA's script
ROWS = [
    ("mnist", 1, False, 1.0, 1000, 3, 1000, 1000),
    ("mnist", 10, False, 1.0, 1000, 3, 2000, 2000),
    ("mnist", 50, False, 1.0, 1000, 3, 5000, 5000),
    ("fashion_mnist", 1, False, 1.0, 1000, 3, 1000, 1000),
    ("fashion_mnist", 10, False, 1.0, 1000, 3, 2000, 2000),
    ("fashion_mnist", 50, False, 1.0, 1000, 3, 5000, 5000),
    ("cifar10", 1, True, 1.0, 1000, 3, 1000, 1000),
    ("cifar10", 10, True, 1.0, 1000, 3, 2000, 2000),
    ("cifar10", 50, True, 1.0, 1000, 3, 5000, 5000),
    ("cifar100", 1, True, 3.162, 1000, 3, 2000, 2000),
    ("cifar100", 10, False, 3.162, 2000, 3, 10_000, 4000),
    ("cifar100", 50, False, 3.162, 5000, 3, 40_000, 40_000),
    ("tiny_imagenet", 1, True, 4.472, 1000, 4, 20_000, 2000),
    ("tiny_imagenet", 10, False, 4.472, 5000, 4, 40_000, 5000),
    ("cub200", 1, True, 4.472, 1000, 3, 20_000, 2000),
    ("cub200", 10, True, 4.472, 1000, 3, 40_000, 5000),
    ("imagenet64", 1, False, 10.0, 2500, 4, 10_000, 4000),
    ("imagenet64", 2, False, 10.0, 5000, 4, 40_000, 5000),
    ("imagenette", 1, True, 1.0, 1000, 5, 1000, 1000),
    ("imagenette", 10, True, 1.0, 1000, 5, 2000, 2000),
    ("imagewoof", 1, True, 1.0, 1000, 5, 1000, 1000),
    ("imagewoof", 10, True, 1.0, 1000, 5, 2000, 2000),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_published_row_is_told_without_a_warning(row: tuple) -> None:
    name, count, flips, divisor, selection, depth, frepo_steps, isa_steps = row
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frepo, isa = preset(name, count), preset(name, count, "isa")
    for one in (frepo, isa):
        assert one.flips is flips
        assert one.label_scale == pytest.approx(divisor, abs=5e-4)
        assert one.selection_steps == selection
        assert one.depth == depth
        assert (one.steps, one.batch_size, one.width) == (500_000, 1024, 128)
        assert (one.pool_size, one.max_online_updates, one.ridge) == (10, 100, 1e-6)
    assert (frepo.evaluation_steps, isa.evaluation_steps) == (frepo_steps, isa_steps)
    assert (frepo.drop_easy, frepo.segment) == (0.0, (0.0, 0.0))


def test_no_row_is_listed_that_this_file_does_not_know() -> None:
    listed = {(name, count) for name, facts in PUBLISHED.items() for count in
              facts.flips if name != "digits"}  # fmt: skip
    assert listed == {row[:2] for row in ROWS}
    for facts in PUBLISHED.values():
        assert set(facts.flips) == set(facts.selection_steps)


def test_the_digits_row_says_that_it_is_ours() -> None:
    assert preset("digits", 1).source.startswith("ours")
    assert preset("mnist", 1).source.startswith("released code")


def test_the_digits_take_any_count_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = preset("digits", 3)
    assert chosen.flips is False
    assert chosen.notes == ()


def test_isa_is_known_for_one_row_and_none_elsewhere() -> None:
    known = preset("cifar10", 10, "isa")
    assert (known.drop_easy, known.segment) == (0.2, (0.0, 0.5))
    unknown = preset("cifar10", 1, "isa")
    assert unknown.drop_easy is None
    assert unknown.segment is None
    assert any("unknown" in note for note in unknown.notes)


def test_an_unlisted_count_warns_and_names_its_fallback() -> None:
    with pytest.warns(UserWarning, match=r"'cifar100' at 20 .* of 10 images"):
        chosen = preset("cifar100", 20)
    assert (chosen.flips, chosen.selection_steps) == (False, 2000)
    # 2,000 distilled images are listed, whatever the row.
    assert chosen.evaluation_steps == 40_000
    with pytest.warns(UserWarning, match="of 1 images per class"):
        assert preset("cifar100", 3).flips is True


def test_an_unlisted_data_set_warns_and_leaves_out_what_it_cannot_know() -> None:
    with pytest.warns(UserWarning, match="'my_cells' at 5"):
        chosen = preset("my_cells", 5)
    assert chosen.flips is False
    assert chosen.label_scale is None
    assert chosen.depth is None
    assert chosen.evaluation_steps is None
    assert chosen.source.startswith("ours")
    with pytest.warns(UserWarning, match="'my_cells' at 5"):
        chosen = preset("my_cells", 5, num_classes=40)
    assert chosen.label_scale == pytest.approx(2.0)
    assert (chosen.evaluation_steps, chosen.evaluation_batch_size) == (20_000, 200)


def test_what_contradicts_a_listed_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"num_classes must be 10 .*'mnist', got 11"):
        preset("mnist", 1, num_classes=11)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mnist", 1, "isaa"), "method must be one of 'frepo', 'isa', got 'isaa'"),
        (("mnist", 0), "images_per_class must be at least 1, got 0"),
        (("mnist", -3), "images_per_class must be at least 1, got -3"),
    ],
)
def test_bad_input_gets_one_sentence(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        preset(*arguments)


def test_a_fractional_count_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"images_per_class .* whole number"):
        preset("mnist", 1.5)  # type: ignore[arg-type]


def test_evaluation_steps_follow_the_nearest_size_by_ratio() -> None:
    for protocol, table in EVALUATION_STEPS.items():
        for size, steps in table.items():
            assert evaluation_steps(size, protocol) == steps
    assert evaluation_steps(1) == 1000
    assert evaluation_steps(31) == 1000  # 31^2 < 10 * 100
    assert evaluation_steps(32) == 2000
    assert evaluation_steps(141, "frepo") == 2000  # 141^2 < 100 * 200
    assert evaluation_steps(142, "frepo") == 20_000
    assert evaluation_steps(10**6, "frepo") == 40_000


def test_the_nearest_size_agrees_with_logarithms() -> None:
    table = EVALUATION_STEPS["frepo"]
    for count in range(1, 6000, 7):
        near = min(table, key=lambda size: abs(math.log(size / count)))
        assert evaluation_steps(count, "frepo") == table[near]


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="one of 'frepo', 'isa', got 'dsa'"):
        evaluation_steps(10, "dsa")


def test_labels_keep_their_margin_at_ten_classes() -> None:
    assert label_scale(10) == 1
    assert label_scale(1000) == 10
    with pytest.raises(ValueError, match="at least 2"):
        label_scale(1)


def test_evaluation_batches_hold_at_most_500_images() -> None:
    assert [evaluation_batch_size(n) for n in (10, 500, 5000)] == [10, 500, 500]


def test_scales_grow_and_cannot_be_changed() -> None:
    quick, small, paper = (SCALES[name] for name in ("quick", "small", "paper"))
    assert quick.steps < small.steps < paper.steps
    assert quick.width < small.width < paper.width
    assert quick.batch_size < small.batch_size < paper.batch_size
    assert (paper.steps, paper.width, paper.batch_size) == (500_000, 128, 1024)
    assert (paper.seeds, paper.networks) == (1, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        quick.steps = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        SCALES["quick"] = paper  # type: ignore[index]
