"""``isa-toolkit sweep``: lists, the plan before the launch, exit codes, anyone may look."""

from __future__ import annotations

import json

import pytest
from stand_in_workers import DIVERGED, DONE, result, stand_ins, three

from isa_toolkit.cli import main
from isa_toolkit.sweeps import Plan, Sweep, write

TINY = [
    *("--steps", "6", "--batch-size", "32", "--width", "4", "--depth", "2"),
    *("--validation-steps", "3", "--validation-networks", "1", "--pool-size", "2"),
]


def run(capsys, *words):
    code = main(["sweep", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_every_combination_of_the_lists_is_planned(capsys, tmp_path):
    code, out, _ = run(
        capsys, "run", *TINY, "--drop-easy", "0", "0.4", "--segment", "-1", "0", "0", "0.5",
        "--seed", "0", "1", "--out", tmp_path / "runs", "--dry-run", "--json",
    )  # fmt: skip
    assert code == 0
    rows = json.loads(out)["runs"]
    assert [(row["differs"], row["seed"]) for row in rows] == [
        (f"drop_easy={fraction}, segment=({pair})", seed)
        for fraction in ("0", "0.4")
        for seed in (0, 1)
        for pair in ("-1, 0", "0, 0.5")
    ]
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_the_table_and_what_it_costs(capsys, tmp_path):
    code, out, err = run(capsys, "run", *TINY, "--out", tmp_path / "runs", "--dry-run")
    assert (code, err) == (0, "")
    assert "digits-ipc1-frepo-" in out
    assert "1 run in 1 group: 0 done, 1 to run. Time: unknown" in out
    assert not list(tmp_path.iterdir())


def test_the_same_options_make_the_run_that_distill_makes(
    capsys, tmp_path, monkeypatch
):
    import isa_toolkit.distillation

    seen = []

    def keep(experiment, **settings):
        seen.append(experiment.resolve().name)
        raise ValueError("kept.")

    words = [
        *TINY,
        "--out",
        str(tmp_path),
        "--segment",
        "0",
        "0.25",
        "--selection",
        "last",
    ]
    monkeypatch.setattr(isa_toolkit.distillation, "distill_grid", keep)
    assert main(["distill", *words, "--seed", "3"]) == 2
    capsys.readouterr()
    _, out, _ = run(capsys, "run", *words, "--seed", "3", "--dry-run", "--json")
    assert [row["run"] for row in json.loads(out)["runs"]] == seen


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--drop-easy", "0", "1.5"], "--drop-easy"),
        (["run", "--drop-hard", "0.9"], "--drop-easy + --drop-hard"),
        (["run", "--method", "magic"], "'frepo'"),
        (["run", "--slots", "0"], "slots"),
        (["run", "--pack", "0"], "pack"),
        (["run", "--name", "a/b"], "name"),
        (["status", "nowhere"], "There is no sweep at"),
        (["cancel", "nowhere"], "There is no sweep at"),
        (["resume", "nowhere"], "There is no sweep at"),
        (["worker", "nowhere"], "There is no group of a sweep at"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    capsys, tmp_path, monkeypatch, words, says
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_exit_codes_tell_how_it_ended(capsys, tmp_path, monkeypatch):
    stand_ins(
        tmp_path,
        monkeypatch,
        f"[ $SEED = 1 ] && {{ {DIVERGED}; {result(3, 'NaN at 3.')}; }}; {DONE}",
    )
    made = three(tmp_path / "runs")
    write(made)
    code, out, _ = run(capsys, "resume", made.path)
    assert code == 3
    assert "done: 2 done, 1 diverged" in out
    assert f"{made.runs[1].name}: NaN at 3." in out

    stand_ins(tmp_path / "b", monkeypatch, "exit 1")
    made = three(tmp_path / "b/runs")
    write(made)
    code, out, _ = run(capsys, "resume", made.path, "--json")
    assert code == 1
    assert json.loads(out)["state"] == "failed"
    code, out, _ = run(capsys, "status", made.path)
    assert code == 1
    assert f"isa-toolkit sweep resume {made.path}" in out


def test_a_sweep_that_another_process_runs_is_exit_4(capsys, tmp_path):
    from isa_toolkit.distillation.store import lock_folder

    made = three(tmp_path / "runs")
    write(made)
    with lock_folder(made.path, ValueError):
        code, _, err = run(capsys, "resume", made.path)
    assert code == 4
    assert "is run by process" in err
    code, out, _ = run(capsys, "cancel", made.path)
    assert code == 0
    assert "new: 3 new" in out
    assert not (made.path / "STOP").exists()


@pytest.mark.parametrize(
    ("answer", "starts"), [("y\n", True), ("n\n", False), ("\n", False)]
)
def test_on_a_terminal_it_asks_first(capsys, tmp_path, monkeypatch, answer, starts):
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    launched = []

    def start(planned, engine, **settings):
        launched.append(planned)
        write(planned)
        return Sweep(planned.path)

    monkeypatch.setattr(Plan, "run", start)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    code = main(["sweep", "run", *TINY, "--out", str(tmp_path / "runs")])
    assert code == 0
    assert bool(launched) is starts
    assert "Launch? [y/N] " in terminal.getvalue()
    assert ("Nothing was started." in terminal.getvalue()) is not starts
    capsys.readouterr()
