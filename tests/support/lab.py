"""A JupyterLab of its own, and the Chromium that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
# Set by .ci/run where there is a browser: then its tests fail rather than skip.
REQUIRED = "ISA_REQUIRE_BROWSER"
# A loaded machine of two cores is slow, and a condition that holds ends the wait.
LONG_S = 150.0
CHROMIUM_ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-dev-shm-usage",
)  # fmt: skip


def why_no_browser() -> str:
    """Return why browser tests cannot run here; empty if they can."""
    if shutil.which("chromium") is None:
        return "no chromium is installed: its browser tests are not run here"
    try:
        import playwright  # noqa: F401
    except ModuleNotFoundError:
        return "playwright is not installed: browser tests are not run here"
    return ""


@contextlib.contextmanager
def chromium(**context: Any) -> Iterator[Any]:
    """Give a page of a new Chromium; ``context`` says its size and the like."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(CHROMIUM_ARGS)
        )
        try:
            page = browser.new_context(**context).new_page()
            page.set_default_timeout(1000 * LONG_S)
            yield page
        finally:
            browser.close()


@contextlib.contextmanager
def served(
    command: str, folder: Path, home: Path, words: list[str], **environ: str
) -> Iterator[tuple[str, str]]:
    """Serve a folder by a Jupyter program; give its address and token, then end it.

    Nothing of the reader's own settings is read, and nothing is written outside ``home``.
    """
    log = home / f"{command}.log"
    quiet = home / "jupyterlab_settings_dir/@jupyterlab/apputils-extension"
    quiet.mkdir(parents=True, exist_ok=True)
    settings = quiet / "notification.jupyterlab-settings"
    settings.write_text('{"fetchNews": "false"}')
    environment = {
        **os.environ,
        **{
            name: str(home / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
            )
        },
        "PYTHONPATH": os.pathsep.join(map(str, [ROOT, ROOT / "tests/support"])),
        # Kernels find Python and its programs beside the one that runs us.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        **environ,
    }  # fmt: skip
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", command, *words],
            cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield _address(child, home / "jupyter_runtime_dir", log)
    finally:
        # Its kernels are told to end by it; what is left after that is ended with it.
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextlib.contextmanager
def jupyterlab(folder: Path, home: Path, **environ: str) -> Iterator[Lab]:
    """Give a JupyterLab on a folder of notebooks, which ends with the context."""
    root = "" if os.name == "nt" or os.getuid() else "--allow-root"
    words = [
        "--no-browser", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.terminals_enabled=False", *filter(None, [root]),
    ]  # fmt: skip
    with served("jupyterlab", folder, home, words, **environ) as (url, token):
        yield Lab(url, token)


def _address(child: subprocess.Popen, runtime: Path, log: Path) -> tuple[str, str]:
    """Return where a server says it is, once it answers."""
    end = time.monotonic() + LONG_S
    while time.monotonic() < end and child.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, OSError):
                told = json.loads(file.read_text())
                with urlopen(f"{told['url']}api?token={told['token']}", timeout=10):
                    return told["url"], told["token"]
        time.sleep(0.1)
    raise AssertionError(f"Jupyter did not start: {log.read_text()[-2000:]}")


class Lab:
    """A JupyterLab that runs: its notebooks, opened in a page and run."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def open(self, page: Any, name: str) -> None:
        """Open a notebook and wait for its kernel.

        A command to run that comes before the kernel is dropped without a word.
        """
        page.goto(f"{self.url}doc/tree/{name}?reset&token={self.token}")
        page.get_by_text("| Idle").first.wait_for()

    def run_all(self, page: Any) -> None:
        """Run all cells and wait for the last one; a cell that fails ends it at once."""
        page.evaluate(
            """() => {
                window.ranAll = false;
                jupyterapp.commands.execute('notebook:run-all-cells')
                    .finally(() => { window.ranAll = true; });
            }"""
        )
        page.wait_for_function("() => window.ranAll")
        failed = page.evaluate(_ERRORS)
        assert not failed, failed


_ERRORS = """() => jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === 'error')
    .map(output => output.ename + ': ' + output.evalue)"""


def notebook(cells: list[str]) -> str:
    """Return a notebook of code cells as its file's text."""
    import nbformat

    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.writes(made)
