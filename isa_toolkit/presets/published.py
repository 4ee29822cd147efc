"""The published settings, row by row, and the three sizes of an experiment.

Only numbers live here: what FRePo and ISA report for a data set at a number of images
per class, how long their evaluation trains, and our scales quick, small and paper.
What a value does is written where it is used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from isa_toolkit.checks import check_integer, check_one_of, fail

__all__ = [
    "EVALUATION_STEPS",
    "PRESET_METHODS",
    "PUBLISHED",
    "SCALES",
    "DatasetFacts",
    "Preset",
    "Scale",
    "evaluation_batch_size",
    "evaluation_steps",
    "label_scale",
    "nearest_count",
    "preset",
]


class DatasetFacts(NamedTuple):
    """What the published rows of one data set have in common.

    num_classes: number of classes, C.
    depth: convolution blocks of the network.
    flips: images per class -> whether the outer loss doubles the distilled set
        with mirrored copies. Its keys are the published rows.
    selection_steps: images per class -> updates of the evaluation that chooses the
        checkpoint during distillation.
    source: where the row comes from.
    """

    num_classes: int
    depth: int
    flips: Mapping[int, bool]
    selection_steps: Mapping[int, int]
    source: str


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The settings of one row: a data set, images per class and a method.

    ``None`` means that no source gives the value; ``notes`` then says so.

    Attributes:
        dataset: name of the data set.
        images_per_class: distilled images of each class.
        method: ``"frepo"`` or ``"isa"`` (FRePo with crucial samples and ISA).
        width: channels after the first convolution; doubles with each layer.
        depth: convolution blocks; the network's own rule where ``None``.
        flips: whether the outer loss doubles the distilled set with mirrored
            copies.
        label_scale: divisor of the first distilled labels, ``sqrt(C / 10)``.
        drop_easy: fraction of the target batch with the smallest loss that is left
            out.
        drop_hard: fraction with the largest loss that is left out.
        segment: ends ``(a, b)`` of the segment that the loss is averaged over.
        ridge: ridge relative to the mean of the kernel's diagonal.
        learning_rate: first LAMB learning rate, for images and labels.
        final_learning_rate: share of it left after the cosine decay.
        steps: outer steps.
        batch_size: target images in one step.
        pool_size: networks in the model pool.
        max_online_updates: a network whose age exceeds this is replaced.
        online_learning_rate: Adam learning rate of the networks in the pool.
        selection_steps: updates of the evaluation that chooses a checkpoint.
        evaluation_steps: updates of the final evaluation.
        evaluation_batch_size: distilled images in one of those updates.
        evaluation_networks: networks trained in the final evaluation.
        source: where the row comes from.
        notes: what is unknown or ours.
    """

    dataset: str
    images_per_class: int
    method: str
    width: int = 128
    depth: int | None
    flips: bool
    label_scale: float | None
    drop_easy: float | None
    drop_hard: float
    segment: tuple[float, float] | None
    ridge: float = 1e-6
    learning_rate: float = 3e-4
    final_learning_rate: float = 0.1
    steps: int = 500_000
    batch_size: int = 1024
    pool_size: int = 10
    max_online_updates: int = 100
    online_learning_rate: float = 3e-4
    selection_steps: int
    evaluation_steps: int | None
    evaluation_batch_size: int | None
    evaluation_networks: int = 5
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of an experiment is run; everything else stays as published.

    Attributes:
        steps: outer steps.
        width: channels after the first convolution.
        batch_size: target images in one step.
        seeds: distilled sets, each from its own first images.
        note: what the size is for and where its numbers come from.
        networks: evaluation networks trained on each distilled set.
        evaluation_steps: updates of each; ``None`` follows `evaluation_steps`.
    """

    steps: int
    width: int
    batch_size: int
    seeds: int
    note: str
    networks: int = 5
    evaluation_steps: int | None = None


PRESET_METHODS = ("frepo", "isa")

_CODE = "released code of FRePo 43e028a and ISA 6f3110d"
_OURS = "ours; no published row"


def _facts(
    num_classes: int, depth: int, rows: str, source: str = _CODE
) -> DatasetFacts:
    """Return facts from rows such as ``"1 flips 1000, 10 plain 2000"``."""
    cells = [row.split() for row in rows.split(", ")]
    flips = {int(count): kind == "flips" for count, kind, _ in cells}
    updates = {int(count): int(number) for count, _, number in cells}
    return DatasetFacts(
        num_classes=num_classes,
        depth=depth,
        flips=MappingProxyType(flips),
        selection_steps=MappingProxyType(updates),
        source=source,
    )


# Mirrored images stay in their class for natural images, not for digits. CIFAR-100 at
# 10 and 50, Tiny-ImageNet at 10 and ImageNet-64 go without, which halves the kernel.
_GREY = "1 plain 1000, 10 plain 1000, 50 plain 1000"
_NATURAL = "1 flips 1000, 10 flips 1000"
PUBLISHED: Mapping[str, DatasetFacts] = MappingProxyType(
    {
        "digits": _facts(10, 3, _GREY, source=_OURS),
        "mnist": _facts(10, 3, _GREY),
        "fashion_mnist": _facts(10, 3, _GREY),
        "cifar10": _facts(10, 3, f"{_NATURAL}, 50 flips 1000"),
        "cifar100": _facts(100, 3, "1 flips 1000, 10 plain 2000, 50 plain 5000"),
        "cub200": _facts(200, 3, _NATURAL),
        "tiny_imagenet": _facts(200, 4, "1 flips 1000, 10 plain 5000"),
        "imagenet64": _facts(1000, 4, "1 plain 2500, 2 plain 5000"),
        "imagenette": _facts(10, 5, _NATURAL),
        "imagewoof": _facts(10, 5, _NATURAL),
    }
)

_SIZES = (10, 100, 200, 400, 500, 1000, 2000, 5000)
_FREPO = (1000, 2000, 20_000, 5000, 5000, 10_000, 40_000, 40_000)
_ISA = (1000, 2000, 2000, 5000, 5000, 4000, 5000, 40_000)

# Updates of the final evaluation by number of distilled images (before mirroring).
EVALUATION_STEPS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        "frepo": MappingProxyType(dict(zip(_SIZES, _FREPO, strict=True))),
        "isa": MappingProxyType(dict(zip(_SIZES, _ISA, strict=True))),
    }
)

SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "quick": Scale(
            steps=400,
            width=16,
            batch_size=256,
            seeds=3,
            evaluation_steps=400,
            note="under a minute per run of digits on two cores; ours, measured",
        ),
        "small": Scale(
            steps=5000,
            width=64,
            batch_size=512,
            seeds=3,
            note="for one GPU with CIFAR-10; ours, provisional, not timed",
        ),
        "paper": Scale(
            steps=500_000,
            width=128,
            batch_size=1024,
            seeds=1,
            note="as published: one distilled set, five evaluation networks",
        ),
    }
)


def label_scale(num_classes: int) -> float:
    """Return the divisor of the first distilled labels, ``sqrt(C / 10)``.

    Args:
        num_classes: C, at least 2.

    Returns:
        The divisor: 1 for 10 classes, 3.162 for 100, 10 for 1,000.

    Raises:
        TypeError: ``num_classes`` is not a whole number.
        ValueError: it is below 2.

    Source: released code of FRePo and ISA; targets are never scaled.
    """
    return math.sqrt(check_integer("num_classes", num_classes, minimum=2) / 10)


def evaluation_steps(num_distilled: int, protocol: str = "isa") -> int:
    """Return how many updates the final evaluation trains.

    Between the sizes of the published table the nearest one by ratio decides (the
    smaller of two equally near ones), so 30 distilled images train as 10 do and 40 as
    100 do. This rule is ours; the released code knows the listed sizes only.

    Args:
        num_distilled: distilled images in all classes together, without mirrored
            copies.
        protocol: ``"isa"`` or ``"frepo"``. They differ at 200, 1,000 and 2,000 images.

    Returns:
        The number of updates.

    Raises:
        TypeError: ``num_distilled`` is not a whole number.
        ValueError: it is below 1, or the protocol is unknown.

    Source: evaluation scripts of the released FRePo and ISA code.
    """
    check_one_of("protocol", protocol, EVALUATION_STEPS)
    count = check_integer("num_distilled", num_distilled)
    table = EVALUATION_STEPS[protocol]
    return table[nearest_count(count, table)]


def evaluation_batch_size(num_distilled: int) -> int:
    """Return the batch size of the final evaluation, ``min(n, 500)``.

    Args:
        num_distilled: distilled images in all classes together, n.

    Raises:
        TypeError: ``num_distilled`` is not a whole number.
        ValueError: it is below 1.
    """
    return min(check_integer("num_distilled", num_distilled), 500)


def preset(
    dataset: str,
    images_per_class: int,
    method: str = "frepo",
    *,
    num_classes: int | None = None,
) -> Preset:
    """Return the published settings of one row.

    A row that no source lists warns and says what it falls back to: an unlisted number
    of images per class takes the flips and selection updates of the nearest listed one
    (by ratio) of the same data set; an unlisted data set goes without flips, since a
    mirrored image may change its class, and takes 1,000 selection updates.

    Args:
        dataset: name of the data set, one of ``PUBLISHED`` or your own.
        images_per_class: distilled images of each class, at least 1.
        method: ``"frepo"``, or ``"isa"`` for FRePo with crucial samples and ISA.
        num_classes: number of classes of your own data; known for a listed data set.

    Returns:
        The settings. Values that depend on an unknown number of classes are ``None``,
        and so is what the sources do not give.

    Raises:
        TypeError: a number is not whole.
        ValueError: the method is unknown, a number is too small, or it contradicts
            the listed data set.

    Warns:
        UserWarning: the row is not listed.

    Source: released code of FRePo and ISA. Its README gives drop_easy 0.2 and segment
    (0, 0.5) for CIFAR-10 at 10 images per class only; no source tells the values
    behind the other rows of the ISA paper's tables.
    """
    check_one_of("method", method, PRESET_METHODS)
    count = check_integer("images_per_class", images_per_class)
    facts = PUBLISHED.get(dataset)
    if facts is not None and num_classes not in (None, facts.num_classes):
        raise fail(
            "num_classes",
            f"be {facts.num_classes} for data set {dataset!r}",
            num_classes,
            "Leave it out, or name your own data set differently.",
        )
    classes = num_classes if facts is None else facts.num_classes
    flips, selection, source, notes = _row(dataset, count, facts)

    drop_easy, segment, unknown = _crucial(dataset, count, method)
    if classes is None:
        notes += ("label_scale and evaluation steps unknown: pass num_classes",)
    total = None if classes is None else classes * count
    return Preset(
        dataset=dataset,
        images_per_class=count,
        method=method,
        depth=None if facts is None else facts.depth,
        flips=flips,
        label_scale=None if classes is None else label_scale(classes),
        drop_easy=drop_easy,
        drop_hard=0.0,
        segment=segment,
        selection_steps=selection,
        evaluation_steps=None if total is None else evaluation_steps(total, method),
        evaluation_batch_size=None if total is None else evaluation_batch_size(total),
        source=source,
        notes=notes + unknown,
    )


def _row(
    dataset: str, count: int, facts: DatasetFacts | None
) -> tuple[bool, int, str, tuple[str, ...]]:
    """Return flips, selection updates, source and notes; warn when not listed."""
    if facts is None:
        used = "no flips and 1,000 selection updates"
        flips, selection = False, 1000
    else:
        near = nearest_count(count, facts.flips)
        used = f"the flips and selection updates of {near} images per class"
        flips, selection = facts.flips[near], facts.selection_steps[near]
        # No row of the digits is published, so none is missing either.
        if near == count or facts.source == _OURS:
            return flips, selection, facts.source, ()
    note = (
        f"no published settings for {dataset!r} at {count} images per class; using "
        f"{used}"
    )
    # Level 3 is the caller of `preset`.
    warnings.warn(f"{note}.", UserWarning, stacklevel=3)
    return flips, selection, _OURS, (note,)


def _crucial(
    dataset: str, count: int, method: str
) -> tuple[float | None, tuple[float, float] | None, tuple[str, ...]]:
    """Return drop_easy, segment and notes of a method on a row."""
    if method == "frepo":
        return 0.0, (0.0, 0.0), ()
    if (dataset, count) == ("cifar10", 10):
        note = "the released run script uses the segment (0, 1) in place of (0, 0.5)"
        return 0.2, (0.0, 0.5), (note,)
    note = (
        "drop_easy and segment unknown for this row; CIFAR-10 at 10 images per class "
        "uses 0.2 and (0, 0.5)"
    )
    return None, None, (note,)


def nearest_count(count: int, listed: Mapping[int, object]) -> int:
    """Return the listed size nearest to ``count`` by ratio, the smaller on a tie.

    Args:
        count: a size.
        listed: sizes that there are; only its keys matter.
    """
    # Exact integer comparison of ratios: logarithms would break ties by rounding.
    below = max((size for size in listed if size <= count), default=min(listed))
    above = min((size for size in listed if size >= count), default=max(listed))
    return below if count * count <= below * above else above
