"""The command line: exit codes, one sentence per error, JSON on standard output."""

from __future__ import annotations

import importlib
import io
import signal
import subprocess
import sys

import pytest

import isa_toolkit.datasets
from isa_toolkit.cli import COMMANDS, SWEEP_COMMANDS, _import_jax, main
from isa_toolkit.cli.output import write_result


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
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: isa-toolkit {command}" in out


def test_the_help_of_sweep_lists_its_commands(capsys):
    code, out, _ = run(capsys, "sweep")
    assert code == 0
    assert all(f"\n  {name} " in out for name in SWEEP_COMMANDS)


def test_help_imports_neither_tyro_nor_jax():
    code = "import sys; from isa_toolkit.cli import main; main(['--help'])\n"
    code += "assert not {'jax', 'tyro', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_bug_is_not_bad_input(monkeypatch):
    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", lambda: None)
    with pytest.raises(TypeError):
        main(["data"])


def test_an_interrupt_is_exit_130(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", interrupt)
    code, out, err = run(capsys, "data")
    assert (code, out, err) == (130, "", "isa-toolkit: interrupted\n")


def test_a_result_is_written_whatever_the_terminal_can_show(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    write_result({}, ["80.1 ± 3.8 %"], json=False)
    sys.stdout.flush()
    assert written.getvalue() == b"80.1 ? 3.8 %\n"


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
