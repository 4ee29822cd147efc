"""Evaluation protocols: what each is published with, and which one a set's method has.

- ``"isa"``, ``"frepo"``: Adam on squared errors of the soft labels; they differ in their
  tables of steps (docs/algorithms.md, section 7.1).
- ``"rcig"``: the same with a lower learning rate, one augmentation per image, and flipped
  copies in the training set where the distillation had them (section 7.2).
- ``"rfad"``: a wide random network, centred on its first outputs, stopped by validation
  (section 7.3).
- ``"dsa"``: that of DC, DSA, DM and MTT: SGD on cross-entropy of the hard labels under
  DSA's augmentation (section 7.4).
- ``"published"``: the one that the method of the set is published with; the functions
  below take the others.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from isa_toolkit import presets
from isa_toolkit.datasets.augmentation import GRAY_OPS, RGB_OPS, dsa_default_ops
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.rfad import RFADSettings
from isa_toolkit.methods import METHODS
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.networks.training import FitSettings, SGDSettings, dsa_fit

Protocol = Literal["isa", "frepo", "rcig", "rfad", "dsa", "published"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

Training = FitSettings | SGDSettings | RFADSettings

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
    if protocol == "dsa":
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


def default_fit(protocol: str, num_distilled: int, *, epochs: int) -> Training | None:
    """Return a protocol's published training; None for RFAD's, which needs the data set.

    ``num_distilled`` does not count flipped copies; ``epochs`` are those of ``"dsa"``.
    """
    if protocol == "rfad":
        return None
    if protocol == "dsa":
        return dsa_fit(num_distilled, epochs=epochs)
    if protocol == "rcig":
        # Without augmentation the released loop trains 2.5 times as long; ours does not.
        return FitSettings(
            steps=1000 if num_distilled <= 10 else 2000,
            batch_size=256,
            learning_rate=1e-4,
        )
    return FitSettings(
        steps=presets.evaluation_steps(num_distilled, protocol),
        batch_size=presets.evaluation_batch_size(num_distilled),
    )


def default_ops(
    protocol: str, image_shape: tuple[int, int, int], *, flips: bool
) -> tuple[str, ...]:
    """Return the ops of a protocol's published augmentation.

    Only RCIG's depend on whether flipped copies are added.
    """
    if protocol == "rfad":
        return ()
    if protocol == "dsa":
        return dsa_default_ops(image_shape)
    if protocol == "rcig" and not flips:
        return _RCIG_OPS_WITHOUT_FLIPS
    return RGB_OPS if image_shape[2] == 3 else GRAY_OPS
