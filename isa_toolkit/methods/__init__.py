"""Distillation methods: settings that build pairs of pure functions."""

from isa_toolkit.methods.base import Batch, Method, MethodSettings
from isa_toolkit.methods.frepo import FRePo

METHODS: dict[str, type[MethodSettings]] = {"frepo": FRePo}

__all__ = ["METHODS", "Batch", "FRePo", "Method", "MethodSettings"]
