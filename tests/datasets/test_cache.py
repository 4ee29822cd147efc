"""Cache files: whole or absent, and never a reason to fail."""

from pathlib import Path

import pytest

from isa_toolkit.datasets.cache import cache_folder, kept_or_made
from isa_toolkit.files import write_atomically


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ISA_CACHE_DIR")
    assert cache_folder().name == "isa_toolkit"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    write_atomically(path, b"old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_gives_a_warning_and_the_value(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    def write(made, path):
        write_atomically(path, made)

    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(
            tmp_path / "file" / "x", Path.read_bytes, lambda: b"v", write
        )
    assert made == b"v"
