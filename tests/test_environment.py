"""The cache folder, what is kept there, and limits."""

from __future__ import annotations

import numpy as np
import platformdirs
import pytest

from isa_toolkit.datasets.images import check_resolution
from isa_toolkit.environment import (
    available_bytes,
    cache_folder,
    check_fits,
    kept_or_made,
    largest_image,
)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ISA_CACHE_DIR")
    assert cache_folder().name == "isa_toolkit"


def test_limits_are_set_in_the_environment(monkeypatch):
    """Each sentence of a limit names the variable that sets it."""
    free = available_bytes()
    assert free > 2**20
    check_fits("ten bytes", 10)
    monkeypatch.setenv("ISA_MAX_MEMORY", "1000")
    sentence = (
        r"all must fit in memory .* Take less\. ISA_MAX_MEMORY sets another limit"
    )
    with pytest.raises(ValueError, match=sentence):
        check_fits("all", 1001, "Take less.")
    monkeypatch.setenv("ISA_MAX_MEMORY", str(4 * free))
    check_fits("all", 2 * free)
    assert largest_image() == 2**26
    with pytest.raises(ValueError, match=r"at most 8192, got 9000\. ISA_MAX"):
        check_resolution(9000)
    monkeypatch.setenv("ISA_MAX_PIXELS", str(9000**2))
    check_resolution(9000)
    for wrong in ("many", "0", "-1", "1.5"):
        monkeypatch.setenv("ISA_MAX_PIXELS", wrong)
        with pytest.raises(ValueError, match="ISA_MAX_PIXELS must be a whole number"):
            largest_image()


def test_without_a_home_nothing_is_kept_and_a_warning_says_so(monkeypatch):
    def homeless(_: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("ISA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", homeless)
    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(cache_folder() / "x", lambda: {"v": np.arange(3)})
    assert made["v"].tolist() == [0, 1, 2]


def test_a_folder_that_cannot_be_written_gives_a_warning_and_the_value(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="set ISA_CACHE_DIR"):
        made = kept_or_made(tmp_path / "file" / "x", lambda: {"v": np.arange(3)})
    assert made["v"].tolist() == [0, 1, 2]
