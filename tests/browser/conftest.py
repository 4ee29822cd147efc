"""One JupyterLab and one Chromium for all browser tests; each test has a page of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium, or skip; fail where the environment says that there must be one."""
    if why := lab.why_no_browser():
        if os.environ.get(lab.REQUIRED):
            pytest.fail(f"{lab.REQUIRED} is set, but {why}")
        pytest.skip(why)
    # Not for longer than a module: its event loop would be in the way of other tests.
    with lab.chromium() as started:
        yield started


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Open an empty page; whatever it tells its console of errors fails the test."""
    with lab.new_page(browser) as (made, errors):
        yield made
        assert not errors, "\n".join(errors)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder that is served: notebooks and their runs."""
    from isa_toolkit.sweeps.job import runs_in

    made = tmp_path_factory.mktemp("served")
    for name, cells in lab.SCRATCH.items():
        (made / name).write_text(lab.notebook(cells))
    yield made
    # A run outlives its kernel; where a test has failed, nobody has stopped it.
    for job in runs_in(made / "runs"):
        job.stop()
        job.stop()


@pytest.fixture(scope="module")
def ran(browser: Any, server: lab.Lab) -> Iterator[tuple[Any, list[str]]]:
    """Open a notebook of panels and run all of its cells, once."""
    with lab.new_page(browser) as (made, errors):
        server.open(made, "panels.ipynb")
        server.run_all(made)
        yield made, errors


@pytest.fixture
def panels(ran: tuple[Any, list[str]]) -> Iterator[Any]:
    """Return the page of the panels; errors that it tells fail the test."""
    made, errors = ran
    yield made
    reported = "\n".join(errors)
    errors.clear()
    assert not reported


@pytest.fixture(scope="module")
def server(
    browser: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab.Lab]:
    """Start JupyterLab with settings of its own."""
    del browser  # without one there is nothing to serve
    home = tmp_path_factory.mktemp("home")
    with lab.jupyterlab(folder, home) as started:
        yield started
