"""Measures of distilled sets and of sample rankings: arrays in, NamedTuples out, no JAX.

Modules are imported when they are first used: ``isa_toolkit.analysis.diversity``.
"""

from __future__ import annotations

import importlib
from types import ModuleType

_MODULES = (
    "class_geometry",
    "cross_prediction",
    "diversity",
    "intervals",
    "kernels",
    "manifold",
    "ranking",
)


def __getattr__(name: str) -> ModuleType:
    """Import a module on first use."""
    if name in _MODULES:
        return importlib.import_module(f"isa_toolkit.analysis.{name}")
    raise AttributeError(f"module 'isa_toolkit.analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the modules."""
    return list(_MODULES)
