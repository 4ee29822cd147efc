"""Which evaluation protocols there are, and what each is published with."""

from __future__ import annotations

from typing import Any

from isa_toolkit import checks
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.methods import METHODS
from isa_toolkit.methods.base import traits_of
from isa_toolkit.networks import NetworkSettings

__all__ = ["PROTOCOLS", "default_network", "network_of", "protocol_of"]

# Those of these methods are more than settings.
_ELSEWHERE = {
    "rcig": "rcig_protocol(len(distilled.images)) as settings, and with_mirrored(distilled) "
    "where the distillation took mirrored copies",
    "rfad": "finite_network(distilled, dataset)",
}
# "published" is looked up in the manifest of the set that is judged.
PROTOCOLS = ("frepo", "isa", "dsa", "published")


def protocol_of(distilled: DistilledSet) -> str:
    """Return the protocol that a set's method is published with, ``"isa"`` without one.

    Args:
        distilled: its manifest is read.

    Raises:
        ValueError: RFAD's or RCIG's, which are functions of their own.
    """
    experiment = distilled.manifest.get("experiment") or {}
    method = METHODS.get((experiment.get("method") or {}).get("name", ""))
    protocol = traits_of(method).protocol
    if protocol in _ELSEWHERE:
        raise checks.fail(
            "the protocol that the set's method is published with",
            f"be one of {', '.join(PROTOCOLS[:-1])} here",
            protocol,
            f"Use isa_toolkit.evaluation's {_ELSEWHERE[protocol]}; or protocol 'isa'.",
        )
    return protocol


def default_network(protocol: str, **size: Any) -> NetworkSettings:
    """Return the architecture that a protocol is published with.

    Args:
        protocol: ``"isa"``, ``"frepo"`` or ``"dsa"``.
        size: width and depth, if they are to be set.
    """
    if protocol == "dsa":
        return NetworkSettings(name="convnet_in", **size)
    return NetworkSettings(norm="none", **size)


def network_of(distilled: DistilledSet, protocol: str) -> NetworkSettings:
    """Return a protocol's architecture at the width and depth of a distillation.

    Args:
        distilled: its manifest is read.
        protocol: ``"isa"``, ``"frepo"`` or ``"dsa"``.
    """
    network = distilled.manifest.get("network") or {}
    return default_network(
        protocol, width=network.get("width"), depth=network.get("depth")
    )
