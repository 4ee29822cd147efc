"""The published settings of the matching methods DM and MTT, row by row.

Only numbers live here. For MTT three lists exist and disagree (tables A, B and C of
algorithms 4.6); all are kept, and a row says where it comes from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from isa_toolkit.checks import check_one_of
from isa_toolkit.presets.published import SCALES, Scale
from isa_toolkit.presets.rows import MEASURED, row_of

__all__ = [
    "DM_ROWS",
    "MATCHING_SCALES",
    "MTT_ROWS",
    "DMPreset",
    "MTTPreset",
    "dm_preset",
    "mtt_preset",
]


@dataclass(frozen=True, kw_only=True)
class DMPreset:
    """DM's settings on one row.

    Attributes:
        dataset: name of the data set.
        images_per_class: distilled images of each class.
        learning_rate: SGD learning rate of the images.
        momentum: of the images.
        steps: outer steps.
        targets_per_class: real images of each class in a step.
        source: where the row comes from.
        notes: what is unknown or ours.
    """

    dataset: str
    images_per_class: int
    learning_rate: float
    momentum: float = 0.5
    steps: int = 20_000
    targets_per_class: int = 256
    source: str = "released code of DM 53f63a6"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MTTPreset:
    """MTT's settings on one row.

    Attributes:
        dataset: name of the data set.
        images_per_class: distilled images of each class.
        table: which list of algorithms 4.6 the row stands in, ``"A"``, ``"B"`` or
            ``"C"``, or ``"ours"``.
        whitening: ``"zca"`` (MTT's own, weaker than this toolkit's: absolute epsilon
            .1) or ``"standardise"``.
        student_steps: N, unrolled steps of the student.
        target_epochs: M, epochs of the expert that they are to reach.
        max_start_epoch: T+, start epochs are 0 .. T+ - 1.
        learning_rate: of the images.
        rate_learning_rate: of the student's step size.
        student_learning_rate: a0, the step size at first.
        student_batch_size: distilled images in a student's step; None for all.
        depth: conv layers; None for the rule of the resolution.
        expert_count: experts.
        expert_epochs: epochs of each.
        expert_learning_rate: SGD learning rate of the experts.
        expert_batch_size: real images in one of their steps.
        steps: outer steps.
        source: where the row comes from.
        notes: what is unknown, disputed or ours.
    """

    dataset: str
    images_per_class: int
    table: str
    whitening: str
    student_steps: int
    target_epochs: int
    max_start_epoch: int
    learning_rate: float
    rate_learning_rate: float
    student_learning_rate: float
    student_batch_size: int | None = None
    depth: int | None = None
    expert_count: int = 100
    expert_epochs: int = 50
    expert_learning_rate: float = 0.01
    expert_batch_size: int = 256
    steps: int = 5000
    source: str = ""
    notes: tuple[str, ...] = ()


def _dm_rows() -> tuple[DMPreset, ...]:
    digits = [
        DMPreset(
            dataset="digits", images_per_class=k, learning_rate=rate, source=MEASURED
        )
        for k, rate in ((1, 1.0), (10, 20.0), (50, 1.0))
    ]
    cifar = [
        DMPreset(dataset=name, images_per_class=k, learning_rate=1.0)
        for name in ("cifar10", "cifar100")
        for k in (1, 10, 50)
    ]
    # "10 for CIFAR10 IPC >= 100"
    many = [
        DMPreset(dataset="cifar10", images_per_class=k, learning_rate=10.0)
        for k in (100, 200, 500, 1000, 1250)
    ]
    return (*digits, *cifar, *many)


_TABLE_A = "dc_benchmark readme, 'provided by the author' (table A)"
_TABLE_B = "third-party transcription of the author's table (table B)"
_TABLE_C = "MTT's readme, ImageNet subsets (table C)"
_TYPO = (
    "the readme's picture gives a learning rate of 1e5 here, a typo that the author "
    "acknowledged; 100 or 1000 is meant",
)
_SUBSETS = (
    "another place gives an image learning rate of 1e5 for the ImageNet subsets",
    "128 pixels, depth 5",
)

# data set, images per class, ZCA, N, M, T+, lr of images, of the step size, a0, batch
_A = """
cifar10 1 yes 50 2 2 100 1e-7 .01 all
cifar10 10 yes 30 2 20 100 1e-5 .001 all
cifar10 50 no 30 2 40 1000 1e-5 .001 all
cifar100 1 yes 20 3 20 1000 1e-5 .01 all
cifar100 10 no 20 2 20 1000 1e-5 .01 all
cifar100 50 yes 80 2 40 1000 1e-5 .01 125
tiny_imagenet 1 no 10 2 10 1e4 1e-4 .01 all
tiny_imagenet 10 no 20 2 40 1e4 1e-4 .01 200
tiny_imagenet 50 no 20 2 40 1e4 1e-4 .01 300
"""
_B = """
cifar10 1 no 50 2 5 1e3 1e-7 .01 all
cifar10 10 no 30 2 15 1e3 1e-5 .01 all
cifar10 50 no 30 2 40 1e3 1e-5 .001 all
cifar10 1 yes 50 2 2 1e2 1e-7 .01 all
cifar10 10 yes 30 2 20 1e5 1e-4 .01 all
cifar10 50 yes 30 2 20 1e2 1e-5 .001 all
"""
_C = """
imagenette 1 no 20 2 10 1000 1e-6 .01 all
imagenette 10 no 20 2 10 1000 1e-6 .01 20
imagewoof 1 no 20 2 10 1000 1e-6 .01 all
imagewoof 10 no 20 2 10 1000 1e-6 .01 20
"""


def _mtt_rows(table: str, text: str, source: str) -> Iterable[MTTPreset]:
    for line in text.strip().splitlines():
        name, count, zca, n, m, t, images, rate, first, batch = line.split()
        notes = ()
        if (table, name, count, zca) == ("B", "cifar10", "10", "yes"):
            notes = _TYPO
        elif table == "C":
            notes = _SUBSETS
        yield MTTPreset(
            dataset=name,
            images_per_class=int(count),
            table=table,
            whitening="zca" if zca == "yes" else "standardise",
            student_steps=int(n),
            target_epochs=int(m),
            max_start_epoch=int(t),
            learning_rate=float(images),
            rate_learning_rate=float(rate),
            student_learning_rate=float(first),
            student_batch_size=None if batch == "all" else int(batch),
            depth=_MTT_DEPTH.get((name, int(count))),
            source=source,
            notes=notes,
        )


# Tiny-ImageNet: table A says so for 50 images per class, the author for all; the
# ImageNet subsets have 128 pixels.
_MTT_DEPTH = {("tiny_imagenet", k): 4 for k in (1, 10, 50)} | {
    (name, k): 5 for name in ("imagenette", "imagewoof") for k in (1, 10)
}

_DIGITS = tuple(
    MTTPreset(
        dataset="digits",
        images_per_class=count,
        table="ours",
        whitening="standardise",
        student_steps=10,
        target_epochs=1,
        max_start_epoch=6,
        learning_rate=rate,
        rate_learning_rate=rate / 10_000,
        student_learning_rate=0.05,
        expert_count=8,
        expert_epochs=6,
        expert_learning_rate=0.05,
        expert_batch_size=64,
        steps=300,
        source=MEASURED,
        notes=notes,
    )
    for count, rate, notes in (
        (1, 10.0, ()),
        # At 10 and 1e-3, as at 1 image, three seeds fell 7 points below the images they
        # began with; at 1 and 1e-3 the student's step size ran away on one of four.
        # Others (20 student steps, earlier pieces, .3) were not clearly better.
        (
            10,
            1.0,
            (
                "ridge predictor, ten seeds: 1.2 [0.5, 2.0] points above the real images "
                "that it begins with",
            ),
        ),
    )
)

DM_ROWS: tuple[DMPreset, ...] = _dm_rows()
MTT_ROWS: tuple[MTTPreset, ...] = (
    *_DIGITS,
    *_mtt_rows("A", _A, _TABLE_A),
    *_mtt_rows("B", _B, _TABLE_B),
    *_mtt_rows("C", _C, _TABLE_C),
)

# What `presets.SCALES` is to FRePo. Batch sizes are real images of each class (DM).
MATCHING_SCALES: Mapping[str, Mapping[str, Scale]] = MappingProxyType(
    {
        "dm": MappingProxyType(
            {
                "quick": dataclasses.replace(SCALES["quick"], steps=400, batch_size=32),
                "small": dataclasses.replace(
                    SCALES["small"], steps=2000, batch_size=128
                ),
                "paper": dataclasses.replace(
                    SCALES["paper"],
                    steps=20_000,
                    batch_size=256,
                    seeds=5,
                    note="as published: five distilled sets, 20 evaluation networks each",
                    networks=20,
                ),
            }
        ),
        "mtt": MappingProxyType(
            {
                "quick": dataclasses.replace(SCALES["quick"], steps=300),
                "small": dataclasses.replace(SCALES["small"], steps=1000),
                "paper": dataclasses.replace(SCALES["paper"], steps=5000),
            }
        ),
    }
)


def dm_preset(dataset: str, images_per_class: int) -> DMPreset:
    """Return DM's settings on one row.

    A row that no source lists warns and takes the nearest number of images per class of
    the same data set, or CIFAR-10's for an unlisted data set.

    Args:
        dataset: name of the data set.
        images_per_class: distilled images of each class, at least 1.

    Returns:
        The settings.

    Raises:
        TypeError: ``images_per_class`` is not whole.
        ValueError: it is below 1.

    Warns:
        UserWarning: the row is not listed.

    Source: algorithms 4.5.
    """
    return row_of("DM", dataset, images_per_class, DM_ROWS)


def mtt_preset(
    dataset: str,
    images_per_class: int,
    *,
    table: str | None = None,
    whitening: str | None = None,
) -> MTTPreset:
    """Return MTT's settings on one row.

    A row that no source lists warns and takes the nearest number of images per class of
    the same data set, or CIFAR-10's for an unlisted data set.

    Args:
        dataset: name of the data set.
        images_per_class: distilled images of each class, at least 1.
        table: ``"A"``, ``"B"`` or ``"C"``; None for the first that has the row.
        whitening: ``"zca"`` or ``"standardise"``; None for the first row found.

    Returns:
        The settings.

    Raises:
        TypeError: ``images_per_class`` is not whole.
        ValueError: it is below 1, or ``table`` or ``whitening`` is unknown.

    Warns:
        UserWarning: the row is not listed.

    Source: algorithms 4.6.
    """
    rows = MTT_ROWS
    if table is not None:
        check_one_of("table", table, ("A", "B", "C"))
        rows = tuple(row for row in rows if row.table == table)
    if whitening is not None:
        check_one_of("whitening", whitening, ("zca", "standardise"))
        rows = tuple(row for row in rows if row.whitening == whitening) or rows
    return row_of("MTT", dataset, images_per_class, rows)
