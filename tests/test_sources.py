"""Every section that a docstring cites exists in docs/algorithms.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CITATION = re.compile(
    r"docs/algorithms\.md,\s+sections?\s+([0-9.]+(?:(?:,|\s+and|\s+to)\s+[0-9][0-9.]*)*)"
)


def cited() -> dict[str, set[str]]:
    """Return the cited sections and the files that cite them."""
    sections: dict[str, set[str]] = {}
    for path in [*ROOT.glob("isa_toolkit/**/*.py"), ROOT / "isa_toolkit/presets.toml"]:
        for match in CITATION.finditer(path.read_text(encoding="utf-8")):
            for section in re.findall(r"[0-9]+(?:\.[0-9]+)?", match[1]):
                sections.setdefault(section, set()).add(path.name)
    return sections


def test_cited_sections_exist() -> None:
    text = (ROOT / "docs/algorithms.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? ", text, re.MULTILINE))
    found = cited()
    assert len(found) > 15
    missing = {
        section: files for section, files in found.items() if section not in headings
    }
    assert not missing


def test_no_citation_has_another_form() -> None:
    for path in ROOT.glob("isa_toolkit/**/*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"(?<!docs/)\balgorithms(\.md)?,? (section )?[0-9]", line):
                pytest.fail(f"{path.name}: {line.strip()}")
