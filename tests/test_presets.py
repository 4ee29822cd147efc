"""The published rows, listed a second time here as the sources give them."""

from __future__ import annotations

import dataclasses
import math
import warnings

import pytest

from isa_toolkit.methods import METHODS
from isa_toolkit.presets import (
    evaluation_batch_size,
    evaluation_steps,
    preset,
    published_rows,
    scale,
    study_budget,
    table,
)

# data set, images per class: flips, selection steps, depth, evaluation steps by FRePo's
# and by ISA's script
CLASSES = {"cifar100": 100, "cub200": 200, "tiny_imagenet": 200, "imagenet64": 1000}
FREPO = {
    ("mnist", 1): (False, 1000, 3, 1000, 1000),
    ("mnist", 10): (False, 1000, 3, 2000, 2000),
    ("mnist", 50): (False, 1000, 3, 5000, 5000),
    ("fashion_mnist", 1): (False, 1000, 3, 1000, 1000),
    ("fashion_mnist", 10): (False, 1000, 3, 2000, 2000),
    ("fashion_mnist", 50): (False, 1000, 3, 5000, 5000),
    ("cifar10", 1): (True, 1000, 3, 1000, 1000),
    ("cifar10", 10): (True, 1000, 3, 2000, 2000),
    ("cifar10", 50): (True, 1000, 3, 5000, 5000),
    ("cifar100", 1): (True, 1000, 3, 2000, 2000),
    ("cifar100", 10): (False, 2000, 3, 10_000, 4000),
    ("cifar100", 50): (False, 5000, 3, 40_000, 40_000),
    ("tiny_imagenet", 1): (True, 1000, 4, 20_000, 2000),
    ("tiny_imagenet", 10): (False, 5000, 4, 40_000, 5000),
    ("cub200", 1): (True, 1000, 3, 20_000, 2000),
    ("cub200", 10): (True, 1000, 3, 40_000, 5000),
    ("imagenet64", 1): (False, 2500, 4, 10_000, 4000),
    ("imagenet64", 2): (False, 5000, 4, 40_000, 5000),
    ("imagenette", 1): (True, 1000, 5, 1000, 1000),
    ("imagenette", 10): (True, 1000, 5, 2000, 2000),
    ("imagewoof", 1): (True, 1000, 5, 1000, 1000),
    ("imagewoof", 10): (True, 1000, 5, 2000, 2000),
}
# learning rate, label scale and weight decay of the evaluation
RFAD = {
    ("mnist", 1): (1e-3, 8, 1e-3),
    ("fashion_mnist", 1): (1e-3, 8, 0),
    ("cifar10", 1): (1e-3, 8, 0),
    ("cifar100", 1): (1e-1, 8, 0),
    ("mnist", 10): (1e-2, 8, 1e-3),
    ("fashion_mnist", 10): (1e-2, 8, 1e-3),
    ("cifar10", 10): (1e-3, 2, 0),
    ("cifar100", 10): (1e-1, 2, 0),
    ("mnist", 50): (1e-2, 8, 0),
    ("fashion_mnist", 50): (1e-3, 2, 0),
    ("cifar10", 50): (1e-2, 2, 0),
}
# configuration: depth, flips, ridge, distilled and real images with a gradient, draws of
# them, batch sizes of the inner problem and of the pool
RCIG_CONFIGS = {
    "depth_3": (3, True, 5e-4, None, None, None, None, None),
    "depth_3_no_flip": (3, False, 5e-4, None, None, None, None, None),
    "cifar100_50": (3, False, 5e-4, 2000, None, 2, 2000, 2000),
    "depth_4_200": (4, True, 5e-4, None, 400, None, None, None),
    "depth_4_big": (4, False, 5e-4, 500, 256, None, 500, 256),
    "depth_5": (5, True, 0.05, None, 256, None, None, None),
}
RCIG_CELLS = {
    "depth_3": "cifar10 1 10 50, cifar100 1 10, cub200 1 10",
    "depth_3_no_flip": "mnist 1 10 50, fashion_mnist 1 10 50",
    "cifar100_50": "cifar100 50",
    "depth_4_200": "tiny_imagenet 1",
    "depth_4_big": "tiny_imagenet 10, imagenet64 1 2",
    "depth_5": "imagenette 1 10, imagewoof 1 10",
}
RCIG = {
    (name, int(count)): config
    for config, cells in RCIG_CELLS.items()
    for name, *counts in map(str.split, cells.split(", "))
    for count in counts
}
RCIG_STEPS = {
    ("cifar10", 1): 15_000,
    ("cifar10", 10): 10_000,
    ("cifar100", 1): 10_000,
    ("tiny_imagenet", 1): 5000,
}
DM = {
    **{("cifar10", k): 1.0 for k in (1, 10, 50)},
    **{("cifar10", k): 10.0 for k in (100, 200, 500, 1000, 1250)},
    **{("cifar100", k): 1.0 for k in (1, 10, 50, 100, 125)},
}
# whitening, N, M, T+, learning rates of images and step size, first step size, batch
MTT = {
    ("cifar10", 1): ("mtt_zca", 50, 2, 2, 100, 1e-7, 0.01, None),
    ("cifar10", 10): ("mtt_zca", 30, 2, 20, 100, 1e-5, 0.001, None),
    ("cifar10", 50): ("standardise", 30, 2, 40, 1000, 1e-5, 0.001, None),
    ("cifar100", 1): ("mtt_zca", 20, 3, 20, 1000, 1e-5, 0.01, None),
    ("cifar100", 10): ("standardise", 20, 2, 20, 1000, 1e-5, 0.01, None),
    ("cifar100", 50): ("mtt_zca", 80, 2, 40, 1000, 1e-5, 0.01, 125),
    ("tiny_imagenet", 1): ("standardise", 10, 2, 10, 1e4, 1e-4, 0.01, None),
    ("tiny_imagenet", 10): ("standardise", 20, 2, 40, 1e4, 1e-4, 0.01, 200),
    ("tiny_imagenet", 50): ("standardise", 20, 2, 40, 1e4, 1e-4, 0.01, 300),
    ("imagenette", 1): ("standardise", 20, 2, 10, 1000, 1e-6, 0.01, None),
    ("imagenette", 10): ("standardise", 20, 2, 10, 1000, 1e-6, 0.01, 20),
    ("imagewoof", 1): ("standardise", 20, 2, 10, 1000, 1e-6, 0.01, None),
    ("imagewoof", 10): ("standardise", 20, 2, 10, 1000, 1e-6, 0.01, 20),
}
ROWS = {"frepo": FREPO, "rfad": RFAD, "rcig": RCIG, "dm": DM, "mtt": MTT}


