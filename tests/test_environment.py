"""The cache folder, what is kept there, and the memory of this machine."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from isa_toolkit.environment import cache_folder, kept_or_made
from isa_toolkit.files import write_atomically


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ISA_CACHE_DIR")
    assert cache_folder().name == "isa_toolkit"


def test_without_a_home_nothing_is_kept_and_a_warning_says_so(monkeypatch):
    def homeless(_: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("ISA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
    path = cache_folder() / "x"
    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(
            path,
            Path.read_bytes,
            lambda: b"v",
            lambda made, to: write_atomically(to, made),
        )
    assert made == b"v"


def test_a_folder_that_cannot_be_written_gives_a_warning_and_the_value(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    def write(made, path):
        write_atomically(path, made)

    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(
            tmp_path / "file" / "x", Path.read_bytes, lambda: b"v", write
        )
    assert made == b"v"
