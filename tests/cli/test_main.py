"""The command line: exit codes, one sentence per error, JSON on standard output."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest

import isa_toolkit.datasets
from isa_toolkit.cli import COMMANDS, SWEEP_COMMANDS, _import_jax, main


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_lists_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        *sorted(COMMANDS.keys() - {"sweep"}),
        *(f"sweep {name}" for name in SWEEP_COMMANDS),
    ],
)
def test_every_command_has_help_and_describes_every_flag(capsys, command):
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert f"usage: isa-toolkit {command}" in out


def test_the_help_of_sweep_lists_its_commands(capsys):
    code, out, _ = run(capsys, "sweep")
    assert code == 0
    assert all(f"\n  {name} " in out for name in SWEEP_COMMANDS)


def test_help_imports_neither_tyro_nor_jax():
    code = "import sys; from isa_toolkit.cli import main; main(['--help'])\n"
    code += "assert not {'jax', 'tyro', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


BUGS = [
    AttributeError("no such thing"),
    IndexError("out of range"),
    KeyError("dataset"),
    OverflowError("Python int too large to convert to C long"),
    RecursionError("maximum recursion depth exceeded\nand more"),
    TypeError("got an unexpected keyword argument"),
    ZeroDivisionError(),
    jax.errors.JaxRuntimeError("INTERNAL: failed"),
]


@pytest.mark.parametrize("error", BUGS, ids=lambda error: type(error).__name__)
def test_a_bug_is_one_sentence_and_its_traceback_is_in_a_file(
    capsys, monkeypatch, tmp_path, error
):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", load)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, out, err = run(capsys, "data", "--limit", 7)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("isa-toolkit: isa-toolkit data --limit 7 ended with ")
    assert f"{type(error).__name__}: " in err
    [file] = tmp_path.iterdir()
    assert str(file) in err
    assert "Traceback" in file.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    code, out, err = run(capsys, "data")
    assert (code, out, err.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "error",
    [
        np._core._exceptions._ArrayMemoryError((2**40,), np.dtype("f4")),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
    ],
)
def test_full_memory_is_one_sentence_with_what_to_make_smaller(
    capsys, monkeypatch, tmp_path, error
):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", load)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, out, err = run(capsys, "data")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "The memory is full. Choose a smaller batch" in err
    assert not list(tmp_path.iterdir())


def test_an_interrupt_is_exit_130(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", interrupt)
    code, out, err = run(capsys, "data")
    assert (code, out, err) == (130, "", "isa-toolkit: interrupted\n")


def test_ctrl_c_ends_the_process_while_jax_is_imported(monkeypatch):
    found = []

    def record(_: str) -> None:
        found.append(signal.getsignal(signal.SIGINT))

    monkeypatch.setattr(importlib, "import_module", record)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _import_jax()
        found.append(signal.getsignal(signal.SIGINT))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _import_jax()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN]
