"""The command line: ``isa-toolkit demo | data | distill | evaluate | export | ...``.

This module finds the command and turns errors into one sentence and an exit code. A
command is a function of its own module, which imports what it needs when it runs:
``isa-toolkit --help`` imports neither tyro nor JAX.
"""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence

from isa_toolkit.checks import printable
from isa_toolkit.cli.output import log, reason_of, standard_streams
from isa_toolkit.errors import FAILED, INTERRUPTED, OK, USAGE, exit_code

__all__ = ["COMMANDS", "SWEEP_COMMANDS", "main"]

COMMANDS = {
    "demo": "Distil the embedded digits and write a page with the results.",
    "data": "Load a data set and describe it.",
    "distill": "Distil a data set.",
    "sweep": "Plan, run, watch and stop many runs: run, status, cancel, resume, worker.",
    "evaluate": "Train networks on a distilled set and test them on real images.",
    "import": "Read a distilled set that another project released.",
    "export": "Write a distilled set as PNG folders, NumPy arrays or safetensors.",
    "reproduce": "Regenerate the figures and tables of the paper's appendix.",
    "bench": "Measure the time of a step on this machine.",
    "doctor": "Check versions, devices, precision and memory.",
}

SWEEP_COMMANDS = {
    "run": "Plan a sweep, show what it costs, and run it.",
    "status": "Show the state of a sweep.",
    "cancel": "Stop the runs of a sweep with checkpoints.",
    "resume": "Continue a sweep that was stopped.",
    "worker": "Run one group of a sweep in this process, as schedulers do.",
}

# Commands in a file of another name.
_FILES = {"demo": "reproduce", "import": "export"}

# Commands that import JAX whatever their arguments are.
_WITH_JAX = (
    "demo",
    "distill",
    "evaluate",
    "reproduce",
    "bench",
    "run",
    "resume",
    "worker",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; None for those of this process.

    Returns:
        0: done, or stopped on request with a checkpoint; 1: the system failed (a full
        disk); 2: bad input; 3: a run diverged; 4: another process holds the run;
        130: interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    with standard_streams() as output:
        code = _run(argv)
        output.flush()
        if output.error is not None and code == OK:
            reason = reason_of(output.error)
            return _fail(f"standard output cannot be written: {reason}.", FAILED)
        return code


def _run(argv: Sequence[str]) -> int:
    prog, commands, left = "isa-toolkit", COMMANDS, argv
    if argv[:1] == ["sweep"]:
        prog, commands, left = f"{prog} sweep", SWEEP_COMMANDS, argv[1:]
    if argv == ["--version"]:
        from isa_toolkit import __version__

        sys.stdout.write(f"{prog} {__version__}\n")
    elif not left or left[0] in ("-h", "--help"):
        sys.stdout.write(_help(prog, commands))
    elif left[0] not in commands:
        known = ", ".join(commands)
        return _fail(f"Unknown command {left[0]!r}. The commands are {known}.", USAGE)
    else:
        file = "sweep" if commands is SWEEP_COMMANDS else _FILES.get(left[0], left[0])
        try:
            return _call(file, prog, *left)
        except SystemExit:  # after --help
            pass
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the last resort
            return _fail_with(error, argv)
    return OK


def _call(file: str, prog: str, name: str, *argv: str) -> int:
    """Run the command of a name, which is in a file of this package."""
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        from isa_toolkit.cli.parsing import run_command

        if name in _WITH_JAX:
            _import_jax()
        module = importlib.import_module(f"isa_toolkit.cli.{file}")
        command = getattr(module, "import_" if name == "import" else name)
        return run_command(command, f"{prog} {name}", argv)


def _import_jax() -> None:
    """Import JAX and what is built on it, with Ctrl-C ending the process at once.

    As an exception it would arise inside of C++, where it crashes or is lost.
    """
    name, usual = "isa_toolkit.distillation", signal.default_int_handler
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not usual:
        importlib.import_module(name)
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, usual)


def _fail_with(error: Exception, argv: Sequence[str]) -> int:
    """Report an error; the traceback of one that nobody foresaw goes to a file."""
    code = exit_code(error)
    if code is not None:
        _fail(str(error), code)
        if type(error).__name__ == "PeerLostError":
            # JAX would wait five minutes at the exit for the process that is gone.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code
    command = shlex.join(["isa-toolkit", *argv])
    what = f"{command} ended with {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        fix = "The memory is full. Choose a smaller batch, network, data set or --pack."
        return _fail(f"{what}. {fix}", FAILED)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="isa-toolkit-", suffix=".txt", delete=False,
            encoding="utf-8", errors="backslashreplace",
        ) as file:  # fmt: skip
            file.write(f"{command}\n\n{traceback.format_exc()}")
        kept = f"the traceback in {file.name}"
    except OSError:
        kept = "this sentence"
    fix = "This is a mistake of ISA Toolkit: please report it to the developers, with"
    return _fail(f"{what}. {fix} {kept}.", FAILED)


def _fail(sentence: str, code: int) -> int:
    log(printable(f"isa-toolkit: {sentence}"))
    return code


def _warn(message: Warning | str, *details: object) -> None:
    """Write a warning as one sentence, without the line of code that caused it."""
    del details
    log(printable(f"isa-toolkit: warning: {message}"))


def _help(prog: str, commands: Mapping[str, str]) -> str:
    lines = [
        f"usage: {prog} COMMAND [OPTIONS]",
        "",
        "Dataset distillation with crucial samples and infinite semantic augmentation.",
        "",
        *(f"  {name:<10}{text}" for name, text in commands.items()),
        "",
        f"{prog} COMMAND --help lists a command's options.",
    ]
    return "\n".join(lines) + "\n"
