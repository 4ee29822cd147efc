"""Evaluation protocols: what each is published with, and which one a set's method has.

- ``"isa"``, ``"frepo"``: Adam on squared errors of the soft labels; they differ in their
  tables of steps (docs/algorithms.md, section 7.1).
- ``"rcig"``: the same with a lower learning rate, one augmentation per image (none for
  CIFAR-10), and flipped copies in the training set where the distillation had them
  (section 7.2).
- ``"rfad"``: a wide random network, centred on its first outputs, stopped by validation
  (section 7.3).
- ``"dsa"``: that of DSA, DM and MTT: SGD on cross-entropy of the hard labels under DSA's
  augmentation (section 7.4).
- ``"dc"``: the same for DC, with an augmentation of its own for MNIST and none for other
  data sets, which train for fewer epochs (section 7.4).
- ``"published"``: the one that the method of the set is published with; the functions
  below take the others.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from isa_toolkit import presets
from isa_toolkit.datasets.augmentation import (
    GRAY_OPS,
    RGB_OPS,
    dc_default_ops,
    dsa_default_ops,
)
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.rfad import RFADSettings
from isa_toolkit.methods import METHODS
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings, SGDSettings, dsa_fit

Protocol = Literal["isa", "frepo", "rcig", "rfad", "dsa", "dc", "published"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

Training = FitSettings | SGDSettings | RFADSettings

# The settings and the set of augmentation ops of the protocols that have others.
SETTINGS_OF = {"dsa": SGDSettings, "dc": SGDSettings, "rfad": RFADSettings}
OPS_KIND = {"dsa": "dsa", "dc": "dc"}

# RCIG's where the distillation had no flipped copies: docs/algorithms.md, section 3.1.
_RCIG_OPS_WITHOUT_FLIPS = ("crop", "rotate", "translate", "cutout")


def protocol_of(distilled: DistilledSet) -> str:
    """Return the protocol that a set's method is published with, ``"isa"`` without one."""
    experiment = distilled.manifest.get("experiment") or {}
    method = experiment.get("method") or {}
    if "protocol" in method:  # of a method that is not ours
        return method["protocol"]
    name = method.get("name", "frepo")
    return METHODS[name].protocol if name in METHODS else "isa"


def default_network(protocol: str, **size: Any) -> NetworkSettings:
    """Return a protocol's published architecture, except for the width and depth given."""
    if protocol in ("dsa", "dc"):
        return NetworkSettings(name="convnet_in", **size)
    if protocol == "rfad":
        return NetworkSettings(name="convnet_flat", **{"width": 1024, **size})
    return NetworkSettings(norm="none", **size)


def network_of(distilled: DistilledSet, protocol: str) -> NetworkSettings:
    """Return a protocol's architecture at the size of the distillation's network.

    RFAD's keeps its published width of 1,024.
    """
    network = distilled.manifest.get("network") or {}
    size = {"width": network.get("width"), "depth": network.get("depth")}
    if protocol == "rfad":
        del size["width"]
    return default_network(protocol, **size)


def default_epochs(protocol: str, dataset: str | None) -> int:
    """Return the published number of epochs; only ``"dsa"`` and ``"dc"`` use it."""
    return 300 if protocol == "dc" and dataset != "mnist" else 1000


def default_fit(
    protocol: str,
    num_distilled: int,
    *,
    epochs: int,
    augmented: bool = True,
) -> Training | None:
    """Return a protocol's published training; None for RFAD's, which needs the data set.

    ``num_distilled`` does not count flipped copies; ``epochs`` are those of ``"dsa"`` and
    ``"dc"``. Only RCIG's training depends on whether it is ``augmented``.
    """
    if protocol == "rfad":
        return None
    if protocol in ("dsa", "dc"):
        return dsa_fit(num_distilled, epochs=epochs)
    if protocol == "rcig":
        length = 1000 if num_distilled <= 10 else 2000
        # The released loop without augmentation outlasts its schedule.
        final = 0 if augmented else 3 * length // 2
        return FitSettings(
            steps=length + final,
            # Up to 256 images are one batch, with all of their flipped copies.
            batch_size=256 if num_distilled > 256 else 2 * num_distilled,
            learning_rate=1e-4,
            final_steps=final,
        )
    return FitSettings(
        steps=presets.evaluation_steps(num_distilled, protocol),
        batch_size=presets.evaluation_batch_size(num_distilled),
    )


def default_ops(
    protocol: str,
    image_shape: tuple[int, int, int],
    *,
    flips: bool,
    dataset: str | None = None,
) -> tuple[str, ...]:
    """Return the ops of a protocol's published augmentation.

    Only RCIG's depend on whether flipped copies are added. Its number for CIFAR-10 is
    published without augmentation; which of both its other data sets had is unknown, and
    they are augmented here.
    """
    if protocol == "rfad" or (protocol, dataset) == ("rcig", "cifar10"):
        return ()
    if protocol == "dsa":
        return dsa_default_ops(image_shape, dataset)
    if protocol == "dc":
        return dc_default_ops(dataset)
    if protocol == "rcig" and not flips:
        return _RCIG_OPS_WITHOUT_FLIPS
    return RGB_OPS if image_shape[2] == 3 else GRAY_OPS
