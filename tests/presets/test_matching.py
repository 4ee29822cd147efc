"""The published rows of DM and MTT, told twice: here as the sources list them."""

from __future__ import annotations

import warnings

import pytest

from isa_toolkit.presets import (
    DM_ROWS,
    MATCHING_SCALES,
    MTT_ROWS,
    SCALES,
    dm_preset,
    mtt_preset,
    scale,
)

# table, data set, images per class, whitening, N, M, T+, learning rates of images and
# step size, first step size, batch
MTT = [
    ("A", "cifar10", 1, "zca", 50, 2, 2, 100, 1e-7, 0.01, None),
    ("A", "cifar10", 10, "zca", 30, 2, 20, 100, 1e-5, 0.001, None),
    ("A", "cifar10", 50, "standardise", 30, 2, 40, 1000, 1e-5, 0.001, None),
    ("A", "cifar100", 1, "zca", 20, 3, 20, 1000, 1e-5, 0.01, None),
    ("A", "cifar100", 10, "standardise", 20, 2, 20, 1000, 1e-5, 0.01, None),
    ("A", "cifar100", 50, "zca", 80, 2, 40, 1000, 1e-5, 0.01, 125),
    ("A", "tiny_imagenet", 1, "standardise", 10, 2, 10, 1e4, 1e-4, 0.01, None),
    ("A", "tiny_imagenet", 10, "standardise", 20, 2, 40, 1e4, 1e-4, 0.01, 200),
    ("A", "tiny_imagenet", 50, "standardise", 20, 2, 40, 1e4, 1e-4, 0.01, 300),
    ("B", "cifar10", 1, "standardise", 50, 2, 5, 1e3, 1e-7, 0.01, None),
    ("B", "cifar10", 10, "standardise", 30, 2, 15, 1e3, 1e-5, 0.01, None),
    ("B", "cifar10", 50, "standardise", 30, 2, 40, 1e3, 1e-5, 0.001, None),
    ("B", "cifar10", 1, "zca", 50, 2, 2, 1e2, 1e-7, 0.01, None),
    ("B", "cifar10", 10, "zca", 30, 2, 20, 1e5, 1e-4, 0.01, None),
    ("B", "cifar10", 50, "zca", 30, 2, 20, 1e2, 1e-5, 0.001, None),
    ("C", "imagenette", 1, "standardise", 20, 2, 10, 1000, 1e-6, 0.01, None),
    ("C", "imagenette", 10, "standardise", 20, 2, 10, 1000, 1e-6, 0.01, 20),
    ("C", "imagewoof", 1, "standardise", 20, 2, 10, 1000, 1e-6, 0.01, None),
    ("C", "imagewoof", 10, "standardise", 20, 2, 10, 1000, 1e-6, 0.01, 20),
]


@pytest.mark.parametrize("row", MTT, ids=lambda row: "-".join(map(str, row[:4])))
def test_every_row_of_mtt_is_told_without_a_warning(row: tuple) -> None:
    table, name, count, whitening, *numbers = row
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = mtt_preset(name, count, table=table, whitening=whitening)
    assert (seen.table, seen.dataset, seen.images_per_class) == (table, name, count)
    assert seen.whitening == whitening
    assert [
        seen.student_steps,
        seen.target_epochs,
        seen.max_start_epoch,
        seen.learning_rate,
        seen.rate_learning_rate,
        seen.student_learning_rate,
        seen.student_batch_size,
    ] == numbers
    assert (seen.expert_count, seen.expert_epochs, seen.steps) == (100, 50, 5000)
    assert (seen.expert_learning_rate, seen.expert_batch_size) == (0.01, 256)
    assert seen.max_start_epoch - 1 + seen.target_epochs <= seen.expert_epochs


def test_no_row_is_listed_that_this_file_does_not_know() -> None:
    listed = {
        (row.table, row.dataset, row.images_per_class, row.whitening)
        for row in MTT_ROWS
        if row.table != "ours"
    }
    assert listed == {row[:4] for row in MTT}
    published = {
        (row.dataset, row.images_per_class): row.learning_rate
        for row in DM_ROWS
        if row.dataset != "digits"
    }
    few = {(name, k): 1.0 for name in ("cifar10", "cifar100") for k in (1, 10, 50)}
    many = {("cifar10", k): 10.0 for k in (100, 200, 500, 1000, 1250)}
    assert published == few | many


def test_the_first_table_that_has_a_row_is_taken() -> None:
    assert mtt_preset("cifar10", 10).table == "A"
    assert mtt_preset("imagenette", 1).table == "C"
    assert mtt_preset("digits", 3).table == "ours"


def test_what_is_disputed_is_said() -> None:
    assert "typo" in mtt_preset("cifar10", 10, table="B", whitening="zca").notes[0]
    assert "1e5" in mtt_preset("imagewoof", 1).notes[0]
    assert mtt_preset("tiny_imagenet", 10).depth == 4


@pytest.mark.parametrize("lookup", [dm_preset, mtt_preset])
def test_an_unlisted_row_warns_and_says_what_it_takes(lookup) -> None:
    with pytest.warns(
        UserWarning, match="for 'cifar100' at 20 images .*'cifar100' at 1"
    ):
        near = lookup("cifar100", 20)
    assert near.images_per_class == 20
    assert near.notes
    with pytest.warns(UserWarning, match="for 'mine' at 2 images .* 'cifar10' at 1"):
        assert lookup("mine", 2).dataset == "mine"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="images_per_class must be at least 1"):
        dm_preset("cifar10", 0)
    with pytest.raises(ValueError, match="table must be one of 'A', 'B', 'C'"):
        mtt_preset("cifar10", 1, table="D")
    with pytest.raises(ValueError, match="whitening must be one of"):
        mtt_preset("cifar10", 1, whitening="strong")
    with pytest.raises(ValueError, match="scale must be one of"):
        scale("huge", "dm")


def test_scales_are_there_for_every_method() -> None:
    assert scale("quick") is SCALES["quick"]
    assert scale("paper", "frepo") is SCALES["paper"]
    assert scale("paper", "rcig").steps == 10_000
    for method, steps in (("dm", 20_000), ("mtt", 5000)):
        assert set(MATCHING_SCALES[method]) == set(SCALES)
        assert scale("paper", method).steps == steps
        assert scale("quick", method).steps < scale("small", method).steps


def test_more_images_of_digits_take_smaller_steps_in_mtt() -> None:
    few, many = mtt_preset("digits", 1), mtt_preset("digits", 10)
    assert (few.learning_rate, many.learning_rate) == (10.0, 1.0)
    assert few.rate_learning_rate == pytest.approx(1e-3)
    assert many.rate_learning_rate == pytest.approx(1e-4)
    assert not few.notes
    assert "ten seeds" in many.notes[0]


def test_ten_images_of_digits_take_larger_steps_in_dm() -> None:
    rates = [dm_preset("digits", count).learning_rate for count in (1, 10, 50)]
    assert rates == [1.0, 20.0, 1.0]
