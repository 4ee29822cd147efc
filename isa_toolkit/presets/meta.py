"""The published settings of the meta-learning methods RFAD and RCIG, row by row.

Only numbers live here. A row that no source lists warns and takes the nearest one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from isa_toolkit.presets.published import SCALES, Scale
from isa_toolkit.presets.rows import MEASURED, row_of

__all__ = [
    "META_SCALES",
    "RCIG_ROWS",
    "RFAD_ROWS",
    "RCIGPreset",
    "RFADPreset",
    "rcig_preset",
    "rfad_preset",
]


@dataclass(frozen=True, kw_only=True)
class RFADPreset:
    """RFAD's settings on one row.

    Attributes:
        dataset: name of the data set.
        images_per_class: distilled images of each class.
        learning_rate: AdaBelief's, of images and labels.
        width: channels of every layer.
        depth: conv layers.
        networks: random networks per step.
        ridge: relative ridge.
        steps: most outer steps.
        batch_size: real images in one step.
        evaluation_width: channels of the network that is trained on the result.
        evaluation_learning_rate: its SGD learning rate.
        evaluation_label_scale: its labels are multiplied by this.
        evaluation_weight_decay: on the distance from its first parameters.
        source: where the row comes from.
        notes: what is unknown or ours.
    """

    dataset: str
    images_per_class: int
    learning_rate: float = 1e-3
    width: int = 256
    depth: int = 3
    networks: int = 8
    ridge: float = 5e-3
    steps: int = 100_000
    batch_size: int = 5120
    evaluation_width: int = 1024
    evaluation_learning_rate: float | None
    evaluation_label_scale: float | None
    evaluation_weight_decay: float | None
    source: str = "released code of RFAD c9ef03e"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RCIGPreset:
    """RCIG's settings on one row.

    Attributes:
        dataset: name of the data set.
        images_per_class: distilled images of each class.
        config: name of the released configuration.
        depth: conv layers; the smooth ReLU up to 3, ReLU beyond.
        flips: whether the distilled set is doubled with mirrored copies.
        ridge: absolute ridge per distilled image, ``l2_rate``.
        learning_rate: AdaBelief's, of images and labels.
        inner_steps: Adam steps of the inner problem, and as many of the
            inverse-Hessian-vector product.
        distilled_subset: distilled images, mirrored ones included, that carry a gradient
            in one step; None for all.
        target_subset: real images that do; None for all.
        steps: outer steps of the shipped checkpoint; None where there is none.
        batch_size: real images in one step.
        pool_size: networks.
        source: where the row comes from.
        notes: what is unknown or ours.
    """

    dataset: str
    images_per_class: int
    config: str
    depth: int
    flips: bool
    ridge: float = 5e-4
    learning_rate: float = 3e-3
    inner_steps: int = 20
    distilled_subset: int | None = None
    target_subset: int | None = None
    steps: int | None = None
    batch_size: int = 1024
    pool_size: int = 30
    source: str = "released code of RCIG a9fb1fa"
    notes: tuple[str, ...] = ()


# data set, images per class, learning rate, label scale and weight decay of the
# evaluation. Algorithms 7.3.
_RFAD = """
mnist 1 1e-3 8 1e-3
mnist 10 1e-2 8 1e-3
mnist 50 1e-2 8 0
fashion_mnist 1 1e-3 8 0
fashion_mnist 10 1e-2 8 1e-3
fashion_mnist 50 1e-3 2 0
svhn 1 1e-3 16 0
svhn 10 1e-2 8 0
svhn 50 1e-2 2 0
cifar10 1 1e-3 8 0
cifar10 10 1e-3 2 0
cifar10 50 1e-2 2 0
cifar100 1 1e-1 8 0
cifar100 10 1e-1 2 0
"""

# data set, images per class, configuration, depth, mirrored copies, distilled and real
# images with a gradient, steps. Algorithms 4.3.
_RCIG = """
mnist 1 depth_3_no_flip 3 no all all ?
mnist 10 depth_3_no_flip 3 no all all ?
mnist 50 depth_3_no_flip 3 no all all ?
fashion_mnist 1 depth_3_no_flip 3 no all all ?
fashion_mnist 10 depth_3_no_flip 3 no all all ?
fashion_mnist 50 depth_3_no_flip 3 no all all ?
cifar10 1 depth_3 3 yes all all 15000
cifar10 10 depth_3 3 yes all all 10000
cifar10 50 depth_3 3 yes all all ?
cifar100 1 depth_3 3 yes all all 10000
cifar100 10 depth_3 3 yes all all ?
cifar100 50 cifar100_50 3 no 2000 all ?
cub200 1 depth_3 3 yes all all ?
cub200 10 depth_3 3 yes all all ?
tiny_imagenet 1 depth_4_200 4 yes all 400 5000
tiny_imagenet 10 depth_4_big 4 no 500 256 ?
imagenet64 1 depth_4_big 4 no 500 256 ?
imagenet64 2 depth_4_big 4 no 500 256 ?
imagenette 1 depth_5 5 yes all 256 ?
imagenette 10 depth_5 5 yes all 256 ?
imagewoof 1 depth_5 5 yes all 256 ?
imagewoof 10 depth_5 5 yes all 256 ?
"""

_DEPTH_5_RIDGE = 0.05
_UNKNOWN_STEPS = "the number of steps is UNKNOWN"
_PARTIAL = "the released configuration also takes two partial backward passes; not offered here"


def _rfad_rows() -> tuple[RFADPreset, ...]:
    rows = [
        RFADPreset(
            dataset="digits",
            images_per_class=count,
            learning_rate=0.01,
            evaluation_learning_rate=None,
            evaluation_label_scale=None,
            evaluation_weight_decay=None,
            source=MEASURED,
        )
        for count in (1, 10)
    ]
    for line in _RFAD.strip().splitlines():
        name, count, rate, scale, decay = line.split()
        rows.append(
            RFADPreset(
                dataset=name,
                images_per_class=int(count),
                evaluation_learning_rate=float(rate),
                evaluation_label_scale=float(scale),
                evaluation_weight_decay=float(decay),
            )
        )
    return tuple(rows)


def _rcig_rows() -> tuple[RCIGPreset, ...]:
    rows = [
        RCIGPreset(
            dataset="digits",
            images_per_class=count,
            config="ours",
            depth=3,
            flips=False,
            learning_rate=0.01,
            source=MEASURED,
        )
        for count in (1, 10)
    ]
    for line in _RCIG.strip().splitlines():
        name, count, config, depth, flips, distilled, target, steps = line.split()
        notes = (_UNKNOWN_STEPS,) if steps == "?" else ()
        rows.append(
            RCIGPreset(
                dataset=name,
                images_per_class=int(count),
                config=config,
                depth=int(depth),
                flips=flips == "yes",
                ridge=_DEPTH_5_RIDGE if config == "depth_5" else 5e-4,
                distilled_subset=None if distilled == "all" else int(distilled),
                target_subset=None if target == "all" else int(target),
                steps=None if steps == "?" else int(steps),
                notes=notes + ((_PARTIAL,) if config == "cifar100_50" else ()),
            )
        )
    return tuple(rows)


RFAD_ROWS: tuple[RFADPreset, ...] = _rfad_rows()
RCIG_ROWS: tuple[RCIGPreset, ...] = _rcig_rows()

# What `presets.SCALES` is to FRePo. The quick runs of digits were measured: RFAD about 10
# and RCIG about 25 seconds of CPU, half of it validation.
META_SCALES: Mapping[str, Mapping[str, Scale]] = MappingProxyType(
    {
        "rfad": MappingProxyType(
            {
                "quick": SCALES["quick"],
                "small": dataclasses.replace(SCALES["small"], steps=2000),
                "paper": dataclasses.replace(
                    SCALES["paper"], steps=100_000, width=256, batch_size=5120
                ),
            }
        ),
        "rcig": MappingProxyType(
            {
                "quick": SCALES["quick"],
                "small": dataclasses.replace(SCALES["small"], steps=2000),
                "paper": dataclasses.replace(
                    SCALES["paper"],
                    steps=10_000,
                    note="5,000 to 15,000 steps by row, UNKNOWN for most: rcig_preset",
                ),
            }
        ),
    }
)


def rfad_preset(dataset: str, images_per_class: int) -> RFADPreset:
    """Return RFAD's settings on one row.

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

    Source: algorithms 4.4 and 7.3.
    """
    return row_of("RFAD", dataset, images_per_class, RFAD_ROWS)


def rcig_preset(dataset: str, images_per_class: int) -> RCIGPreset:
    """Return RCIG's settings on one row.

    A row that no source lists warns and takes the nearest number of images per class of
    the same data set; for an unlisted data set CIFAR-10's, without mirrored copies,
    since a mirrored image may change its class.

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

    Source: algorithms 4.3.
    """
    row = row_of("RCIG", dataset, images_per_class, RCIG_ROWS)
    is_listed = any(known.dataset == dataset for known in RCIG_ROWS)
    return row if is_listed else dataclasses.replace(row, flips=False)
