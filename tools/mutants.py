"""Check that the tests bite: each mistake below must make a test fail.

    python tools/mutants.py              # all, one after the other
    python tools/mutants.py isa resume   # those whose name or file holds one of the words

The repository is copied to a temporary folder; there each mutant replaces one piece of a
file, the tests named for it run, and the piece is put back. The exit code is 1 if a mutant
survives or its piece is no longer there, once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """One mistake and the tests that must see it.

    name: What is wrong.
    file: Path of the file below ``isa_toolkit``.
    old: Piece of the file, which occurs once.
    new: What replaces it.
    tests: Paths below ``tests``, a test's name after "::" where one is enough.
    """

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTANTS = (
    Mutant(
        "the mean square along a segment is a half, not a third",
        "losses/isa.py",
        "(start * start + start * stop + stop * stop) / 3",
        "(start * start + start * stop + stop * stop) / 2",
        ["losses/test_isa.py"],
    ),
    Mutant(
        "a dropped sample can be a partner",
        "losses/isa.py",
        "allowed = (weights > 0)[None, :] & (",
        "allowed = (weights > -1)[None, :] & (",
        ["losses/test_isa.py"],
    ),
    Mutant(
        "hard samples are dropped in place of easy ones",
        "losses/crucial.py",
        "order = jnp.argsort(values, stable=True)",
        "order = jnp.argsort(-values, stable=True)",
        ["losses/test_crucial.py"],
    ),
    Mutant(
        "a loss is a mean over dropped samples, too",
        "losses/crucial.py",
        "jnp.sum(kept * weights) / jnp.sum(weights)",
        "jnp.sum(kept * weights) / weights.size",
        ["losses/test_crucial.py"],
    ),
    Mutant(
        "all samples can be dropped",
        "losses/crucial.py",
        "return jnp.clip(dropped, 0, count - 1)",
        "return jnp.clip(dropped, 0, count)",
        ["losses/test_crucial.py"],
    ),
    Mutant(
        "the ridge is not relative to the number of samples",
        "losses/ridge.py",
        "dual = _solve(features, labels, ridge / features.shape[0])",
        "dual = _solve(features, labels, ridge)",
        ["losses/test_ridge.py"],
    ),
    Mutant(
        "MixUp mixes labels the other way round",
        "losses/selection.py",
        "(1 - t) * labels + t * labels[chosen]",
        "t * labels + (1 - t) * labels[chosen]",
        ["losses/test_selection.py"],
    ),
    Mutant(
        "an expert's last epoch points backwards",
        "losses/matching.py",
        "residual, last = student - target, before - target",
        "residual, last = student - target, target - before",
        ["losses/test_matching.py"],
    ),
    Mutant(
        "an interval is one-sided",
        "analysis/intervals.py",
        "stdtrit(n - 1, (1 + level) / 2)",
        "stdtrit(n - 1, level)",
        ["analysis/test_intervals.py"],
    ),
    Mutant(
        "a standard deviation is divided by n",
        "analysis/intervals.py",
        "array.std(ddof=1)",
        "array.std(ddof=0)",
        ["analysis/test_intervals.py"],
    ),
    Mutant(
        "the balls of recall belong to the real points",
        "analysis/diversity.py",
        "limits = squared_radii(columns, number)[None, :]",
        "limits = squared_radii(rows, number)[: len(second)][None, :]",
        ["analysis/test_diversity.py"],
    ),
    Mutant(
        "a resumed chunk counts its steps from 0",
        "distillation/loop.py",
        "one_step(state, order, start + done)",
        "one_step(state, order, done)",
        ["distillation/test_loop.py"],
    ),
    Mutant(
        "a step draws with the key of the run",
        "distillation/loop.py",
        "key = jax.random.fold_in(keys.steps, step)",
        "key = keys.steps",
        ["distillation/test_loop.py"],
    ),
    Mutant(
        "metrics behind the checkpoint stay when a run resumes",
        "distillation/store.py",
        'if row["step"] <= step]',
        'if row["step"] <= step + 1]',
        ["distillation/test_store.py"],
    ),
    Mutant(
        "a flipped bit of a checkpoint goes unseen",
        "distillation/checkpoints.py",
        "if sums != _sums(folder):",
        "if set(sums) != set(_sums(folder)):",
        ["distillation/test_checkpoints.py"],
    ),
    Mutant(
        "a resumed run forgets the steps since its last row",
        "distillation/run_state.py",
        'self.step, self.pending = stored.step, stored.notes["pending"]',
        "self.step, self.pending = stored.step, []",
        ["distillation/test_trainer.py"],
    ),
    Mutant(
        "whitening does not centre the images",
        "datasets/whitening.py",
        "yield to_blocks(piece - mean, stride)",
        "yield to_blocks(piece, stride)",
        ["datasets/test_whitening.py"],
    ),
    Mutant(
        "labels are not centred",
        "datasets/validation.py",
        "np.full((len(labels), num_classes), -1.0 / num_classes, np.float32)",
        "np.zeros((len(labels), num_classes), np.float32)",
        ["datasets/test_validation.py"],
    ),
    Mutant(
        "a flip is vertical",
        "datasets/augmentation.py",
        "images[:, :, ::-1], images)",
        "images[:, ::-1], images)",
        ["datasets/test_augmentation.py"],
    ),
    Mutant(
        "a siamese draw differs between the images",
        "datasets/augmentation.py",
        "op.draw(draw_key, (1 if siamese else n, *images.shape[1:]))",
        "op.draw(draw_key, (n, *images.shape[1:]))",
        ["datasets/test_augmentation.py"],
    ),
    Mutant(
        "a panel clears an error that its work has just raised",
        "widgets/panel.py",
        "        if self.last_error is before:\n            self",
        "        if True:\n            self",
        ["widgets/test_panel.py"],
    ),
    Mutant(
        "the handles of the easy and the hard end are swapped",
        "widgets/crucial.py",
        '(easy, hard), within = values["drop"], values["within"]',
        '(hard, easy), within = values["drop"], values["within"]',
        ["widgets/test_crucial.py"],
    ),
    Mutant(
        "a button's comparison is stored for other settings",
        "widgets/compute_panel.py",
        "self.tables[key] = compute(working)",
        "self.tables[()] = compute(working)",
        ["widgets/test_compute_panel.py"],
    ),
)


class Result(NamedTuple):
    """What became of a mutant: killed, survived, or why it was not tried."""

    mutant: Mutant
    outcome: str
    seconds: float


def main(arguments: list[str]) -> int:
    """Try the mutants that the arguments name, all for none.

    Args:
        arguments: Words in their names or files.

    Returns:
        0 if a test has killed each of them, otherwise 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="all if left out")
    words = parser.parse_args(arguments).words or [""]
    chosen = [
        mutant
        for mutant in MUTANTS
        if any(w in mutant.name + mutant.file for w in words)
    ]
    if not chosen:
        print(f"no mutant has {' or '.join(words)} in its name")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for name in _tracked():
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        print("without a mutant:", end=" ", flush=True)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        code, report = _run(copy, tests)
        print("the tests pass" if code == 0 else f"exit code {code}\n{report}")
        results = [_try(mutant, copy) for mutant in chosen] if code == 0 else []
    killed = sum(result.outcome == "killed" for result in results)
    print(f"{killed} of {len(chosen)} mutants killed")
    return int(killed < len(chosen))


def _tracked() -> list[str]:
    """Return the paths of the files that are in the repository or new to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def _try(mutant: Mutant, copy: Path) -> Result:
    began = time.monotonic()
    path = copy / "isa_toolkit" / mutant.file
    source = path.read_text("utf-8") if path.is_file() else ""
    report = ""
    if (count := source.count(mutant.old)) != 1:
        outcome = f"does not apply: its piece occurs {count} times"
    else:
        path.write_text(source.replace(mutant.old, mutant.new), "utf-8")
        code, report = _run(copy, mutant.tests)
        path.write_text(source, "utf-8")
        # 1: a test failed. 2 and above: they did not run.
        outcome = {0: "SURVIVED", 1: "killed"}.get(code, f"exit code {code}")
    result = Result(mutant, outcome, time.monotonic() - began)
    print(
        f"{outcome:<9} {result.seconds:4.0f} s  {mutant.file}: {mutant.name}",
        flush=True,
    )
    if outcome.startswith("exit"):
        print(report)
    return result


def _run(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Return exit code and report of some tests of the copy, up to the first failure."""
    environment = {
        **os.environ,
        # A mutant may have the size and the time of what it replaces.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(copy),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            *(f"tests/{one}" for one in tests),
        ],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr)[-3000:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
