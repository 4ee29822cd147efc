"""The type checker that the tests put around every function of the package.

jaxtyping checks a call twice: the arguments before the function runs, and arguments
with the result after it. Here the first check is left out. So a function that refuses
bad input gets to say its own sentence, which tests can match, and one that lets a wrong
shape or kind slip through is caught on its way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# An int is welcome where a float is asked for, as everywhere in Python.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def after_the_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` checked by beartype, unless it stands for arguments alone.

    jaxtyping hands over stand-ins with the signature of the real function; only the one
    that also carries the result takes it as a last keyword ``ret...``.
    """
    code = function.__code__
    first = code.co_argcount
    keywords = code.co_varnames[first : first + code.co_kwonlyargcount]
    carries_result = any(name.startswith("ret") for name in keywords)
    return _check(function) if carries_result else function
