"""A checkpoint gives back every byte, or says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from toy import assert_same_bytes

from isa_toolkit.distillation.checkpoints import Checkpoints, stored_steps

STATE = {
    "weights": jnp.asarray([[0.1, -3e-39], [1e38, -0.0]], jnp.float32),
    "age": jnp.asarray([3, 1 << 30], jnp.int32),
    "key": jnp.asarray([1, 2**32 - 1], jnp.uint32),
    "nested": (jnp.zeros(()), jnp.asarray(True)),
}
NOTES = {
    "experiment": "a" * 64, "pending": [{"loss": 0.1}], "elapsed_s": 1.5,
    "metrics": {"bytes": 3, "sha256": "b" * 64},
}  # fmt: skip


def test_what_is_saved_is_restored_to_the_bit(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(STATE, experiment="a" * 64) is None
        checkpoints.save(7, STATE, NOTES)
    with Checkpoints(tmp_path / "c") as checkpoints:
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert (stored.step, stored.notes) == (7, {**NOTES, "step": 7})
    assert_same_bytes(stored.state, STATE)


def test_the_last_few_are_kept_and_the_last_is_read(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", keep=3) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, {"x": jnp.asarray(float(step))}, NOTES)
        assert checkpoints.steps == stored_steps(tmp_path / "c") == [3, 4, 5]
        stored = checkpoints.restore({"x": jnp.zeros(())}, experiment="a" * 64)
    assert stored is not None
    assert float(stored.state["x"]) == stored.step == 5


def test_those_of_another_run_are_read_at_any_step_and_stay(
    three: Path, tmp_path: Path
) -> None:
    assert stored_steps(tmp_path / "missing") == []
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    flip_a_bit(folder / "3" / "notes" / "metadata")
    with Checkpoints(folder, read_only=True) as checkpoints:
        state = checkpoints.read(2, STATE, experiment="a" * 64)
        assert float(state["nested"][0]) == 2
        with pytest.raises(
            ValueError,
            match=r"^The checkpoint of step 3 in .* must be undamaged, got damaged files\. "
            r"Choose another start_step: 1, 2\.$",
        ):
            checkpoints.read(3, STATE, experiment="a" * 64)
        other = {**STATE, "age": jnp.zeros(3, jnp.int32)}
        with pytest.raises(ValueError, match=r"\(3,\), got \(2,\)\. .* pool_size\.$"):
            checkpoints.read(2, other, experiment="a" * 64)
    assert stored_steps(folder) == [1, 2, 3]


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, STATE, NOTES)
        with pytest.raises(ValueError, match="experiment bbbbbbbb, got aaaaaaaa"):
            checkpoints.restore(STATE, experiment="b" * 64)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return checkpoints of steps 1, 2 and 3; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2, 3):
            state = {**STATE, "nested": (jnp.asarray(float(step)), jnp.asarray(True))}
            checkpoints.save(step, state, NOTES)
    return folder


@pytest.mark.parametrize("damage", [Path.unlink, cut_off, flip_a_bit])
@pytest.mark.parametrize("part", ["notes", "state", "_CHECKPOINT_METADATA"])
def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(
    damage: Callable[[Path], None], part: str, three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    where = folder / "3" / part
    files = [path for path in [where, *where.rglob("*")] if path.is_file()]
    damage(max(files, key=lambda path: path.stat().st_size))
    with Checkpoints(folder) as checkpoints:
        with pytest.warns(UserWarning, match=r"at step 3\); .* resumes from step 2\."):
            stored = checkpoints.restore(STATE, experiment="a" * 64)
        assert stored is not None
        assert stored.step == float(stored.state["nested"][0]) == 2
        assert checkpoints.steps == [1, 2]
        # Its steps are taken again, and saved again.
        checkpoints.save(3, STATE, NOTES)
        again = checkpoints.restore(STATE, experiment="a" * 64)
    assert again is not None
    assert again.step == 3
    assert_same_bytes(again.state, STATE)
    assert (tmp_path / "damaged-checkpoint-3").is_dir()


def expect_step_2(folder: Path) -> None:
    """Check that the run resumes from step 2, with a warning."""
    with (
        Checkpoints(folder) as checkpoints,
        pytest.warns(UserWarning, match="resumes from step 2"),
    ):
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert stored.step == 2


def test_a_checkpoint_without_sums_is_read_or_found_damaged(
    three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    (folder / "3" / "sums.json").unlink()
    with Checkpoints(folder) as checkpoints:
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert stored.step == 3
    cut_off(folder / "3" / "notes" / "metadata")
    expect_step_2(folder)


def test_several_damaged_ones_are_put_aside_together(
    three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    for step in (2, 3):
        cut_off(folder / str(step) / "sums.json")
    with (
        Checkpoints(folder) as checkpoints,
        pytest.warns(UserWarning, match=r"at steps 2, 3\); .* resumes from step 1"),
    ):
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert stored.step == 1
    names = sorted(path.name for path in tmp_path.glob("damaged-*"))
    assert names == [f"damaged-checkpoint-{name}" for name in ("2", "3")]


NO_NOTES = [
    [], 3, "x", None, {}, {**NOTES, "step": 2}, {**NOTES, "step": "3"},
    {**NOTES, "step": 3, "pending": 3}, {**NOTES, "step": 3, "metrics": []},
    *({**NOTES, "step": 3, name: "x"} for name in ("pending", "elapsed_s")),
    *({k: v for k, v in NOTES.items() if k != name} | {"step": 3} for name in NOTES),
]  # fmt: skip


@pytest.mark.parametrize("notes", NO_NOTES, ids=str)
def test_a_checkpoint_with_other_notes_is_damaged(
    notes: object, three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    (folder / "3" / "notes" / "metadata").write_text(json.dumps(notes))
    (folder / "3" / "sums.json").unlink()
    expect_step_2(folder)


@pytest.mark.parametrize("source", ["1", "3"])
@pytest.mark.parametrize("change", [shutil.copytree, shutil.move])
def test_a_checkpoint_under_another_step_is_not_used(
    change: Callable[..., object], source: str, three: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(three, tmp_path / "checkpoints"))
    change(folder / source, folder / "4")
    good = stored_steps(folder)[-2]
    with (
        Checkpoints(folder) as checkpoints,
        pytest.warns(UserWarning, match=rf"at step 4\); .* from step {good}\."),
    ):
        stored = checkpoints.restore(STATE, experiment="a" * 64)
    assert stored is not None
    assert stored.step == float(stored.state["nested"][0]) == good


def test_a_checkpoint_that_other_files_do_not_fit_is_not_used(
    three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")

    def fault(notes: dict[str, Any]) -> str:
        return "other rows" if notes["step"] > 1 else ""

    flip_a_bit(folder / "3" / "notes" / "metadata")
    with (
        Checkpoints(folder) as checkpoints,
        pytest.warns(
            UserWarning,
            match=r"\(damaged files at step 3; other rows at step 2\); .* from step 1\.",
        ),
    ):
        stored = checkpoints.restore(STATE, experiment="a" * 64, fault=fault)
    assert stored is not None
    assert stored.step == 1


def test_names_of_another_origin_are_no_checkpoints(
    three: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(three, tmp_path / "checkpoints"))
    for name in ("²", "007", "mine"):
        (folder / name).mkdir()
    (folder / "50").write_text("x")
    with Checkpoints(folder) as checkpoints:
        stored = checkpoints.restore(STATE, experiment="a" * 64)
        assert stored is not None
        assert stored.step == 3
        checkpoints.save(4, STATE, NOTES)
    assert stored_steps(folder) == [1, 2, 3, 4]


@pytest.mark.parametrize(("bytes_left", "step"), [(4000, 2), (100, 3)])
def test_a_limit_on_files_is_one_sentence_and_costs_no_checkpoint(
    bytes_left: int, step: int, tmp_path: Path
) -> None:
    import resource

    # Several: the threads that write the others learn of the first failure too late.
    numbers = np.random.default_rng(0).normal(size=(40, 30, 100))
    large = {str(index): jnp.asarray(part) for index, part in enumerate(numbers)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, large, NOTES)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
        try:
            with pytest.raises(OSError, match=r"^\[Errno 27\] File too large$"):
                checkpoints.save(step, large, NOTES)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["1"]
    with Checkpoints(tmp_path / "c") as checkpoints:
        stored = checkpoints.restore(large, experiment="a" * 64)
    assert stored is not None
    assert_same_bytes(stored.state, large)


def test_nothing_but_damage_is_one_sentence_and_stays(
    three: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(three, tmp_path / "checkpoints")
    for step in (1, 2, 3):
        cut_off(folder / str(step) / "notes" / "metadata")
    with (
        Checkpoints(folder) as checkpoints,
        pytest.raises(
            ValueError,
            match=r"^The checkpoints in .* must be undamaged, got damaged files at steps "
            r"1, 2, 3\. Move the folder away to start the run again\.$",
        ),
    ):
        checkpoints.restore(STATE, experiment="a" * 64)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3"]


def test_the_sums_are_those_of_the_files(three: Path) -> None:
    import hashlib

    sums = json.loads((three / "3" / "sums.json").read_text())
    files = {path for path in (three / "3").rglob("*") if path.is_file()}
    assert {three / "3" / name for name in sums} == files - {three / "3" / "sums.json"}
    name = "notes/metadata"
    content = (three / "3" / name).read_bytes()
    assert sums[name] == hashlib.sha256(content).hexdigest()
