"""``isa-toolkit export``: what it writes, its exit codes, one sentence per error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_run import files_of

from isa_toolkit.cli import FAILED, OK, USAGE, main
from isa_toolkit.distilled import DistilledSet


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistilledSet:
    """Return a set that lies in a run folder."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    pixels = draw.uniform(size=(4, 3, 3, 1)).astype(np.float32)
    pixels[0, 0, 0, 0] = 2
    distilled = DistilledSet(
        images=pixels, labels=np.eye(4), pixels=pixels, class_names=tuple("abcd")
    )
    distilled.save(tmp_path / "run" / "distilled.safetensors")
    return distilled


def run(capfd: pytest.CaptureFixture[str], words: str) -> tuple[int, str, str]:
    code = main(words.split())
    out, err = capfd.readouterr()
    return code, out, err


@pytest.mark.parametrize("path", ["run", "run/distilled.safetensors"])
def test_a_run_or_a_file_becomes_class_folders(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, f"export {path} --out images")
    assert (code, err) == (OK, "")
    assert out.startswith("4 images of 4 classes in images\n")
    assert "2.8 % of the values lay outside" in out  # 1 of 36
    assert sorted(one.name for one in Path("images").iterdir()) == [
        *("a", "about.json", "b", "c", "d", "labels.csv"),
    ]


def test_of_a_folder_of_runs_the_runs_are_listed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, stored: DistilledSet
) -> None:
    stored.save(tmp_path / "other" / "distilled.safetensors")
    code, out, err = run(capfd, f"export {tmp_path}")
    assert (code, out) == (USAGE, "")
    assert "got a folder of 2: other, run. Try: isa-toolkit export" in err


@pytest.mark.parametrize("kind", ["png", "npz", "safetensors"])
def test_without_a_name_it_lies_beside_the_set(
    kind: str, capfd: pytest.CaptureFixture[str], stored: DistilledSet
) -> None:
    kept = Path("run/distilled.safetensors").read_bytes()
    code, out, _ = run(capfd, f"export run --kind {kind} --json")
    result = json.loads(out)
    assert code == OK
    assert (result["kind"], result["images"]) == (kind, 4)
    assert result["clipped"] == pytest.approx(1 / 36)
    made = Path(result["out"])
    assert made.parent == Path("run")
    assert Path("run/distilled.safetensors").read_bytes() == kept
    if kind == "npz":
        with np.load(made, allow_pickle=False) as file:
            np.testing.assert_array_equal(file["labels"], stored.labels)
    before = files_of(made.parent)
    assert run(capfd, f"export run --kind {kind}")[0] == USAGE
    assert files_of(made.parent) == before
    assert run(capfd, f"export run --kind {kind} --overwrite")[0] == OK


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        ("export nowhere", "There is no distilled set at nowhere.", USAGE),
        ("export run --out run", "--out must be new, got run", USAGE),
        ("export run --out run --overwrite", "must be an earlier export", USAGE),
        ("export text", "text is not a distilled set", USAGE),
        ("export run --out text/deep", "text/deep cannot be written", FAILED),
        (
            "export run --kind npz --out /dev/null/set.npz",
            "/dev/null/set.npz cannot be written",
            FAILED,
        ),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    words: str, says: str, code: int, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("text").write_text("no set")
    before = files_of(tmp_path)
    ended, out, err = run(capfd, words)
    assert (ended, out) == (code, "")
    assert err.startswith("isa-toolkit: ")
    assert err.count("\n") == 1
    assert says in err
    assert files_of(tmp_path) == before
    assert {one.name for one in tmp_path.iterdir()} == {"run", "text"}
