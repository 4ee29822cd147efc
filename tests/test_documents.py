"""The site is whole, and what its pages print runs as printed."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import isa_toolkit as isa
from isa_toolkit.datasets import load_dataset
from isa_toolkit.evaluation import evaluation, random_real, train

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "using_distilled_sets.md"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_snippets_on_distilled_sets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_dataset("digits")
    distilled = random_real(digits, 6)
    monkeypatch.chdir(tmp_path)
    distilled.export("digits.npz", kind="npz")
    distilled.export("digits-png", kind="png")
    # A minute of training is not what is tested.
    monkeypatch.setattr(evaluation, "run_evaluation", one_guess)
    known: dict[str, object] = {}
    ran = [code for code in snippets() if "import torch" not in code]
    assert len(ran) == 3
    for code in ran:
        exec(compile(code, str(PAGE), "exec"), known)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "(60, 8, 8, 1) (60, 10) ['0' '0' '0']"
    assert out[1] == "0.5"
    assert 0 < float(out[2]) < 1
    np.testing.assert_array_equal(known["folder"].labels, distilled.labels)


def one_guess(*arguments: object, **rest: object) -> object:
    del arguments, rest
    return train.TestResult(np.array([0.5]), np.array([0.5]), {})


class Links(html.parser.HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.names: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.add(found.get("id") or "")
        link = found.get("href" if tag in ("a", "link") else "src") or ""
        if not urllib.parse.urlsplit(link).scheme and not link.startswith("//"):
            self.targets.add(urllib.parse.unquote(link))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built with warnings as errors: each page is in a toctree."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", DOCS, built]
    environment = {**os.environ, "PYTHONPATH": str(DOCS.parent)}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return built


@pytest.mark.slow
def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {
        page: Links(page)
        for page in site.rglob("*.html")
        if "_static" not in page.parts
    }
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            path, _, name = target.partition("#")
            file = (page.parent / path.partition("?")[0]).resolve() if path else page
            is_there = file.exists() and not file.is_dir()
            if not is_there or (name and name not in pages[file].names):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert len(pages) > 40
    assert not broken


@pytest.mark.slow
def test_the_reference_holds_every_public_name(site: Path) -> None:
    names = set()
    for page in (site / "api").glob("*.html"):
        names |= Links(page).names
    # Each public name -> the names under which it may stand.
    wanted = {name: {f"isa_toolkit.{name}"} for name in isa.__all__}
    for package in (getattr(isa, one) for one in isa.__all__):
        for name in getattr(package, "__all__", ()):
            value = getattr(package, name)
            origin = getattr(value, "__module__", package.__name__)
            is_own = origin.startswith(package.__name__) and name not in wanted
            if is_own and not isinstance(value, ModuleType):
                at = f"{package.__name__}.{name}"
                wanted[at] = {at, f"{origin}.{name}"}
    for file in Path(isa.figures.__path__[0]).glob("*.py"):
        if "\ndef compute(" in file.read_text("utf-8"):
            wanted[file.stem] = {f"isa_toolkit.figures.{file.stem}"}
    assert len(wanted) > 80
    names |= {name.removeprefix("module-") for name in names}
    assert not {one for one, places in wanted.items() if not names & places}
