"""Standard streams that are closed, full, gone, or of few letters; nothing is lost by them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import isa_toolkit.cli.data
from isa_toolkit.cli import main
from isa_toolkit.cli.output import log, write_result


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._error = OSError(number, os.strerror(number))

    def write(self, text: str) -> int:
        raise self._error


def command(monkeypatch: pytest.MonkeyPatch, **kept: Any) -> None:
    """Let ``isa-toolkit data`` write one line."""

    def data() -> None:
        log("at work")
        write_result({"a": 1}, ["80.1 ± 3.8 %"], json=False, **kept)

    monkeypatch.setattr(isa_toolkit.cli.data, "data", data)


def test_what_only_standard_output_has_must_arrive(monkeypatch, capsys):
    command(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    assert main(["data"]) == 1
    why = "isa-toolkit: standard output cannot be written: No space left on device.\n"
    assert capsys.readouterr().err == f"at work\n{why}"
    assert main(["--version"]) == main(["--help"]) == main(["data", "--help"]) == 1


def test_what_is_in_a_file_need_not_be_shown(monkeypatch, capsys):
    command(monkeypatch, kept="runs/one")
    monkeypatch.setattr(sys, "stdout", Broken(errno.EIO))
    assert main(["data"]) == 0
    assert "The results are in runs/one." in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_failure(monkeypatch, capsys):
    command(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Broken(errno.EPIPE))
    assert main(["data"]) == main(["data", "--help"]) == 0
    assert capsys.readouterr().err == "at work\n"


def test_standard_error_may_fail(monkeypatch, capsys):
    command(monkeypatch)
    monkeypatch.setattr(sys, "stderr", Broken(errno.ENOSPC))
    assert (main(["data"]), capsys.readouterr().out) == (0, "80.1 ± 3.8 %\n")
    assert main(["data", "--nonsense"]) == main(["fly"]) == 2


def test_a_result_is_written_whatever_the_terminal_can_show(monkeypatch):
    command(monkeypatch)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["data"]) == 0
    assert written.getvalue() == b"80.1 ? 3.8 %\n"


def test_a_terminal_is_sent_no_escapes(capsys):
    write_result({}, ["\x1b[31mred\nline\udcff"], json=False)
    log("two\nlines\x07")
    out, err = capsys.readouterr()
    assert out == "\\x1b[31mred\\nline\\udcff\n"
    assert err == "two\nlines\\x07\n"


def in_shell(line, folder):
    """Return how a line ended that a shell ran in a folder."""
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, check=False, capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        ("<&- >&- 2>&-", 0),
        ("2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full 2>&1", 1),
        ("--nonsense 2>&-", 2),
        ("--nonsense 2>/dev/full", 2),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_streams_of_a_process_may_be_closed_or_full(redirected, code, tmp_path):
    line = f"'{sys.executable}' -m isa_toolkit data {redirected}"
    ended = in_shell(line, tmp_path)
    assert (ended.returncode, ended.stderr) == (code, "")


def test_an_output_without_a_reader_is_no_failure(tmp_path):
    line = f"('{sys.executable}' -m isa_toolkit data; echo $? >&2) | true"
    ended = in_shell(line, tmp_path)
    assert ended.returncode == 0
    assert ended.stderr == "0\n"