def quiet(method: str, cell: tuple[str, int]) -> dict:
    """Return a row that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return preset(method, *cell)


@pytest.mark.parametrize("method", ROWS)
def test_the_listed_rows_are_those_of_the_sources(method: str) -> None:
    rows = published_rows(method)
    listed = {(name, count) for name, counts in rows.items() for count in counts}
    assert {cell for cell in listed if cell[0] != "digits"} == ROWS[method].keys()


def test_every_method_has_presets() -> None:
    assert METHODS.keys() == table("methods").keys() == ROWS.keys()


@pytest.mark.parametrize("cell", FREPO)
def test_rows_of_frepo(cell: tuple[str, int]) -> None:
    flips, selection, depth, frepo_steps, isa_steps = FREPO[cell]
    row = quiet("frepo", cell)
    assert (row["flips"], row["selection_steps"]) == (flips, selection)
    assert (row["depth"], row["width"]) == (depth, 128)
    assert (row["steps"], row["batch_size"]) == (500_000, 1024)
    assert (row["pool_size"], row["max_online_updates"]) == (10, 100)
    assert (row["ridge"], row["learning_rate"]) == (1e-6, 3e-4)
    total = cell[1] * CLASSES.get(cell[0], 10)
    assert evaluation_steps(total, "frepo") == frepo_steps
    assert evaluation_steps(total, "isa") == isa_steps


def test_settings_of_isa_are_known_for_one_row() -> None:
    known = {cell for cell in FREPO if "isa" in quiet("frepo", cell)}
    assert known == {("cifar10", 10)}
    assert preset("frepo", "cifar10", 10)["isa"] == {
        "drop_easy": 0.2,
        "segment": [0.0, 0.5],
        "reduction": "released",
    }


@pytest.mark.parametrize("cell", RFAD)
def test_rows_of_rfad(cell: tuple[str, int]) -> None:
    row = quiet("rfad", cell)
    names = ("learning_rate", "label_scale", "weight_decay")
    assert tuple(row[f"evaluation_{name}"] for name in names) == RFAD[cell]
    assert (row["learning_rate"], row["ridge"], row["networks"]) == (1e-3, 5e-3, 8)
    assert (row["batch_size"], row["width"], row["depth"]) == (5120, 256, 3)


@pytest.mark.parametrize("cell", RCIG)
def test_rows_of_rcig(cell: tuple[str, int]) -> None:
    row = quiet("rcig", cell)
    names = (
        "depth",
        "flips",
        "ridge",
        "distilled_subset",
        "target_subset",
        "subset_draws",
        "inner_batch_size",
        "online_batch_size",
    )
    assert row["config"] == RCIG[cell]
    assert tuple(row.get(name) for name in names) == RCIG_CONFIGS[RCIG[cell]]
    assert row.get("steps") == RCIG_STEPS.get(cell)


@pytest.mark.parametrize("cell", DM)
def test_rows_of_dm(cell: tuple[str, int]) -> None:
    row = quiet("dm", cell)
    assert row["learning_rate"] == DM[cell]
    assert (row["momentum"], row["steps"]) == (0.5, 20_000)


@pytest.mark.parametrize("cell", MTT)
def test_rows_of_mtt(cell: tuple[str, int]) -> None:
    row = quiet("mtt", cell)
    names = (
        "whitening",
        "student_steps",
        "target_epochs",
        "max_start_epoch",
        "learning_rate",
        "rate_learning_rate",
        "student_learning_rate",
        "student_batch_size",
    )
    assert tuple(row.get(name) for name in names) == MTT[cell]
    assert (row["expert_count"], row["expert_epochs"], row["steps"]) == (100, 50, 5000)
    assert (row["expert_learning_rate"], row["expert_batch_size"]) == (0.01, 256)
    assert row["max_start_epoch"] - 1 + row["target_epochs"] <= row["expert_epochs"]


@pytest.mark.parametrize("method", ROWS)
def test_rows_of_the_digits_serve_any_count_and_are_marked(method: str) -> None:
    row = quiet(method, ("digits", 3))
    assert row["source"].startswith("ours")
    assert not quiet(method, ("cifar10", 1))["source"].startswith("ours")


def test_more_images_of_digits_take_other_learning_rates() -> None:
    few, many = quiet("mtt", ("digits", 1)), quiet("mtt", ("digits", 10))
    assert (few["learning_rate"], many["learning_rate"]) == (10.0, 1.0)
    assert (few["rate_learning_rate"], many["rate_learning_rate"]) == (1e-3, 1e-4)
    rates = [quiet("dm", ("digits", k))["learning_rate"] for k in (1, 10, 50)]
    assert rates == [1.0, 20.0, 1.0]


def test_an_unlisted_count_takes_the_nearest_row_and_warns() -> None:
    with pytest.warns(UserWarning, match=r"FRePo for 'cifar100' at 20 .*at 10"):
        row = preset("frepo", "cifar100", 20)
    assert (row["flips"], row["selection_steps"]) == (False, 2000)
    assert row["source"].startswith("ours")
    with pytest.warns(UserWarning, match="at 1"):
        assert preset("FRePo", "cifar100", 3)["flips"] is True
    with pytest.warns(UserWarning, match="RFAD for 'cifar100' at 50"):
        assert preset("rfad", "cifar100", 50)["evaluation_label_scale"] == 2


@pytest.mark.parametrize("method", ROWS)
def test_an_unlisted_data_set_takes_cifar10_without_flips_and_warns(method) -> None:
    with pytest.warns(UserWarning, match=r"for 'my_cells' at 1 .* 'cifar10' at 1"):
        row = preset(method, "my_cells", 1)
    expected = {**preset(method, "cifar10", 1), "source": row["source"]}
    if "flips" in expected:  # a flipped image may belong to another class
        expected["flips"] = False
    assert row == expected


def test_a_row_is_a_copy() -> None:
    preset("frepo", "cifar10", 10)["isa"].clear()
    assert preset("frepo", "cifar10", 10)["isa"]


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        preset("frepoo", "mnist", 1)
    with pytest.raises(ValueError, match="images_per_class"):
        preset("frepo", "mnist", 0)
    with pytest.raises(TypeError, match="images_per_class"):
        preset("frepo", "mnist", 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale must be one of"):
        scale("huge")
    with pytest.raises(ValueError, match="protocol must be one of"):
        evaluation_steps(10, "dsa")
    with pytest.raises(ValueError, match="num_distilled"):
        evaluation_steps(0)


@pytest.mark.parametrize("protocol", ["frepo", "isa"])
def test_evaluation_steps_follow_the_nearest_size_by_ratio(protocol: str) -> None:
    sizes = [10, 100, 200, 400, 500, 1000, 2000, 5000]
    for count in range(1, 6000, 7):
        near = min(sizes, key=lambda size: abs(math.log(size / count)))
        assert evaluation_steps(count, protocol) == evaluation_steps(near, protocol)
    # 31^2 < 10 * 100 < 32^2
    assert [evaluation_steps(n, protocol) for n in (1, 31, 32)] == [1000, 1000, 2000]


def test_evaluation_batches_have_at_most_500_images() -> None:
    assert [evaluation_batch_size(n) for n in (10, 500, 5000)] == [10, 500, 500]


SCALES = {  # scale: steps by method
    "quick": {"frepo": 1000, "rfad": 400, "rcig": 400, "dm": 400, "mtt": 300},
    "small": {"frepo": 1000, "rfad": 300, "rcig": 60, "dm": 300, "mtt": 100},
    "paper": {
        "frepo": 500_000,
        "rfad": 100_000,
        "rcig": 10_000,
        "dm": 20_000,
        "mtt": 5000,
    },
}
SIZES = {  # (scale, method): width, batch size; FRePo's for other methods
    ("quick", "frepo"): (16, 256),
    ("quick", "dm"): (16, 32),
    ("small", "frepo"): (16, 256),
    ("small", "rcig"): (16, 128),
    ("small", "dm"): (16, 64),
    ("paper", "frepo"): (128, 1024),
    ("paper", "rfad"): (256, 5120),
    ("paper", "dm"): (128, 256),
}


@pytest.mark.parametrize("name", SCALES)
def test_scales(name: str) -> None:
    for method, steps in SCALES[name].items():
        chosen = scale(name, method)
        assert chosen.steps == steps
        size = SIZES.get((name, method), SIZES[name, "frepo"])
        assert (chosen.width, chosen.batch_size) == size
        with pytest.raises(dataclasses.FrozenInstanceError):
            chosen.steps = 1  # type: ignore[misc]


def test_the_largest_scale_is_as_published() -> None:
    for method in ("frepo", "rfad"):
        row, chosen = quiet(method, ("cifar10", 1)), scale("paper", method)
        assert (chosen.steps, chosen.width) == (row["steps"], row["width"])
        assert chosen.batch_size == row["batch_size"]
    assert scale("paper", "dm").batch_size == quiet("dm", ("cifar10", 1))[
        "targets_per_class"
    ]  # fmt: skip
    assert scale("paper").fit is None
    for (name, count), steps in RCIG_STEPS.items():
        assert scale("paper", "rcig", name, count).steps == steps
    # Unknown ones, our own rows and smaller scales stay as they are.
    for cell in (("cifar10", 50), ("digits", 1), ("my_cells", 1)):
        assert scale("paper", "rcig", *cell).steps == 10_000
    assert scale("paper", "mtt", "digits", 1).steps == 5000
    assert scale("small", "rcig", "cifar10", 1).steps == 60


def test_the_published_sizes_are_those_of_the_data_set() -> None:
    sizes = {
        name: list(study_budget("paper", name)["steps"])
        for name in ("cifar10", "imagenet64", "tiny_imagenet", "imagewoof", "my_cells")
    }
    assert sizes == {
        "cifar10": [1, 10, 50], "imagenet64": [1, 2], "tiny_imagenet": [1, 10],
        "imagewoof": [1, 10], "my_cells": [1, 10, 50],
    }  # fmt: skip
    assert study_budget("paper", "imagenet64")["steps"][2] == 500_000
    assert list(study_budget("small", "imagenet64")["steps"]) == [1, 10]


@pytest.mark.parametrize("name", SCALES)
def test_a_study_spends_what_a_run_of_the_same_scale_does(name: str) -> None:
    budget = study_budget(name)
    for count, steps in budget["steps"].items():
        chosen = scale(name, images_per_class=count)
        assert chosen.steps == steps
        for field in ("width", "batch_size", "learning_rate", "networks", "fit"):
            assert getattr(chosen, field) == budget[field]
        assert chosen.settings == {}


def test_settings_of_a_short_run_are_fields_of_its_method() -> None:
    for name in SCALES:
        for method, entry in METHODS.items():
            entry.settings(**scale(name, method).settings)
    assert scale("small", "dm").settings == {"learning_rate": 1.0}
    steps = [
        scale("quick", images_per_class=count).steps for count in (1, 3, 4, 10, 50)
    ]
    assert steps == [1000, 1000, 300, 300, 300]


def test_the_scales_of_a_study() -> None:
    quick, small, paper = (study_budget(name) for name in ("quick", "small", "paper"))
    assert quick["steps"] == small["steps"] == {1: 1000, 10: 300}
    assert paper["steps"] == {1: 500_000, 10: 500_000, 50: 500_000}
    assert [one["seeds"] for one in (quick, small, paper)] == [5, 3, 1]
    assert [one["networks"] for one in (quick, small, paper)] == [3, 3, 5]
    assert [one["width"] for one in (quick, small, paper)] == [16, 16, 128]
    assert [one["batch_size"] for one in (quick, small, paper)] == [256, 256, 1024]
    assert [one["learning_rate"] for one in (quick, small, paper)] == [3e-3, 3e-3, 3e-4]
    assert quick["fit"] == small["fit"] != paper["fit"] is None
