"""Distillation methods: settings that build pairs of pure functions."""

from isa_toolkit.methods.base import Batch, Method, MethodSettings
from isa_toolkit.methods.dm import DM
from isa_toolkit.methods.frepo import FRePo

METHODS: dict[str, type[MethodSettings]] = {
    "dm": DM,
    "frepo": FRePo,
}

__all__ = ["DM", "METHODS", "Batch", "FRePo", "Method", "MethodSettings"]
