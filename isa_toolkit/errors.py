"""The exceptions that this package raises itself.

Each is an :class:`IsaError` and also the built-in type that callers expect, so both
``except isa.IsaError`` and ``except ValueError`` work.
"""

from __future__ import annotations


class IsaError(Exception):
    """Base class of every exception that this package raises on purpose."""


class InvalidValueError(IsaError, ValueError):
    """An argument has the right type and an impossible value."""


class InvalidTypeError(IsaError, TypeError):
    """An argument has the wrong type, or its name is unknown."""


class CancelledError(IsaError, RuntimeError):
    """Work was cancelled on request; everything finished so far is on the disk."""


class DivergedError(IsaError, FloatingPointError):
    """A quantity of a run is NaN or infinite; the last good checkpoint is kept."""


class RunExistsError(IsaError, FileExistsError):
    """The run folder exists and the caller asked not to resume it."""


class RunLockedError(IsaError, RuntimeError):
    """Another process is writing to the same folder."""


class RunLostError(IsaError, RuntimeError):
    """A folder was deleted or moved, or its lock was, while this process wrote to it."""


OK, FAILED, USAGE, DIVERGED, LOCKED, INTERRUPTED = 0, 1, 2, 3, 4, 130


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that is no bug; None for a bug."""
    codes: dict[int, tuple[type[Exception], ...]] = {
        DIVERGED: (FloatingPointError,),
        LOCKED: (RunLockedError,),
        USAGE: (ValueError, InvalidTypeError, FileNotFoundError, FileExistsError),
        FAILED: (IsaError, OSError, ModuleNotFoundError),
    }
    return next(
        (code for code, kinds in codes.items() if isinstance(error, kinds)), None
    )
