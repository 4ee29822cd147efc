"""A JupyterLab of its own, and the Chromium that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
# Set by .ci/run where there is a browser: then its tests fail rather than skip.
REQUIRED = "ISA_REQUIRE_BROWSER"
# Steps of a run that goes on until it is stopped.
MANY = 1_000_000
# A loaded machine of two cores is slow, and a condition that holds ends the wait.
LONG_S = 600.0
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
def chromium() -> Iterator[Any]:
    """Give a new Chromium, which ends with the context."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(CHROMIUM_ARGS)
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def new_page(browser: Any, **context: Any) -> Iterator[tuple[Any, list[str]]]:
    """Give a new page and the errors that it tells its console."""
    errors: list[str] = []
    opened = browser.new_context(
        **{"viewport": {"width": 1200, "height": 1000}, **context}
    )
    page = opened.new_page()
    page.set_default_timeout(1000 * LONG_S)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda reported: errors.append(reported.text) if _is_bad(reported) else None,
    )
    try:
        yield page, errors
    finally:
        opened.close()


def _is_bad(reported: Any) -> bool:
    """Whether a page tells of an error; what others' servers lack is not ours."""
    url = reported.location.get("url", "")
    elsewhere = url.startswith("http") and not url.startswith("http://127.0.0.1:")
    missing = reported.text.startswith("Failed to load resource")
    return reported.type == "error" and not (missing and elsewhere)


def until(page: Any, condition: Callable[[], Any]) -> None:
    """Return when a condition holds; what the page tells meanwhile is heard."""
    end = time.monotonic() + LONG_S
    while not condition():
        if time.monotonic() > end:
            shown = page.locator("body").inner_text()
            raise AssertionError(
                f"waited {LONG_S:g} s in vain; the page says:\n{shown}"
            )
        page.wait_for_timeout(100)


@contextlib.contextmanager
def served(
    words: list[str], folder: Path, home: Path, **environ: str
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """Start ``python -m`` words that serve a folder; give the process and its log.

    Nothing of the reader's own settings is read, and nothing is written outside ``home``.
    """
    log = home / f"{words[0]}.log"
    for name, settings in _SETTINGS.items():
        file = home / "jupyterlab_settings_dir/@jupyterlab" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
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
            [sys.executable, "-m", *words],
            cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        yield child, log
    finally:
        # It tells its kernels to end; what is left after that is ended with it.
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextlib.contextmanager
def jupyterlab(folder: Path, home: Path, **environ: str) -> Iterator[Lab]:
    """Give a JupyterLab on a folder of notebooks, which ends with the context."""
    words = [
        "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={_free_port()}", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.terminals_enabled=False", *_ALLOWED,
    ]  # fmt: skip

    def address() -> Lab | None:
        for file in (home / "jupyter_runtime_dir").glob("jpserver-*.json"):
            reported = json.loads(file.read_text())
            with urlopen(f"{reported['url']}api?token={reported['token']}", timeout=10):
                return Lab(reported["url"], reported["token"])
        return None

    with served(words, folder, home, **environ) as started:
        yield _answer(address, *started)


@contextlib.contextmanager
def voila(notebook: Path, home: Path, **environ: str) -> Iterator[str]:
    """Give the address of a notebook that Voila shows."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/"
    words = [
        "voila", notebook.name, "--no-browser", "--Voila.ip=127.0.0.1",
        f"--port={port}",
    ]  # fmt: skip

    def address() -> str | None:
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            return url

    with served(words, notebook.parent, home, **environ) as started:
        yield _answer(address, *started)


# No question about news, and every cell in the page, seen or not.
_SETTINGS = {
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
    "notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
}
# Jupyter asks for this word from the one user that a container may have.
_ALLOWED = [] if os.name == "nt" or os.getuid() else ["--allow-root"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def _answer(address: Callable[[], Any], child: subprocess.Popen, log: Path) -> Any:
    """Return where a server says it is, once it answers."""
    end = time.monotonic() + LONG_S
    while time.monotonic() < end and child.poll() is None:
        with contextlib.suppress(ValueError, OSError):
            if found := address():
                return found
        time.sleep(0.1)
    raise AssertionError(f"The server did not start: {log.read_text()[-2000:]}")


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
        self.start_all(page)
        self.wait_for_all(page)

    def reload(self, page: Any) -> None:
        """Save the notebook of a page and load the page again.

        A kernel that is busy then is asked for its widgets in vain.
        """
        page.get_by_text("| Idle").first.wait_for()
        page.evaluate("jupyterapp.commands.execute('docmanager:save')")
        page.reload()

    def start_all(self, page: Any) -> None:
        """Run all cells, and do not wait for them."""
        page.evaluate(
            """() => {
                window.ranAll = false;
                jupyterapp.commands.execute('notebook:run-all-cells')
                    .finally(() => { window.ranAll = true; });
            }"""
        )

    def wait_for_all(self, page: Any) -> None:
        """Wait for the last cell that ``start_all`` runs; a cell that fails ends it at once."""
        page.wait_for_function("() => window.ranAll")
        failed = page.evaluate(_ERRORS)
        assert not failed, failed


_ERRORS = """() => jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells
    .flatMap(cell => cell.outputs ?? [])
    .filter(output => output.output_type === 'error')
    .map(output => output.ename + ': ' + output.evalue)"""


TINY = """import pytest
from widget_study import tiny_study
study = tiny_study(pytest.MonkeyPatch(), "runs")
"""
# Notebooks that are served: their cells.
SCRATCH = {
    "panels.ipynb": [
        TINY + "import isa_toolkit as isa\nfrom isa_toolkit import widgets",
        "widgets.CrucialSamples(study, networks=1)",
        "widgets.ISA(study)",
        "widgets.Gallery('runs')",
        "experiment = isa.Experiment(\n"
        "    'digits', method=isa.FRePo(), network=isa.NetworkSettings(width=4),\n"
        f"    batch_size=32, steps={MANY}, selection='last', validation_every=1000,\n"
        ")\n"
        "widgets.JobWatcher(experiment, out='runs')",
    ],
    "map.ipynb": [
        TINY
        + "from isa_toolkit.widgets import Manifold\npanel = Manifold(study)\npanel",
        "panel.run.click()\nawait panel.finished()",
    ],
    "long.ipynb": [
        TINY.replace("runs", "long")
        + f"study.budget = study.budget._replace(steps={{2: {MANY}}})\n"
        + "from isa_toolkit.widgets import Predictors\npanel = Predictors(study)\npanel",
        "panel.run.click()\nawait panel.finished()",
    ],
    "attach.ipynb": [
        "from isa_toolkit.widgets import JobWatcher\nJobWatcher(out='runs')"
    ],
    "voila.ipynb": [
        "import isa_toolkit as isa\n"
        "from isa_toolkit.widgets import JobWatcher\n"
        "experiment = isa.Experiment(dataset='digits', method=isa.FRePo(drop_easy=0.2))\n"
        "JobWatcher(experiment, out='none')"
    ],
}


def notebook(cells: list[str]) -> str:
    """Return a notebook of code cells as its file's text."""
    import nbformat

    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.writes(made)
