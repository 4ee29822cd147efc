"""Distillation methods: settings that build pairs of pure functions."""

from isa_toolkit.methods.base import Batch, Method, MethodSettings
from isa_toolkit.methods.dm import DM
from isa_toolkit.methods.frepo import FRePo
from isa_toolkit.methods.mtt import MTT
from isa_toolkit.methods.rcig import RCIG
from isa_toolkit.methods.rfad import RFAD

METHODS: dict[str, type[MethodSettings]] = {
    "dm": DM,
    "frepo": FRePo,
    "mtt": MTT,
    "rcig": RCIG,
    "rfad": RFAD,
}

__all__ = [
    "DM",
    "METHODS",
    "MTT",
    "RCIG",
    "RFAD",
    "Batch",
    "FRePo",
    "Method",
    "MethodSettings",
]
