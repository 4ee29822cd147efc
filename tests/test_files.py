"""A file is there whole, or as it was before."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from isa_toolkit.files import (
    NUMBER,
    private_folder,
    read_json,
    write_atomically,
    write_json,
)


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
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.touch()
    write_atomically(written, b"")
    assert written.stat().st_mode == plain.stat().st_mode


def test_a_private_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a" / "b")
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o720, 0o702, 0o1777):
        folder.chmod(mode)
        with pytest.raises(PermissionError, match=rf"chmod go-w {folder}, or not\.$"):
            private_folder(folder, ", or not.")
    folder.chmod(0o755)
    assert private_folder(folder) == folder


def test_a_folder_that_another_user_owns_is_not_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    owner = tmp_path.stat().st_uid
    if owner == 0:  # what root writes, everybody has to trust
        os.chown(tmp_path, 12345, -1)
    with pytest.raises(PermissionError, match="Other users can write"):
        private_folder(tmp_path)


SCHEMA = {"step": int, "speed": NUMBER, "rows": [{"name": str}], "of": str | None}
GOOD = {"step": 3, "speed": 0.5, "rows": [{"name": "a", "more": 1}], "of": None}


@pytest.mark.parametrize(
    ("content", "is_read"),
    [
        (json.dumps(GOOD), True),
        (json.dumps({**GOOD, "more": [], "rows": []}), True),
        *((json.dumps({**GOOD, "step": value}), False) for value in ("3", 3.0, None)),
        *((json.dumps({**GOOD, "rows": value}), False) for value in ({}, [3], [{}])),
        *(
            (json.dumps({k: v for k, v in GOOD.items() if k != name}), False)
            for name in GOOD
        ),
        *((text, False) for text in ("", "[]", "3", '"x"', "null", "{", "[" * 100_000)),
        ('{"step": ' + "1" * 5000 + "}", False),
        (json.dumps({**GOOD, "step": 10**400}), False),
        (b'{"step": 3, "\xff\xfe": 1}', False),
    ],
)
def test_json_that_does_not_fit_the_schema_is_damaged(
    content: str | bytes, is_read: bool, tmp_path: Path
) -> None:
    path = tmp_path / "value.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert (read_json(path, SCHEMA) is not None) == is_read


def test_a_file_that_is_none_reads_as_missing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "nothing") is None
    assert read_json(tmp_path) is None
    os.mkfifo(tmp_path / "pipe")
    assert read_json(tmp_path / "pipe") is None
    assert read_json(Path(os.devnull) / "below") is None


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
