"""Notebooks: complete, thin, with outputs that can be read and nothing of one machine."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# A panel is stored as HTML and as a PNG.
MOST_LINES, MOST_BYTES = 12, 1_000_000
WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text("utf-8"))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_they_are_numbered_from_one_without_a_gap() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{n:02d}_" for n in range(1, 13)]


def test_each_is_a_row_of_the_list() -> None:
    page = (FOLDER.parent / "docs" / "notebooks.md").read_text("utf-8")
    rows = re.findall(r"^\| \[\d\d\]\(../notebooks/(\w+\.ipynb)\)", page, re.MULTILINE)
    assert rows == [path.name for path in NOTEBOOKS]


def test_each_begins_with_its_question_and_what_it_costs(
    notebook: dict[str, Any],
) -> None:
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    assert re.match(r"# \d\d \w", source(first))
    assert re.search(r"^\*[^*]+\?\*", source(first), re.MULTILINE)
    for scale in ("quick", "paper"):
        assert f"\n| `{scale}` |" in source(first)


def test_each_ends_with_its_limits_a_folded_check_and_a_link(
    notebook: dict[str, Any],
) -> None:
    limits, heading, last, pointer = notebook["cells"][-4:]
    assert source(limits).startswith("## How to read this, and its limits\n")
    assert source(heading).startswith("### ")
    assert "\n" not in source(heading)
    assert "nbval-check-output" in tags(last)
    assert last["metadata"]["jupyter"] == {"source_hidden": True}
    assert ": True\n" in "".join(last["outputs"][0]["text"])
    links = re.findall(r"\]\((\d\d_\w+\.ipynb)\)", source(pointer))
    assert source(pointer).startswith("**Next:**")
    assert links


def test_links_between_notebooks_lead_somewhere(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for name in re.findall(r"\]\((\w+\.ipynb)\)", source(cell)):
                assert (FOLDER / name).is_file()


def test_the_toolkit_is_imported_in_one_line(notebook: dict[str, Any]) -> None:
    text = "\n".join(source(cell) for cell in code(notebook))
    lines = re.findall(r"^.*import.*isa_toolkit.*$|^from isa_toolkit.*$", text, re.M)
    assert lines == ["import isa_toolkit as isa"]


def test_the_first_code_cell_holds_papermills_parameters(
    notebook: dict[str, Any],
) -> None:
    first, *others = code(notebook)
    assert tags(first) == ["parameters"]
    assert source(first).startswith('scale = "quick"')
    assert not any("parameters" in tags(cell) for cell in others)
    for statement in ast.parse(source(first)).body:
        assert isinstance(statement, ast.Assign)


def test_they_define_next_to_nothing(notebook: dict[str, Any]) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for cell in code(notebook):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, kinds):
                assert node.end_lineno - node.lineno < MOST_LINES, source(cell)


def test_all_cells_have_run_in_order_and_show_something(
    notebook: dict[str, Any],
) -> None:
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [one for cell in code(notebook) for one in cell["outputs"]]
    assert any("image/png" in one.get("data", {}) for one in outputs)
    assert not any(one["output_type"] == "error" for one in outputs)
    assert not any(one.get("name") == "stderr" for one in outputs)


def test_no_widget_state_time_or_random_name_is_stored(
    notebook: dict[str, Any],
) -> None:
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for place, cell in enumerate(notebook["cells"]):
        assert cell["id"] == f"cell-{place:02d}"
        assert set(cell["metadata"]) <= {"tags", "jupyter"}
        for one in cell.get("outputs", []):
            assert WIDGET not in one.get("data", {})


def test_no_place_on_a_machine_and_no_progress_bar_is_shown(
    notebook: dict[str, Any],
) -> None:
    for cell in code(notebook):
        for one in cell["outputs"]:
            data = one.get("data", {})
            shown = [
                one.get("text", ""),
                *(data.get(f"text/{k}", "") for k in ("plain", "html")),
            ]
            text = "".join(part for parts in shown for part in parts)
            text = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
            assert not re.search(r"(?<![\w.<])/(?:\w[\w.\-]*/)+|0x[0-9a-f]{6}", text)
            assert not re.search(r"it/s|\d%\|", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_none_is_heavy(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
