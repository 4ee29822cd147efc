"""RCIG's evaluation: how it trains on a distilled set."""

from __future__ import annotations

import dataclasses

import numpy as np

from isa_toolkit import checks
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.evaluation import EvaluationSettings
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings

__all__ = ["rcig_protocol", "with_mirrored"]

_STILL_OPS = ("crop", "rotate", "translate", "cutout")


def rcig_protocol(
    num_distilled: int,
    *,
    network: NetworkSettings | None = None,
    networks: int = 5,
    augment: bool = True,
    flips: bool = True,
    seed: int = 0,
) -> EvaluationSettings:
    """Return the settings of RCIG's evaluation.

    Adam at 1e-4 after 500 steps of warm-up, down to 1 % by a cosine; 1,000 steps for up to
    10 distilled images and 2,000 for more; the whole set in a step, or 256 images of a
    larger one; one op of augmentation drawn per image.

    Args:
        num_distilled: distilled images, before mirroring.
        network: architecture; None for the ConvNet without normalisation.
        networks: how many fresh ones.
        augment: False trains without augmentation.
        flips: False for images whose mirror images are others, published for MNIST and
            Fashion-MNIST: neither flips nor colour.
        seed: of everything that is drawn.

    Returns:
        Settings for ``evaluate(distilled, dataset, settings)``. Pass it
        ``with_mirrored(distilled)`` where the distillation took mirrored copies.

    Raises:
        TypeError: a number is not whole.
        ValueError: a number is too small.

    Source: algorithms 7.2 and 3.1 ("RCIG no-flip config").
    **Deviation:** without augmentation as many steps as with it (the released loop then
    runs on for 2.5 times as long); the loss is not divided by C, which Adam does not
    notice.
    """
    count = checks.check_integer("num_distilled", num_distilled)
    ops = None if flips else _STILL_OPS
    return EvaluationSettings(
        network=network or NetworkSettings(norm="none"),
        networks=networks,
        seed=seed,
        fit=FitSettings(
            steps=1000 if count <= 10 else 2000, batch_size=256, learning_rate=1e-4
        ),
        ops=ops if augment else (),
        augment_mode="sample",
        mirrored=False,
    )


def with_mirrored(distilled: DistilledSet) -> DistilledSet:
    """Return the set followed by its mirror images, under the same labels.

    Args:
        distilled: m images.

    Returns:
        2 m images.

    Source: algorithms 7.2.
    """
    return dataclasses.replace(
        distilled,
        images=_doubled(distilled.images),
        pixels=_doubled(distilled.pixels),
        labels=np.concatenate([distilled.labels, distilled.labels]),
    )


def _doubled(images: np.ndarray) -> np.ndarray:
    return np.concatenate([images, images[:, :, ::-1]])
