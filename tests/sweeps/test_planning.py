"""A plan has each run once, in groups that one process can run, and writes nothing."""

from __future__ import annotations

import json

import pytest
from tiny_run import tiny

from isa_toolkit.datasets import load_dataset
from isa_toolkit.methods import DM, MTT
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.sweeps import plan

COLUMNS = [
    "run", "group", "state", "dataset", "ipc", "method", "differs", "seed", "steps",
    "steps_left", "seconds_low", "seconds_high", "basis", "memory_mib",
]  # fmt: skip


def test_all_combinations_are_there_once_in_order_and_nothing_is_written(tmp_path):
    made = plan(
        [tiny(), tiny()], drop_easy=[0.0, 0.4], seeds=range(2), out=tmp_path / "runs"
    )
    table = made.table()
    assert list(table) == COLUMNS
    assert list(table.differs) == ["drop_easy=0"] * 2 + ["drop_easy=0.4"] * 2
    assert list(table.seed) == [0, 1, 0, 1]
    assert list(table.run) == [
        tiny(drop_easy=share, seed=seed).resolve().name
        for share in (0.0, 0.4)
        for seed in (0, 1)
    ]
    assert (table.state == "new").all()
    assert (table.steps_left == 24).all()
    assert (table.seconds_low > 0).all()
    assert (table.seconds_low < table.seconds_high).all()
    assert not list(tmp_path.iterdir())


def test_what_can_share_a_program_is_packed_as_asked(tmp_path):
    experiments = [tiny(seed=seed) for seed in range(3)]
    experiments += [tiny(network=NetworkSettings(width=5, depth=2), seed=9)]

    def sizes(**settings):
        made = plan(experiments, out=tmp_path, **settings)
        return [len(runs) for runs in made.groups.values()]

    assert sizes() == [1, 1, 1, 1]  # on a CPU
    assert sizes(pack=True) == [3, 1]
    assert sizes(pack=2) == [2, 1, 1]
    assert sizes(pack=False) == [1, 1, 1, 1]
    packed = plan(experiments, out=tmp_path, pack=True)
    alone = plan(experiments, out=tmp_path)
    assert [run.name for run in packed.runs] == [run.name for run in alone.runs]
    first = packed.runs[0].group
    assert first.startswith("digits-ipc1-frepo-x3-")
    assert packed.memory_bytes[first] > alone.memory_bytes[alone.runs[0].group]
    with pytest.raises(ValueError, match="pack must be at least 1, got 0"):
        plan(experiments, out=tmp_path, pack=0)


def test_methods_are_told_apart_by_their_column_and_not_by_their_settings(tmp_path):
    dm = tiny(network=None, batch_size=8)
    dm = dm.__class__(
        **{**vars(dm), "method": DM(), "network": NetworkSettings(width=4)}
    )
    made = plan([tiny(), dm], out=tmp_path)
    assert list(made.table().method) == ["frepo", "dm"]
    assert list(made.table().differs) == ["", ""]


def test_what_a_method_makes_first_cannot_be_told_beforehand(tmp_path):
    mtt = tiny().__class__(
        method=MTT(), network=NetworkSettings(width=4), steps=3, validation_steps=1
    )
    made = plan([tiny(), mtt], out=tmp_path)
    assert made.runs[1].seconds is None
    assert made.table().memory_mib.isna().tolist() == [False, True]
    assert made.seconds is None
    assert "cannot be told" in made.summary
    assert "?" in made.text()


def test_the_name_is_that_of_the_runs_or_ones_own(tmp_path):
    name = plan(tiny(), seeds=[0, 1], out=tmp_path).name
    assert name == plan(tiny(), seeds=[1, 0], out=tmp_path).name
    assert name != plan(tiny(), seeds=[1, 2], out=tmp_path).name
    made = plan(tiny(), out=tmp_path, name="mine")
    assert made.path == tmp_path / "sweeps/mine"
    for bad in ("", "a/b", ".."):
        with pytest.raises(ValueError, match="name must be the name of a folder"):
            plan(tiny(), out=tmp_path, name=bad)


def test_it_is_shown_with_what_it_costs(tmp_path):
    made = plan(tiny(), seeds=[0, 1], out=tmp_path)
    text = made.text()
    assert all(run.name in text for run in made.runs)
    assert "2 runs in 2 groups: 0 done, 2 to run. An estimate" in text
    assert "(estimated)" in text
    assert "group " not in text
    assert made.summary.split(":")[0] in made._repr_html_()
    assert json.dumps([run.description for run in made.runs])


def test_settings_that_cannot_be_run_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"dataset must be a name .*\.npz file"):
        plan(tiny(dataset=load_dataset("digits")), out=tmp_path)
    with pytest.raises(ValueError, match="drop_easy"):
        plan(tiny(), drop_easy=[0.2, 1.5], out=tmp_path)
    with pytest.raises(ValueError, match="seeds must be a list of numbers, at least"):
        plan(tiny(), seeds=[], out=tmp_path)
    assert not list(tmp_path.iterdir())
