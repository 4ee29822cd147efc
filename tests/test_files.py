"""A file is there whole, or as it was before."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from isa_toolkit.files import write_atomically, write_json


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if place == "fsync" else Path, place, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.touch()
    write_atomically(written, b"")
    assert written.stat().st_mode == plain.stat().st_mode


def test_json_is_sorted_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"b": [1, 2.5, None], "a": {"text": "ä"}}
    write_json(path, value)
    assert json.loads(path.read_text()) == value
    assert path.read_text().index('"a"') < path.read_text().index('"b"')


def test_a_number_that_is_not_finite_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "value.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
