"""The project files agree with each other and with the laws of the layout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import isa_toolkit

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# The same library under conda-forge's name.
CONDA_NAMES = {
    "docstring-parser": "docstring_parser",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
    "ray": "ray-core",
}


def _tracked() -> list[Path]:
    """Return the files of the project that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git work tree: nothing says which files belong to it")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def _bounds(requirements: list[str]) -> dict[str, str]:
    """Return the version rule of each requirement, by conda's name."""
    parsed = [Requirement(text) for text in requirements]
    return {
        CONDA_NAMES.get(one.name, one.name): str(one.specifier)
        for one in parsed
        if one.name != "isa-toolkit"
    }


def test_packages_import_downwards_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "4 kept, 0 broken" in result.stdout


def test_importing_the_package_stays_light() -> None:
    code = "import isa_toolkit, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(result.stdout.split())
    assert "isa_toolkit" in loaded
    heavy = {"matplotlib", "ipywidgets", "sklearn", "jax", "pandas", "pyarrow"}
    assert not heavy & loaded


def test_the_conda_environment_is_in_step_with_pyproject() -> None:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = _bounds(
        project["dependencies"]
        + extras["notebooks"]
        + extras["ray"]
        + extras["docs"]
        + extras["dev"]
    )
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    listed = [one for one in environment["dependencies"] if isinstance(one, str)]
    pip = [one["pip"] for one in environment["dependencies"] if isinstance(one, dict)]
    assert [entries[-1] for entries in pip] == ["-e ."]
    found = _bounds(listed + pip[0][:-1])
    assert found.pop("python") == project["requires-python"]
    assert found.pop("pip") == ""
    assert found == wanted
    assert environment["channels"][0] == "conda-forge"


def test_extras_name_what_they_are_for() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"notebooks", "ray", "cuda13", "docs", "dev"}
    assert "isa-toolkit[notebooks,ray,docs]" in extras["dev"]


def test_the_version_is_the_same_everywhere() -> None:
    version = isa_toolkit.__version__
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "isa_toolkit/__init__.py"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == version
    assert citation["license"] == PYPROJECT["project"]["license"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## \[(\d[^\]]*)\]", changes, flags=re.MULTILINE)[0] == version


def test_documents_name_only_targets_that_the_makefile_has() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert targets >= {"demo", "test", "quick", "check", "docs", "lab", "clean", "help"}
    documents = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / ".github").rglob("*.yml"),
        ROOT / ".ci/run",
    ]
    for document in documents:
        text = document.read_text("utf-8")
        # In a code block, between backticks or in a workflow; not "make sure".
        named = re.findall(
            r"(?:^\s*|`|run: |&& )make ([a-z]+)\b", text, flags=re.MULTILINE
        )
        assert set(named) <= targets, document.name


def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    # In pieces, so that this file does not name them itself.
    hosts = [
        "py" + "pi.org",
        "python" + "hosted",
        "ana" + "conda.org",
        "index" + "-url",
    ]
    home = "(?:root|home/[a-z]+|Users/[A-Za-z]+|work/(?:main|shared))"
    pattern = re.compile(
        "|".join([*map(re.escape, hosts), rf"(?<![\w.\-/$}}]){'/'}{home}/"])
    )
    found = {}
    for path in _tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        hits = pattern.findall(text)
        if hits:
            found[path.relative_to(ROOT)] = hits
    assert not found


def test_no_tracked_file_is_over_two_mebibytes() -> None:
    sizes = {path: path.stat().st_size for path in _tracked()}
    assert not {path for path, size in sizes.items() if size > 2 * 2**20}


def test_the_ci_entry_runs_the_same_commands_as_people_do() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert re.findall(r"^make (\w+)$", text, flags=re.MULTILINE) == ["check", "test"]


def _hooks() -> dict[str, list[str]]:
    """Return the words of each hook's command."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    [repository] = config["repos"]
    return {hook["id"]: hook["entry"].split() for hook in repository["hooks"]}


def test_the_hooks_call_what_the_environment_holds() -> None:
    for words in _hooks().values():
        folder, _, tool = words[0].rpartition("/")
        assert folder == ".venv/bin"
        assert Path(sys.executable).with_name(tool).exists()


@pytest.mark.slow
def test_the_notebook_hook_leaves_the_committed_notebooks_alone(tmp_path: Path) -> None:
    _, *options = _hooks()["notebook-metadata"]
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    copies = [Path(shutil.copy(notebook, tmp_path)) for notebook in notebooks]
    subprocess.run(
        [Path(sys.executable).with_name("nbstripout"), *options, *copies], check=True
    )
    for notebook, copy in zip(notebooks, copies, strict=True):
        assert copy.read_bytes() == notebook.read_bytes(), notebook.name


def test_the_workflows_run_what_people_run() -> None:
    """Every command is one of make's, or of the environment that make has built."""
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text("utf-8"))["jobs"]
        commands = [
            step["run"].split()
            for job in jobs.values()
            for step in job["steps"]
            if "run" in step
        ]
        assert commands, file.name
        for words in commands:
            assert words[:2] in (
                ["make", "check"],
                ["make", "test"],
                ["make", "docs"],
                ["make", ".venv/.dev"],
                [".venv/bin/python", "-m"],
                [".venv/bin/python", "tools/mutants.py"],
            ), file.name


def test_binder_builds_the_package_with_its_notebooks() -> None:
    folder = ROOT / ".binder"
    assert (folder / "requirements.txt").read_text().split() == ["-e", ".[notebooks]"]
    project = PYPROJECT["project"]
    assert "notebooks" in project["optional-dependencies"]
    wanted = (folder / "runtime.txt").read_text().strip().removeprefix("python-")
    assert SpecifierSet(project["requires-python"]).contains(wanted)
    last = folder / "postBuild"
    assert "isa-toolkit doctor" in last.read_text()
    assert last.stat().st_mode & 0o111, "postBuild must be executable"
