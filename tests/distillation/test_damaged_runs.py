"""A damaged or edited run folder is repaired or refused, and read, in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import STEPS, metric_rows, result_bytes, tiny

from isa_toolkit.distillation import Run, distill, trainer
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.errors import IsaError, RunLostError
from isa_toolkit.figures.comparisons import compare
from isa_toolkit.sweeps import runs_in
from isa_toolkit.sweeps.plan import measured_pace
from isa_toolkit.sweeps.states import run_status
from isa_toolkit.widgets.polling import run_options

pytestmark = pytest.mark.slow

Damage = Callable[[Path], Any]


@pytest.fixture
def unfinished(whole: Run, tmp_path: Path) -> Path:
    """Return a copy of the tiny run that died before its result was written."""
    path = Path(shutil.copytree(whole.path, tmp_path / whole.path.name))
    (path / "distilled.safetensors").unlink()
    return path


def lines(change: Callable[[list[str]], list[str]]) -> Damage:
    """Return what changes the lines of the metrics."""

    def damage(path: Path) -> None:
        rows = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
        (path / "metrics.jsonl").write_text("".join(change(rows)))

    return damage


def written(name: str, content: bytes) -> Damage:
    return lambda path: (path / name).write_bytes(content)


def edited(name: str, **values: Any) -> Damage:
    """Return what changes some values of a JSON file; None deletes one."""

    def damage(path: Path) -> None:
        found = {**json.loads((path / name).read_text()), **values}
        kept = {key: value for key, value in found.items() if value is not None}
        (path / name).write_text(json.dumps(kept))

    return damage


def snapshot(path: Path, step: int) -> Path:
    return path / "snapshots" / f"step-{step:08d}.safetensors"


def lose_the_best_snapshot(path: Path) -> None:
    snapshot(path, best_step(path)).unlink()


def swap_the_best_snapshot(path: Path) -> None:
    best = best_step(path)
    shutil.copy(snapshot(path, 0), snapshot(path, best))


def best_step(path: Path) -> int:
    rows = [json.loads(row) for row in metric_rows(path)]
    rows = [row for row in rows if row["kind"] == "validation"]
    return max(rows, key=lambda row: (row["accuracy"], -row["step"]))["step"]


REPAIRED: dict[str, tuple[Damage, str]] = {
    "last row gone": (lines(lambda rows: rows[:-1]), r"other rows .* 24\); .* step 16"),
    "torn": (lines(lambda rows: [*rows[:-1], rows[-1][:20]]), "resumes from step 16"),
    "garbage in the middle": (
        lines(lambda rows: [*rows[:5], "garbage\n", *rows[5:]]), "resumes from step 8"
    ),
    "renamed checkpoint": (
        lambda path: (path / "checkpoints" / "16").rename(path / "checkpoints" / "20"),
        "",
    ),
    "checkpoint beyond the last step": (
        lambda path: (path / "checkpoints" / "24").rename(path / "checkpoints" / "99"),
        r"damaged files at step 99\); .* resumes from step 16",
    ),
    "copied checkpoint": (
        lambda path: (
            shutil.rmtree(path / "checkpoints" / "24"),
            shutil.copytree(path / "checkpoints" / "8", path / "checkpoints" / "24"),
        ),
        "resumes from step 16",
    ),
    "status": (written("status.json", b"[]"), r"status\.json was damaged or changed"),
    "environment": (written("environment.json", b"3"), "environment.json was damaged"),
    "experiment": (written("experiment.json", b'"x"'), "experiment.json was damaged"),
    "setting": (edited("experiment.json", seed=3), "experiment.json was damaged or"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), REPAIRED.values(), ids=REPAIRED)
def test_damage_that_can_be_repaired_changes_nothing(
    damage: Damage, said: str, whole: Run, unfinished: Path
) -> None:
    damage(unfinished)
    if said:
        with pytest.warns(UserWarning, match=said):
            again = distill(tiny(), out=unfinished.parent, progress=False)
    else:
        again = distill(tiny(), out=unfinished.parent, progress=False)
    assert again.status["status"] == "done"
    assert metric_rows(again.path) == metric_rows(whole.path)
    assert result_bytes(again.path) == result_bytes(whole.path)
    assert again.experiment == whole.experiment


REFUSED: dict[str, tuple[Damage, str]] = {
    "metrics empty": (lines(lambda rows: []), "other rows in metrics.jsonl at steps 8, 16"),
    "metrics gone": (lambda path: (path / "metrics.jsonl").unlink(), "other rows in"),
    "first rows gone": (lines(lambda rows: rows[2:]), "other rows in metrics"),
    "first row twice": (lines(lambda rows: [rows[0], *rows]), "other rows in metrics"),
    "no text": (written("metrics.jsonl", b"\xff\xfe\n"), "other rows in metrics"),
    "better accuracies": (
        lines(lambda rows: [row.replace('"accuracy": 0', '"accuracy": 1') for row in rows]),
        "other rows in metrics",
    ),
    "hash": (edited("experiment.json", hash="f" * 64), "must belong to experiment"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), REFUSED.values(), ids=REFUSED)
def test_damage_that_cannot_be_repaired_is_refused(
    damage: Damage, said: str, unfinished: Path
) -> None:
    damage(unfinished)
    with pytest.raises(ValueError, match=said) as caught:
        distill(tiny(), out=unfinished.parent, progress=False)
    assert isinstance(caught.value, IsaError)
    assert "\n" not in str(caught.value)
    assert not (unfinished / "distilled.safetensors").exists()


def test_other_lost_snapshots_are_named(whole: Run, unfinished: Path) -> None:
    lost = [step for step in (0, 8, 16) if step != best_step(unfinished)]
    snapshot(unfinished, lost[0]).unlink()
    cut = snapshot(unfinished, lost[1])
    cut.write_bytes(cut.read_bytes()[:-1])
    named = ", ".join(map(str, lost))
    with pytest.warns(UserWarning, match=f"snapshots of steps {named} are gone or dam"):
        distill(tiny(), out=unfinished.parent, progress=False)
    assert result_bytes(unfinished) == result_bytes(whole.path)


@pytest.mark.parametrize("damage", [lose_the_best_snapshot, swap_the_best_snapshot])
def test_a_result_is_never_made_from_another_snapshot(
    damage: Damage, whole: Run, unfinished: Path
) -> None:
    best = best_step(unfinished)
    damage(unfinished)
    # The checkpoint of that step, and those after it, need the snapshot.
    if best == 8:
        with pytest.raises(
            ValueError, match="no snapshot of step 8 at steps 8, 16, 24"
        ):
            distill(tiny(), out=unfinished.parent, progress=False)
        return
    with pytest.warns(UserWarning, match=f"no snapshot of step {best} at step"):
        distill(tiny(), out=unfinished.parent, progress=False)
    assert result_bytes(unfinished) == result_bytes(whole.path)


READ: dict[str, Damage] = {
    **{
        f"{name} {content[:9]!r}": written(f"{name}.json", content)
        for name in ("status", "environment", "experiment", "holder")
        for content in (b"", b"[]", b"3", b"null", b"{}", b"\xff\xfe", b"[" * 100_000)
    },
    **{
        f"status without {name}": edited("status.json", **{name: None})
        for name in ("status", "step", "steps", "steps_per_s", "elapsed_s")
    },
    "a step that is text": edited("status.json", step="x"),
    "a speed that is text": edited("status.json", steps_per_s="x"),
    "a huge step": edited("status.json", step=10**400),
    **{
        f"experiment without {name}": edited("experiment.json", **{name: None})
        for name in ("hash", "steps", "method", "network", "dataset", "images_per_class")
    },
    "no network": edited("experiment.json", network=[]),
    "no steps": edited("experiment.json", steps="many"),
    "another seed": edited("experiment.json", seed=3),
    "starts": edited("environment.json", starts=[3]),
    "metrics empty": lines(lambda rows: []),
    "metrics gone": lambda path: (path / "metrics.jsonl").unlink(),
    "metrics no text": written("metrics.jsonl", b"\xff\xfe\n\xff"),
    "metrics a list": lines(lambda rows: [*rows[:2], "[1]\n", *rows[2:]]),
    "metrics text": lines(lambda rows: [*rows[:2], '{"step": "x"}\n', *rows[2:]]),
    "metrics without accuracy": lines(
        lambda rows: [row.replace('"accuracy"', '"other"') for row in rows]
    ),
    "metrics twice": lines(lambda rows: [*rows, *rows]),
    "no snapshots": lambda path: shutil.rmtree(path / "snapshots"),
    "odd names": lambda path: (
        (path / "checkpoints" / "²").mkdir(),
        snapshot(path, 0).with_name("step-x.safetensors").touch(),
    ),
}  # fmt: skip


READERS: list[Callable[[Path], Any]] = [
    lambda path: repr(Run.open(path)),
    lambda path: Run.open(path).metrics,
    lambda path: Run.open(path).step + Run.open(path).status["step"],
    lambda path: Run.open(path).experiment["dataset"]["preprocessing"]["fingerprint"],
    lambda path: (Run.open(path).snapshots, Run.open(path).checkpoints),
    lambda path: Run.open(path)._repr_html_(),
    lambda path: (run_status(path).fraction, run_status(path).eta_s),
    lambda path: run_options(runs_in(path.parent)),
    lambda path: measured_pace(tiny().resolve().description, path.parent),
    lambda path: compare([Run.open(path)] * 2),
    lambda path: tiny(start_from=path, steps=STEPS + 1).resolve(),
]


@pytest.mark.filterwarnings("ignore:.* damaged and left out")
@pytest.mark.parametrize("damage", READ.values(), ids=READ)
def test_readers_of_a_damaged_run_say_so_in_a_sentence(
    damage: Damage, whole: Run, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(whole.path, tmp_path / whole.path.name))
    (path / "holder.json").write_text('{"pid": 1}')
    damage(path)
    for read in READERS:
        try:
            read(path)
        except (IsaError, FileNotFoundError) as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- a folder that is lost while the run works -----------------------------------------


def delete_the_lock(path: Path) -> None:
    (path / ".lock").unlink()


def move_the_folder(path: Path) -> None:
    path.rename(path.with_name("moved"))


@pytest.mark.parametrize("lose", [delete_the_lock, shutil.rmtree, move_the_folder])
def test_a_run_that_has_lost_its_folder_ends_and_writes_nothing_more(
    lose: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)
    seen: list[list[str]] = []

    def ask(progress: Any) -> None:
        if progress.step == 5:
            lose(progress.path)
            seen.append(sorted(map(str, tmp_path.rglob("*"))))

    with pytest.raises(RunLostError, match="was deleted or moved while this process"):
        distill(tiny(), out=tmp_path, progress=False, callbacks=[ask])
    assert seen == [sorted(map(str, tmp_path.rglob("*")))]


def test_a_folder_that_is_lost_during_a_write_is_no_wrong_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunStore.append_metrics

    def append(store: RunStore, rows: list[dict[str, Any]]) -> None:
        shutil.rmtree(store.path)
        write(store, rows)

    monkeypatch.setattr(RunStore, "append_metrics", append)
    with pytest.raises(RunLostError, match="was deleted or moved while this process"):
        distill(tiny(), out=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("{}\n")])
def test_metrics_that_change_under_a_run_end_it_and_are_not_continued(
    change: Damage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_CHUNK_S", 1e-9)

    def ask(progress: Any) -> None:
        if progress.step == 11:
            change(progress.path / "metrics.jsonl")

    with pytest.raises(ValueError, match=r"metrics\.jsonl was changed while the run"):
        distill(tiny(), out=tmp_path, progress=False, callbacks=[ask])
    with pytest.raises(ValueError, match=r"other rows in metrics\.jsonl at step 8"):
        distill(tiny(), out=tmp_path, progress=False)


def test_settings_that_are_deleted_under_a_run_are_there_in_the_end(
    whole: Run, tmp_path: Path
) -> None:
    def ask(progress: Any) -> None:
        (progress.path / "experiment.json").unlink(missing_ok=True)

    again = distill(tiny(), out=tmp_path, progress=False, callbacks=[ask])
    assert again.experiment == whole.experiment
