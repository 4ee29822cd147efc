"""Compiled programs are kept between processes, unless the user says otherwise."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from isa_toolkit.networks import compilation_cache

pytestmark = pytest.mark.slow

NAME = "jax_compilation_cache_dir"
PROGRAM = """
import sys, warnings
import jax
if len(sys.argv) > 1:
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.jit(lambda x: x + 1)(1.0)  # JAX has looked for a cache already
import isa_toolkit as isa
from isa_toolkit.networks import build
network = build(
    isa.NetworkSettings(width=8), image_shape=(8, 8, 1), num_classes=10
)
params, state = jax.jit(network.init)(jax.random.key(0))
print(jax.config.jax_compilation_cache_dir)
"""


def _run(folder: Path, *words: str, **changes: str) -> str:
    environment = {
        **os.environ,
        "ISA_CACHE_DIR": str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **changes,
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    return done.stdout.strip()


def _files(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*-cache")
        if path.is_file()
    }


def test_a_second_process_finds_the_programs_of_the_first(tmp_path):
    folder = Path(_run(tmp_path))
    assert folder.parent == tmp_path / "compiled"
    first = _files(tmp_path)
    assert first
    assert _run(tmp_path) == str(folder)
    assert _files(tmp_path) == first


def test_the_users_own_cache_is_left_alone_and_off_means_off(tmp_path):
    own = tmp_path / "own"
    assert _run(tmp_path / "a", str(own)) == str(own)
    assert not (tmp_path / "a").exists()
    assert _run(tmp_path / "b", JAX_ENABLE_COMPILATION_CACHE="false") == "None"
    assert not (tmp_path / "b").exists()


def test_threads_that_ask_at_the_same_time_get_one_object():
    both = threading.Barrier(2, timeout=60)
    made = []

    @compilation_cache.cache_once
    def make(size: int) -> object:
        made.append(size)
        time.sleep(0.2)  # the other thread is at the door
        return object()

    def ask(_: int) -> object:
        both.wait()
        return make(3)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(ask, range(2))
    assert one is other
    assert made == [3]
    assert make(4) is not one


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("ISA_CACHE_DIR", str(blocked))
    before = getattr(jax.config, NAME)
    jax.config.update(NAME, None)
    compilation_cache.use_compilation_cache.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="Compiled programs are not stored"):
            assert compilation_cache.use_compilation_cache() is None
    finally:
        jax.config.update(NAME, before)
        compilation_cache.use_compilation_cache.cache_clear()


def test_damaged_programs_are_made_again(tmp_path):
    folder = Path(_run(tmp_path))
    whole = {path: path.read_bytes() for path in _files(folder)}
    damages = [lambda one: b"", lambda one: one[:-9], lambda one: b"no program" + one]
    for path, damage in zip(whole, itertools.cycle(damages)):
        path.write_bytes(damage(whole[path]))
    _run(tmp_path, PYTHONWARNINGS="error")
    assert _files(folder).keys() == whole.keys()
    assert all(compilation_cache._is_whole(path.read_bytes()) for path in whole)


@pytest.mark.parametrize("name", ["", "compiled", "compiled/here"])
def test_a_folder_of_other_users_is_not_used(tmp_path, monkeypatch, name):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(
        compilation_cache,
        "programs_folder",
        lambda: compilation_cache.cache_folder() / "compiled" / "here",
    )
    monkeypatch.setattr(compilation_cache, "_delete_damaged", Path.touch)
    before = getattr(jax.config, NAME)
    try:
        for mode, is_used in ((0o700, True), (0o755, True), (0o770, False)):
            jax.config.update(NAME, None)
            compilation_cache.use_compilation_cache.cache_clear()
            folder = tmp_path / "cache" / name
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
            if is_used:
                assert compilation_cache.use_compilation_cache() is not None
                continue
            with pytest.warns(RuntimeWarning, match=r"Other users can write .* chmod"):
                assert compilation_cache.use_compilation_cache() is None
    finally:
        jax.config.update(NAME, before)
        compilation_cache.use_compilation_cache.cache_clear()


def test_machines_that_differ_keep_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("ISA_CACHE_DIR", str(tmp_path))
    here = compilation_cache.programs_folder()
    monkeypatch.setattr(compilation_cache, "_processor", lambda: "another one")
    assert compilation_cache.programs_folder() != here
    assert (
        compilation_cache.programs_folder().parent
        == here.parent
        == tmp_path / "compiled"
    )


@pytest.mark.parametrize("used", [10, 60])
def test_programs_are_released_before_they_take_all_maps(used, tmp_path, monkeypatch):
    (tmp_path / "maps").write_text("an area\n" * used)
    (tmp_path / "limit").write_text("100\n")
    monkeypatch.setattr(compilation_cache, "_MAPS", tmp_path / "maps")
    monkeypatch.setattr(compilation_cache, "_LIMIT", tmp_path / "limit")
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    compilation_cache.cache_once(lambda x: x)(used)
    assert double._cache_size() == (used == 10)
    monkeypatch.setattr(compilation_cache, "_LIMIT", tmp_path / "nowhere")
    compilation_cache.release_programs()
