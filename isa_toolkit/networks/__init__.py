"""Networks as pure functions, their training, and the pool of partly trained ones."""

from isa_toolkit.networks.base import Network, NetworkOutput, count_parameters
from isa_toolkit.networks.registry import (
    NETWORKS,
    Architecture,
    NetworkSettings,
    build,
)
from isa_toolkit.networks.training import FitSettings, SGDSettings

__all__ = [
    "NETWORKS",
    "Architecture",
    "FitSettings",
    "Network",
    "NetworkOutput",
    "NetworkSettings",
    "SGDSettings",
    "build",
    "count_parameters",
]
