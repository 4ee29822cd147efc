"""Distillation methods: settings, and pairs of pure functions.

Example:
    >>> from isa_toolkit.methods import METHODS, FRePo, method_of
    >>> sorted(METHODS)
    ['dm', 'frepo', 'mtt', 'rcig', 'rfad']
    >>> method_of(FRePo(drop_easy=0.1)).protocol
    'isa'
"""

from typing import Any

from isa_toolkit.checks import wrong_type
from isa_toolkit.methods import dm, frepo, mtt, rcig, rfad
from isa_toolkit.methods.base import Batch, Method
from isa_toolkit.methods.dm import DM
from isa_toolkit.methods.frepo import FRePo
from isa_toolkit.methods.mtt import MTT
from isa_toolkit.methods.rcig import RCIG
from isa_toolkit.methods.rfad import RFAD

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD for module in (dm, frepo, mtt, rcig, rfad)
}

MethodSettings = DM | FRePo | MTT | RCIG | RFAD


def method_of(settings: Any) -> Method:
    """Return the registered method of some settings.

    Args:
        settings: Settings of a method, such as ``FRePo()``.

    Raises:
        InvalidTypeError: They are not of a registered method.
    """
    name = getattr(settings, "name", None)
    if not isinstance(name, str) or name not in METHODS:
        wanted = f"the settings of a method ({', '.join(METHODS)})"
        raise wrong_type("settings", wanted, settings, "Make some with FRePo().")
    return METHODS[name]


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
    "method_of",
]
