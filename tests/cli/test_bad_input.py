"""Bad input, end to end: an exit code, one sentence on standard error, nothing written."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tiny_run import files_of

from isa_toolkit.cli import FAILED, USAGE, main

RANDOM = np.random.default_rng(0)


def images(count: int = 24, side: int = 6) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, side, side), np.uint8)


def npz(**changes: np.ndarray) -> Callable[[Path], None]:
    arrays = {"train_images": images(), "train_labels": np.arange(24) % 3, **changes}
    return lambda folder: np.savez(folder / "mine.npz", **arrays)


def class_folders(folder: Path) -> None:
    for name, sides in (("cat", (6, 6)), ("dog", (6, 7))):
        (folder / name).mkdir()
        for place, side in enumerate(sides):
            picture = Image.fromarray(images(1, side)[0])
            picture.save(folder / name / f"{place}.png")


def damaged_class_folders(folder: Path) -> None:
    class_folders(folder)
    whole = (folder / "dog" / "0.png").read_bytes()
    (folder / "dog" / "1.png").write_bytes(whole[:40])


def parquet(damage: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        contents = []
        for image in images():
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            contents.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"image": contents, "label": np.arange(24) % 3})
        file = folder / "train-00000-of-00001.parquet"
        pq.write_table(table, file)
        file.write_bytes(damage(file.read_bytes()))

    return write


def idx(cut: int, pack: Callable[[bytes], bytes] = bytes) -> Callable[[Path], None]:
    suffix = "" if pack is bytes else ".gz"

    def write(folder: Path) -> None:
        pixels = struct.pack(">4B3I", 0, 0, 8, 3, 24, 6, 6) + images().tobytes()
        labels = struct.pack(">4BI", 0, 0, 8, 1, 24) + bytes(np.arange(24) % 3)
        packed = pack(pixels)
        name = f"train-images-idx3-ubyte{suffix}"
        (folder / name).write_bytes(packed[: len(packed) - cut])
        (folder / "train-labels-idx1-ubyte").write_bytes(labels)

    return write


class Case(NamedTuple):
    """One wrong command.

    words: of the command line.
    says: what the sentence must hold.
    code: exit code.
    files: writes ``data/`` before.
    """

    words: str
    says: tuple[str, ...]
    code: int = USAGE
    files: Callable[[Path], object] | None = None


LOCAL = "data --dataset mine --root data"
CASES = {
    # Unknown names list the known ones.
    "dataset": Case("data --dataset nothing", ("'nothing'", "'digits'", "'cifar10'")),
    "dataset to distil": Case("distill --dataset nothing", ("'nothing'", "'digits'")),
    "method": Case("distill --method magic", ("--method", "'frepo'", "'magic'")),
    "scale": Case("distill --scale huge", ("'quick'", "'paper'", "'huge'")),
    "command": Case("fly", ("Unknown command 'fly'", "distill")),
    # Numbers out of range.
    "everything dropped": Case(
        "distill --drop-easy 0.6 --drop-hard 0.4", ("--drop-easy + --drop-hard", "below 1")
    ),
    "too many dropped": Case("distill --drop-easy 1.5", ("--drop-easy", "1.5")),
    "steps": Case("distill --steps -5", ("steps must be at least 1", "-5")),
    "no steps": Case("distill --steps 0", ("steps must be at least 1", "0")),
    "width": Case("distill --width -3", ("width must be at least 1", "-3")),
    "depth": Case("distill --depth 9", ("depth must be at most", "9")),
    "batch": Case("distill --batch-size -1", ("--batch-size must be at least", "-1")),
    "images": Case("distill --images-per-class -2", ("--images-per-class", "-2")),
    "seed": Case("distill --seed -1", ("seed must be at least 0", "-1")),
    "source": Case("data --source web", ("--source", "'web'", "'hub'")),
    "no number": Case("distill --steps many", ("--steps", "'many'")),
    "limit": Case("data --limit -1", ("limit must be at least", "-1")),
    "resolution": Case(
        "data --resolution 10000000", ("--resolution must be at most 8192", "ISA_MAX_PIXELS")
    ),
    "pool": Case("distill --pool-size 0", ("--pool-size must be at least 1", "0")),
    "ridge": Case("distill --ridge -1e-6", ("ridge must be at least 0", "-1e-06")),
    "not a number": Case("distill --learning-rate nan", ("--learning-rate", "finite")),
    "checkpoints": Case("distill --checkpoint-s 0", ("--checkpoint-s must be above 0",)),
    "mixup": Case(
        "distill --augmentation mixup --segment 0 0.5", ("segment must be (0, 0)",)
    ),
    "a seed of more than 32 bits": Case(
        "distill --seed 4294967296", ("--seed must be at most 4294967295, got 4294967296",)
    ),
    "huge width": Case("distill --width 1000000000", ("width 1000000000", "fit in memory")),
    "huge pool": Case(
        "distill --width 4 --steps 2 --pool-size 1000000000",
        ("the state of a run must fit in memory", "pool_size"),
    ),
    "more than float32": Case("distill --lr 1e39", ("--learning-rate", "in float32")),
    "seeds": Case("demo --seeds 0", ("seeds must be at least 1", "0")),
    "scarce": Case("distill --images-per-class 999", ("--images-per-class", "class '")),
    # Data that are wrong.
    "no root": Case("data --dataset mine --root nowhere", ("existing", "nowhere")),
    "empty root": Case(LOCAL, ("root must hold", "empty"), files=lambda _: None),
    "mixed sizes": Case(LOCAL, ("one size", "6x6", "7x7"), files=class_folders),
    "damaged image": Case(LOCAL, ("1.png",), files=damaged_class_folders),
    "not-a-number pixels": Case(
        LOCAL,
        ("finite pixels", "image 0"),
        files=npz(train_images=np.full((24, 6, 6), np.nan)),
    ),
    "pixels above one": Case(
        LOCAL, ("floats in [0, 1]", "2.0"), files=npz(train_images=np.full((24, 6, 6), 2.0))
    ),
    "pixels from -1 to 1": Case(
        LOCAL,
        ("(images + 1) / 2",),
        files=npz(train_images=np.linspace(-1, 1, 24 * 36).reshape(24, 6, 6)),
    ),
    "files without a name": Case("data --root data", ("--dataset",), files=npz()),
    "one image per class": Case(
        "distill --dataset mine --root data --selection validation",
        ("--selection last",),
        files=npz(
            train_images=images(3),
            train_labels=np.arange(3),
            test_images=images(3),
            test_labels=np.arange(3),
        ),
    ),
    "labels too large": Case(
        LOCAL,
        ("test_labels must lie in 0..2", "5"),
        files=npz(test_images=images(6), test_labels=np.full(6, 5)),
    ),
    "labels below zero": Case(
        LOCAL, ("at least 0", "-1"), files=npz(train_labels=np.arange(24) % 3 - 1)
    ),
    "labels of a known set": Case(
        "data --dataset mnist --root data",
        ("train_labels must lie in 0..9", "got 10"),
        files=npz(train_labels=np.arange(24) % 12),
    ),
    "a class is missing": Case(
        LOCAL, ("class 1",), files=npz(train_labels=np.arange(24) % 2 * 2)
    ),
    "labels of another length": Case(
        LOCAL, ("one label per image", "23"), files=npz(train_labels=np.arange(23) % 3)
    ),
    "too few images": Case(
        "distill --dataset mine --root data --images-per-class 9",
        ("--images-per-class must be at most", "class '"),
        files=npz(),
    ),
    "pickled": Case(
        LOCAL,
        ("plain arrays", "unpickled"),
        files=npz(train_images=np.array([{"a": 1}] * 24, object)),
    ),
    "no archive": Case(
        LOCAL,
        ("complete .npz archive",),
        files=lambda folder: (folder / "mine.npz").write_bytes(b"PK\3\4 not really"),
    ),
    "a cut parquet file": Case(
        LOCAL, ("complete parquet file",), files=parquet(lambda raw: raw[:-30])
    ),
    "a parquet file with holes": Case(
        LOCAL,
        ("complete parquet file",),
        files=parquet(lambda raw: raw[:4] + bytes(len(raw) // 2) + raw[4 + len(raw) // 2 :]),
    ),
    "an empty parquet file": Case(
        LOCAL, ("complete parquet file",), files=parquet(lambda raw: raw[:0])
    ),
    "a cut IDX file": Case(LOCAL, ("bytes after its header", "859"), files=idx(5)),
    "a cut gzip file": Case(
        LOCAL, ("complete gzip file",), files=idx(5, gzip.compress)
    ),
    # What the cases below read.
    "no set": Case("evaluate nowhere", ("nowhere",)),
    "no set in a folder": Case("evaluate data", ("data",), files=lambda _: None),
    "another file": Case(
        "evaluate data/mine.npz", ("mine.npz is not a distilled set",), files=npz()
    ),
    # Folders that cannot be written.
    "a file for a folder": Case(
        "distill --steps 2 --out data/mine.npz",
        ("mine.npz", "cannot be written"),
        FAILED,
        npz(),
    ),
    "no text": Case("distill --steps 2 --out r\udcff", ("--out must be a path in UTF-8",)),
    "no place for a folder": Case(
        "distill --steps 2 --out /dev/null/runs",
        ("/dev/null/runs", "cannot be written"),
        FAILED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence(
    name: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    if case.files is not None:
        (tmp_path / "data").mkdir()
        case.files(tmp_path / "data")
    before = files_of(tmp_path)
    code = main(case.words.split())
    out, err = capfd.readouterr()
    assert (code, out) == (case.code, ""), err
    assert_one_sentence(err)
    for part in case.says:
        assert part in err
    assert files_of(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


def assert_one_sentence(err: str) -> None:
    assert err.startswith("isa-toolkit: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err


def test_a_checkpoint_of_another_experiment(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax.numpy as jnp

    from isa_toolkit.distillation.checkpoints import Checkpoints

    monkeypatch.chdir(tmp_path)
    words = [
        *("distill", "--steps", "2", "--batch-size", "8", "--pool-size", "1"),
        *("--width", "2", "--depth", "1", "--log-every", "1"),
    ]
    # Refused once for its folder, which tells the run's name.
    (tmp_path / "runs").write_text("a file")
    assert main(words) == FAILED
    named = capfd.readouterr().err.partition("The run folder ")[2].split()[0]
    (tmp_path / "runs").unlink()
    folder = Path(named) / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        notes = {"experiment": "f" * 64, "pending": [], "elapsed_s": 0.0}
        notes["metrics"] = {"bytes": 0, "sha256": ""}
        checkpoints.save(1, {"x": jnp.zeros(3)}, notes)
    kept = files_of(folder)
    assert main(words) == USAGE
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_sentence(err)
    assert "must belong to experiment" in err
    assert "got ffffffff" in err
    assert files_of(folder) == kept
    assert not (Path(named) / "metrics.jsonl").exists()
    # Damaged beyond use: as plain, and kept as well.
    shutil.rmtree(folder / "1" / "notes")
    kept = files_of(folder)
    assert main(words) == USAGE
    _, err = capfd.readouterr()
    assert_one_sentence(err)
    assert "damaged files at step 1" in err
    assert files_of(folder) == kept


def child(folder: Path, *words: str, stdout: Any = subprocess.PIPE):
    return subprocess.run(
        [sys.executable, "-m", "isa_toolkit", *words],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_child_process_says_the_same(tmp_path: Path) -> None:
    ended = child(tmp_path, "data", "--root", "nowhere")
    assert (ended.returncode, ended.stdout) == (USAGE, "")
    assert_one_sentence(ended.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_standard_output_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = child(tmp_path, "data", "--json", stdout=full)
    assert ended.returncode == FAILED
    assert_one_sentence(ended.stderr)
    assert "standard output cannot be written: No space left" in ended.stderr
