"""``isa-toolkit reproduce``: its files, its JSON, and one sentence for bad input."""

from __future__ import annotations

import json

import pytest
from tiny_study import three_digits, use_tiny_budget

import isa_toolkit.datasets
from isa_toolkit.cli import main
from isa_toolkit.cli.output import command_line
from isa_toolkit.figures.registry import ITEMS

pytestmark = pytest.mark.slow


def run(capsys, *words):
    code = main(["reproduce", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def tiny(monkeypatch):
    """A budget of next to nothing, and three digits for whatever is asked for."""
    use_tiny_budget(monkeypatch)
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return three_digits()

    monkeypatch.setattr(isa_toolkit.datasets, "load_dataset", load)
    return asked


def test_one_item_with_its_page_and_json(capsys, tiny, tiny_runs, tmp_path):
    out = tmp_path / "results"
    words = ("--dataset", "digits", "--limit", "9", "--only", "fig5", "--out", out)
    code, reported, err = run(
        capsys, *words, "--runs", tiny_runs, "--json", "--no-progress"
    )
    assert code == 0
    assert json.loads(reported) == {"report": str(out / "report.html")}
    [(name, settings)] = tiny
    assert name == "digits"
    assert {key: value for key, value in settings.items() if value} == {"limit": 9}
    [line] = err.splitlines()
    assert line.startswith("fig5 ")
    folder = out / "three_digits-quick"
    assert {path.name for path in folder.iterdir()} == {
        "fig5.csv", "fig5.pdf", "fig5.png", "fig5.json", "fig5-numbers.csv",
    }  # fmt: skip
    page = (out / "report.html").read_text()
    assert page.count("<img") == 1
    # How to do it again.
    assert "isa-toolkit reproduce --dataset digits --limit 9 --only fig5 " in page
    assert f"--out {out}" in page
    code, reported, _ = run(
        capsys, *words, "--runs", tmp_path / "none", "--no-run-missing"
    )  # fmt: skip
    assert (code, reported) == (0, f"report: {out / 'report.html'}\n")
    assert not (tmp_path / "none").exists()
    assert "<img" not in (out / "report.html").read_text()


def test_items_are_separated_by_commas(capsys, tiny, tmp_path):
    code, _, err = run(
        capsys, "--dataset", "digits", "--only", " table7, fig8 ", "--no-run-missing",
        "--out", tmp_path / "out", "--runs", tmp_path / "runs", "--seeds", "1",
    )  # fmt: skip
    assert code == 0
    reported = [line.split()[0] for line in err.splitlines()]
    assert reported == ["fig8", "table7"]
    assert err.count("nothing to show") == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--only", "fig9"], "--only must be one of"),
        (["--only", "fig5,fig9"], "got 'fig9'"),
        (["--seeds", "0"], "seeds must be"),
        (["--workers", "0"], "workers must be"),
        (["--dataset", "nothing"], "'digits'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    capsys, monkeypatch, tmp_path, words, name
):
    monkeypatch.chdir(tmp_path)
    if "--dataset" not in words:
        words = ["--dataset", "digits", *words]
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("isa-toolkit: ")
    assert name in err
    assert err.count("\n") == 1
    if "--only" in words:
        assert all(repr(item) in err for item in ITEMS)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_sentence(capsys, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run(
        capsys, "--dataset", "digits", "--only", "table7", "--out", tmp_path / "file",
        "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("isa-toolkit: ")
    assert err.count("\n") == 1


def test_an_interrupt_is_exit_130(capsys, tiny, monkeypatch, tmp_path):
    from isa_toolkit.figures import study

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "distill", stop)
    code, out, err = run(
        capsys, "--dataset", "digits", "--only", "fig5", "--out", tmp_path / "out",
        "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "isa-toolkit: interrupted"


def test_a_flag_of_several_numbers_is_written_as_it_is_typed():
    line = command_line("reproduce", only="", limit=None, std=(0.25, 0.5))
    assert line == "isa-toolkit reproduce --std 0.25 0.5"
