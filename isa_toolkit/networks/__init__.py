"""Networks as pure functions, their training, and the pool of partly trained ones."""

from isa_toolkit.networks.base import Network, NetworkOutput, count_parameters
from isa_toolkit.networks.registry import (
    NETWORKS,
    Architecture,
    NetworkSettings,
    build,
)

__all__ = [
    "NETWORKS",
    "Architecture",
    "Network",
    "NetworkOutput",
    "NetworkSettings",
    "build",
    "count_parameters",
]
