"""Eight devices give what one gives: the same choices, numbers within rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_run import tiny

from isa_toolkit.distillation import distill, distill_grid
from isa_toolkit.distillation.sharding import (
    DATA,
    RUNS,
    DeviceMesh,
    check_devices,
    make_mesh,
)

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"
# Of the largest number of each array, pool and moments included. Measured after 1, 2 and
# 20 steps: 3e-5 for a whole state, 7e-6 for distilled images and labels.
STATE, RESULT = 1e-4, 5e-5


class Reported:
    """What a process reported of its parts, each of which may have failed."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Any:
        part = self._parts[name]
        assert "error" not in part, part["error"]
        return part["found"]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """Return what a process with eight simulated devices found."""
    out = tmp_path_factory.mktemp("eight")
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": f"{SUPPORT}{os.pathsep}{SUPPORT.parents[1]}",
    }
    child = subprocess.run(
        [sys.executable, "-W", "error", str(SUPPORT / "eight_devices.py"), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert child.returncode == 0, child.stderr
    return Reported(json.loads((out / "reported.json").read_text()))


def test_a_run_takes_the_steps_of_one_device(reported: Reported) -> None:
    steps = reported["steps"]
    assert max(steps["apart"]) < STATE
    # Not the same program: it would be a poor test.
    assert min(steps["apart"]) > 0
    for one, eight in steps["kept"]:
        assert one == eight


def test_ranks_kept_samples_and_partners_are_of_the_whole_batch(
    reported: Reported,
) -> None:
    one, eight = reported["chosen"]
    assert one == eight
    assert sorted(one["ranks"]) == list(range(32))
    assert 0 < sum(one["kept"]) < 32
    # Partners cross the borders between devices, of four rows each.
    crossing = [j // 4 != i // 4 for i, j in enumerate(one["partners"])]
    assert sum(crossing) > 16


def test_each_device_convolves_its_own_rows_alone(reported: Reported) -> None:
    # Maps of the first layer are 12 x 12 x 4; four rows of the batch of 32 are a device's.
    one, eight = map(set, reported["sizes"])
    whole, part = {"32,12,12,4"}, {"4,12,12,4"}
    assert whole <= one
    assert not part & one
    assert part <= eight
    assert not whole & eight


@pytest.mark.parametrize("vmapped", ["False", "True"])
def test_runs_on_rows_of_devices_are_single_runs(
    vmapped: str, reported: Reported
) -> None:
    for run in reported["grids"][vmapped]["runs"]:
        assert run["names"][0] == run["names"][1]
        assert run["steps"][0] == run["steps"][1]
        assert run["kept"][0] == run["kept"][1]
        assert run["apart"] < RESULT


def test_hyperparameters_compile_nothing_on_devices(reported: Reported) -> None:
    assert reported["hyperparameters"] == [1, 1]
    for grid in reported["grids"].values():
        assert grid["programs"] == [1, 1]
        assert grid["more"] == ["done"] * 4


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_run_goes_on_with_other_devices(way: str, reported: Reported) -> None:
    run = reported["resumed"][way]
    assert run["stopped"] == 7
    assert run["steps"] == [12, 12]
    assert run["kept"][0] == run["kept"][1]
    assert run["apart"] < RESULT


def test_streamed_images_reach_all_devices(reported: Reported) -> None:
    run = reported["streamed"]
    assert run["steps"] == [12, 12]
    assert run["kept"][0] == run["kept"][1]
    assert run["apart"] < RESULT


def test_chunks_move_nothing_by_the_way(reported: Reported) -> None:
    assert reported["guarded"] == [3, 3]


def test_what_devices_cannot_divide_gets_one_sentence(reported: Reported) -> None:
    assert reported["refused"] == [
        "devices must be at most 8 in total, the number that JAX finds, got 9. "
        "isa-toolkit doctor lists them.",
        "devices must be a whole number, got (2, 4).",
        "batch_size must be a multiple of 8 for 8 devices, got 30. Use 24 or 32.",
        "batch_size per class must be a multiple of 4 for 8 devices, got 10. "
        "Use 8 or 12.",
        "devices over data must be 1 for method 'mtt', got 8. This method uses no real "
        "images to divide; distill_grid divides runs with devices=(r, 1).",
        "devices over runs must be at least 1, got 0.",
        "batch_size must be a multiple of 4 for 4 devices, got 2. Use 4.",
    ]


# --- here, with one device --------------------------------------------------------------


def test_one_device_needs_no_mesh() -> None:
    for devices in (None, 1, (1, 1)):
        assert make_mesh(devices) is None
    check_devices(None, tiny().resolve())


def test_more_devices_than_there_are_get_one_sentence(tmp_path: Path) -> None:
    for make in (distill, distill_grid):
        with pytest.raises(
            ValueError, match=r"^devices must be at most \d+ in total, .*99"
        ):
            make(tiny(), out=tmp_path, devices=99)
    with pytest.raises(TypeError, match=r"^devices must be a whole number, got 1\.5"):
        distill(tiny(), out=tmp_path, devices=1.5)  # pyright: ignore
    with pytest.raises(TypeError, match=r"^devices must be a whole number or a list"):
        distill_grid(tiny(), out=tmp_path, devices=(1, "2"))  # pyright: ignore
    assert not list(tmp_path.iterdir())


def stand_in(rows: int, columns: int) -> DeviceMesh:
    """Return a mesh of devices that do not exist."""
    devices = np.array([jax.devices()[0]] * (rows * columns)).reshape(rows, columns)
    return DeviceMesh(jax.sharding.Mesh(devices, (RUNS, DATA)))


@pytest.mark.parametrize(
    ("columns", "batch_size", "sentence"),
    [
        (64, 96, r"a multiple of 64 for 64 devices, got 96\. Use 64 or 128\.$"),
        (64, 10, r"a multiple of 64 for 64 devices, got 10\. Use 64\.$"),
        # 1,294 images are what is not held out.
        (5, 9999, r"a multiple of 5 for 5 devices, got 1294\. Use 1290\.$"),
        (1300, 9999, r"a multiple of 1300 .* got 1294\. Use fewer devices\.$"),
    ],
)
def test_a_batch_that_is_no_multiple_is_told_the_nearest(
    columns: int, batch_size: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^batch_size must be {sentence}"):
        check_devices(stand_in(1, columns), tiny(batch_size=batch_size).resolve())


def test_rows_divide_runs_and_leave_the_batch_alone() -> None:
    check_devices(stand_in(64, 1), tiny(batch_size=7).resolve())


def test_equal_meshes_are_one_key() -> None:
    assert stand_in(2, 4) == stand_in(2, 4)
    assert hash(stand_in(2, 4)) == hash(stand_in(2, 4))
    assert stand_in(2, 4) != stand_in(4, 2)
