"""Distillation methods: settings that build pairs of pure functions."""

from isa_toolkit.methods.base import Batch, Method, MethodSettings
from isa_toolkit.methods.dm import DM
from isa_toolkit.methods.frepo import FRePo
from isa_toolkit.methods.mtt import MTT

METHODS: dict[str, type[MethodSettings]] = {
    "dm": DM,
    "frepo": FRePo,
    "mtt": MTT,
}

__all__ = ["DM", "METHODS", "MTT", "Batch", "FRePo", "Method", "MethodSettings"]
