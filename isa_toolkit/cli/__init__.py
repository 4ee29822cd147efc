"""The command line: ``isa-toolkit demo | data | distill | evaluate | export | ...``.

This file picks the command and turns errors into one sentence and an exit code; each
command has its own file and imports what it needs when it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = {
    "demo": "distil the embedded digits and write a page with the results",
    "data": "load a data set and say what is in it",
    "distill": "distil a data set",
    "sweep": "distil with many settings and seeds, in processes of their own",
    "evaluate": "judge a distilled set by networks trained on it",
    "export": "write a distilled set as PNG folders, NumPy arrays or safetensors",
    "reproduce": "regenerate the figures and tables of the paper's appendix",
    "bench": "measure how long a step takes on this machine, part by part",
    "doctor": "check versions, device, precision and memory",
}

OK, FAILED, USAGE, DIVERGED, LOCKED = 0, 1, 2, 3, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; None for those of the process.

    Returns:
        0: done (or stopped on request, with a checkpoint); 1: the system failed (a full
        disk); 2: bad input; 3: a run diverged; 4: another process holds the run.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return OK
    if words[0] == "--version":
        from isa_toolkit import __version__

        sys.stdout.write(f"isa-toolkit {__version__}\n")
        return OK
    if words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        return _fail(f"unknown command {words[0]!r}; the commands are {known}", USAGE)
    return _flushed(_run(words[0], words[1:]))


def _run(command: str, words: list[str]) -> int:
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            room = importlib.import_module(f"isa_toolkit.cli.{command}")
            return room.run(words)
    except (ValueError, TypeError, FileNotFoundError, FileExistsError) as error:
        return _fail(str(error), USAGE)
    except FloatingPointError as error:
        return _fail(str(error), DIVERGED)
    except RuntimeError as error:
        from isa_toolkit.distillation import RunLockedError
        from isa_toolkit.distillation.distributed import (
            FollowerFailedError,
            LeaderFailedError,
            ProcessLostError,
        )

        if isinstance(error, ProcessLostError):
            _fail(str(error), FAILED)
            sys.stderr.flush()
            # JAX would wait five minutes at the exit for the one that is gone.
            os._exit(FAILED)
        codes: dict[type, int] = {
            RunLockedError: LOCKED,
            FollowerFailedError: FAILED,
            LeaderFailedError: FAILED,
        }
        for kind, code in codes.items():
            if isinstance(error, kind):
                return _fail(str(error), code)
        raise
    except (OSError, ModuleNotFoundError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", FAILED)


def _flushed(code: int) -> int:
    """Return ``code``, or that of a failure if standard output takes no more."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Or the interpreter's own flush at the end would fail, too, and print it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == OK:
            reason = error.strerror or str(error)
            return _fail(f"standard output cannot be written: {reason}.", FAILED)
    return code


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"isa-toolkit: {sentence}\n")
    return code


def _warn(message: Warning | str, *details: object) -> None:
    """Write a warning as one sentence, without the place in the code."""
    del details
    sys.stderr.write(f"isa-toolkit: warning: {message}\n")


def _help() -> str:
    lines = [
        "usage: isa-toolkit COMMAND [OPTIONS]",
        "",
        "Dataset distillation with crucial samples and semantic augmentation.",
        "",
        *(f"  {name:<10}{what}" for name, what in COMMANDS.items()),
        "",
        "isa-toolkit COMMAND --help lists a command's options.",
    ]
    return "\n".join(lines) + "\n"
