"""The rows of RFAD and RCIG, told twice: here as the sources list them."""

from __future__ import annotations

import warnings

import pytest

from isa_toolkit.presets import (
    META_SCALES,
    RCIG_ROWS,
    RFAD_ROWS,
    SCALES,
    rcig_preset,
    rfad_preset,
)

# By images per class: learning rate, label scale, weight decay of the evaluation.
RFAD_EVALUATION = {
    ("mnist", 1): (1e-3, 8, 1e-3),
    ("fashion_mnist", 1): (1e-3, 8, 0),
    ("svhn", 1): (1e-3, 16, 0),
    ("cifar10", 1): (1e-3, 8, 0),
    ("cifar100", 1): (1e-1, 8, 0),
    ("mnist", 10): (1e-2, 8, 1e-3),
    ("fashion_mnist", 10): (1e-2, 8, 1e-3),
    ("svhn", 10): (1e-2, 8, 0),
    ("cifar10", 10): (1e-3, 2, 0),
    ("cifar100", 10): (1e-1, 2, 0),
    ("mnist", 50): (1e-2, 8, 0),
    ("fashion_mnist", 50): (1e-3, 2, 0),
    ("svhn", 50): (1e-2, 2, 0),
    ("cifar10", 50): (1e-2, 2, 0),
}

# Configuration: depth, mirrored copies, ridge, distilled and real images with gradient.
RCIG_CONFIGS = {
    "depth_3": (3, True, 5e-4, None, None),
    "depth_3_no_flip": (3, False, 5e-4, None, None),
    "cifar100_50": (3, False, 5e-4, 2000, None),
    "depth_4_200": (4, True, 5e-4, None, 400),
    "depth_4_big": (4, False, 5e-4, 500, 256),
    "depth_5": (5, True, 0.05, None, 256),
}
RCIG_CELLS = {
    "depth_3": "cifar10 1 10 50, cifar100 1 10, cub200 1 10",
    "depth_3_no_flip": "mnist 1 10 50, fashion_mnist 1 10 50",
    "cifar100_50": "cifar100 50",
    "depth_4_200": "tiny_imagenet 1",
    "depth_4_big": "tiny_imagenet 10, imagenet64 1 2",
    "depth_5": "imagenette 1 10, imagewoof 1 10",
}
RCIG_STEPS = {
    ("cifar10", 1): 15_000,
    ("cifar10", 10): 10_000,
    ("cifar100", 1): 10_000,
    ("tiny_imagenet", 1): 5000,
}


def cells(text: str) -> set[tuple[str, int]]:
    words = [part.split() for part in text.split(", ")]
    return {(name, int(count)) for name, *counts in words for count in counts}


def listed(rows) -> set[tuple[str, int]]:
    return {
        (row.dataset, row.images_per_class) for row in rows if row.dataset != "digits"
    }


def test_every_row_of_rfad_is_told_without_a_warning() -> None:
    assert listed(RFAD_ROWS) == set(RFAD_EVALUATION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for (name, count), expected in RFAD_EVALUATION.items():
            row = rfad_preset(name, count)
            assert (
                row.evaluation_learning_rate,
                row.evaluation_label_scale,
                row.evaluation_weight_decay,
            ) == expected
            assert (row.learning_rate, row.ridge, row.networks) == (1e-3, 5e-3, 8)
            assert (row.batch_size, row.width, row.depth) == (5120, 256, 3)


def test_every_row_of_rcig_is_told_without_a_warning() -> None:
    known = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for config, expected in RCIG_CONFIGS.items():
            for name, count in cells(RCIG_CELLS[config]):
                row = rcig_preset(name, count)
                assert row.config == config
                assert (
                    row.depth,
                    row.flips,
                    row.ridge,
                    row.distilled_subset,
                    row.target_subset,
                ) == expected
                assert row.steps == RCIG_STEPS.get((name, count))
                assert ("UNKNOWN" in "".join(row.notes)) == (row.steps is None)
                known.add((name, count))
    assert listed(RCIG_ROWS) == known


@pytest.mark.parametrize("find", [rfad_preset, rcig_preset])
def test_the_digits_take_any_count_and_say_that_they_are_ours(find) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = find("digits", 3)
    assert row.source.startswith("ours")
    assert row.images_per_class == 3


def test_an_unlisted_row_warns_and_names_its_fallback() -> None:
    with pytest.warns(
        UserWarning, match=r"RFAD for 'cifar100' at 50 .*'cifar100' at 10"
    ):
        assert rfad_preset("cifar100", 50).evaluation_label_scale == 2
    with pytest.warns(UserWarning, match=r"RCIG for 'my_cells' at 1 .*'cifar10' at 1"):
        row = rcig_preset("my_cells", 1)
    # A mirrored cell may be another; nobody has said that it is not.
    assert row.flips is False
    assert row.source.startswith("ours")
    assert row.dataset == "my_cells"


@pytest.mark.parametrize("find", [rfad_preset, rcig_preset])
def test_bad_counts_are_one_sentence(find) -> None:
    with pytest.raises(ValueError, match="images_per_class must be at least 1, got 0"):
        find("mnist", 0)
    with pytest.raises(TypeError, match="images_per_class must be a whole number"):
        find("mnist", 1.5)


def test_each_method_has_every_scale_and_ends_at_its_rows() -> None:
    for scales in META_SCALES.values():
        assert scales.keys() == SCALES.keys()
        steps = [scales[name].steps for name in ("quick", "small", "paper")]
        assert steps == sorted(steps)
    paper, row = META_SCALES["rfad"]["paper"], rfad_preset("cifar10", 1)
    assert (paper.steps, paper.width, paper.batch_size) == (
        row.steps,
        row.width,
        row.batch_size,
    )
    assert META_SCALES["rcig"]["paper"].batch_size == rcig_preset("mnist", 1).batch_size
