"""What is measured: named settings and suites of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distillation import Experiment
from isa_toolkit.methods import FRePo
from isa_toolkit.networks import NetworkSettings

__all__ = ["SUITES", "BenchSetting", "bench_setting", "experiment_of", "made_data"]


class BenchSetting(NamedTuple):
    """The shapes of a run, which decide how long it takes.

    name: of the setting.
    image_shape: height, width, channels.
    num_classes: c.
    images_per_class: distilled ones.
    width: channels of the first layer.
    batch_size: real images per step.
    train: real images.
    test: real test images, for evaluation.
    flips: whether the distilled set is doubled with mirrored copies, as published.
    """

    name: str
    image_shape: tuple[int, int, int]
    num_classes: int
    images_per_class: int
    width: int
    batch_size: int
    train: int
    test: int
    flips: bool = False


_DIGITS = BenchSetting("digits-1", (8, 8, 1), 10, 1, 32, 256, 1438, 359)
_MNIST = BenchSetting("mnist-1", (28, 28, 1), 10, 1, 32, 256, 10_000, 10_000)
_CIFAR = BenchSetting(
    "cifar10-10", (32, 32, 3), 10, 10, 128, 1024, 50_000, 10_000, True
)
_SETTINGS = {
    one.name: one
    for one in (
        _DIGITS,
        _DIGITS._replace(name="digits-10", images_per_class=10),
        _MNIST,
        _MNIST._replace(name="mnist-10", images_per_class=10),
        _CIFAR._replace(name="cifar10-1", images_per_class=1),
        _CIFAR,
        BenchSetting("tiny", (8, 8, 1), 10, 1, 4, 32, 64, 32),
    )
}
SUITES: dict[str, tuple[str, ...]] = {
    "cpu": ("digits-1", "digits-10", "mnist-1", "mnist-10"),
    "gpu": ("cifar10-1", "cifar10-10"),
    "smoke": ("tiny",),
}


def bench_setting(name: str) -> BenchSetting:
    """Return a setting by its name.

    Args:
        name: such as ``"digits-10"``.

    Raises:
        ValueError: an unknown name; the sentence lists the known ones.
    """
    return _SETTINGS[checks.check_one_of("setting", name, _SETTINGS)]


def made_data(setting: BenchSetting) -> Dataset:
    """Return random images of a setting's shape: times do not depend on what they show.

    Args:
        setting: the shapes.

    Returns:
        A data set of noise, the same each time.
    """
    draws = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (count, *setting.image_shape)
        images = draws.integers(0, 256, shape, dtype=np.uint8)
        return images, np.arange(count, dtype=np.int32) % setting.num_classes

    images, labels = part(setting.train)
    test_images, test_labels = part(setting.test)
    return Dataset.from_arrays(
        images, labels, test_images, test_labels, name=f"noise-{setting.name}"
    )


def experiment_of(
    setting: BenchSetting,
    data: Dataset,
    *,
    with_isa: bool,
    target_precision: str = "default",
) -> Experiment:
    """Return plain FRePo or FRePo with crucial samples and ISA on a setting.

    Plain FRePo looks for no partner and ranks nothing that matters.

    Args:
        setting: the shapes.
        data: from ``made_data``.
        with_isa: drop the easiest fifth and average along the segment (0, .5).
        target_precision: of what reads the real images.
    """
    method = FRePo(flips=setting.flips, target_precision=target_precision)
    if not with_isa:
        method = dataclasses.replace(
            method, drop_easy=0.0, segment=(0.0, 0.0), partner="none"
        )
    return Experiment(
        dataset=data,
        method=method,
        images_per_class=setting.images_per_class,
        network=NetworkSettings(width=setting.width),
        batch_size=setting.batch_size,
        selection="last",
    )
