"""What every test stands on: CPU, no window, checked shapes, a cache of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

# Before the first import of JAX, which reads them once.
os.environ["JAX_PLATFORMS"] = os.environ.get("ISA_TEST_PLATFORM", "cpu")
os.environ["MPLBACKEND"] = "agg"
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Most of the time is compilation, and the programs are small. Notebooks run optimised.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
# Workers, child processes and later sessions find what was compiled before. Machines that
# share a folder do not run each other's programs.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(Path(__file__).parents[1] / ".pytest_cache/programs" / platform.node()),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import jaxtyping
import pytest

# Before the first import of the package: it rewrites the modules as they load.
jaxtyping.install_import_hook("isa_toolkit", "shape_checks.after_the_call")


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point the package's cache at a folder that lives as long as the session."""
    folder = tmp_path_factory.mktemp("isa_cache")
    before = os.environ.get("ISA_CACHE_DIR")
    os.environ["ISA_CACHE_DIR"] = str(folder)
    yield folder
    if before is None:
        del os.environ["ISA_CACHE_DIR"]
    else:
        os.environ["ISA_CACHE_DIR"] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that no worker ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


# Linux lets a process map 65,530 areas of memory. Each compiled program takes some, and XLA
# aborts the process where it gets no more.
_MOST_MAPS = 20_000


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> Iterator[None]:
    """Let go of compiled programs after a file of tests if there are very many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs that tests of figures and of ``reproduce`` share."""
    return tmp_path_factory.mktemp("tiny_runs")


class TraceCounter:
    """A function that counts how often JAX traces it, to be jitted by the test.

    Python code under ``jax.jit`` runs once per compilation, so ``count`` is the number
    of compilations.
    """

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.count = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.count += 1
        return self.function(*args, **kwargs)


@pytest.fixture
def count_traces() -> Callable[[Callable], TraceCounter]:
    """Wrap a function so that its traces are counted: ``jit(count_traces(f))``."""
    return TraceCounter
