"""Rooms that can be called: a package whose name is also its main function's.

``isa_toolkit.distill`` is a room and ``isa_toolkit.distill(experiment)`` its main function, and
Python binds the package to that name as soon as anything inside it is imported. A
callable package makes both readings work in every order of imports.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["make_callable"]


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Let the imported package ``name`` be called like ``function``.

    Args:
        name: full name of the package.
        function: what a call does.
    """

    class _Room(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    sys.modules[name].__class__ = _Room
