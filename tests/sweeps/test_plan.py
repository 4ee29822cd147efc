"""A plan has each run once, in groups that one process can run, and writes nothing."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tiny_run import tiny

from isa_toolkit import presets
from isa_toolkit.datasets import load_dataset
from isa_toolkit.distillation import distill
from isa_toolkit.methods import DM
from isa_toolkit.networks import NetworkSettings
from isa_toolkit.sweeps import plan

COLUMNS = [
    "run", "group", "state", "dataset", "ipc", "method", "differs", "seed", "step",
    "steps", "steps_per_s", "seconds", "reason",
]  # fmt: skip


def test_all_combinations_are_there_once_in_order_and_nothing_is_written(tmp_path):
    made = plan(
        [tiny(), tiny()], {"drop_easy": [0.0, 0.4], "seed": range(2)},
        out=tmp_path / "runs",
    )  # fmt: skip
    table = made.table()
    assert list(table) == COLUMNS
    assert list(table.differs) == ["drop_easy=0"] * 2 + ["drop_easy=0.4"] * 2
    assert list(table.seed) == [0, 1, 0, 1]
    assert list(table.run) == [
        tiny(drop_easy=fraction, seed=seed).resolve().name
        for fraction in (0.0, 0.4)
        for seed in (0, 1)
    ]
    assert (table.state == "new").all()
    assert (table.steps == 24).all()
    assert table.seconds.isna().all()
    assert not list(tmp_path.iterdir())


def test_runs_that_share_a_program_are_packed_on_request(tmp_path):
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
    assert packed.runs[0].group.startswith("digits-ipc1-frepo-x3-")
    with pytest.raises(ValueError, match="pack must be at least 1, got 0"):
        plan(experiments, out=tmp_path, pack=0)


def test_the_data_are_prepared_as_the_method_is_published(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "published_whitening", lambda *_: {"whitening": "zca"})
    assert plan(tiny(), out=tmp_path).name == tiny().resolve().name


def test_methods_differ_by_their_column_and_not_by_their_settings(tmp_path):
    dm = dataclasses.replace(
        tiny(), method=DM(), network=NetworkSettings(width=4), batch_size=8
    )
    made = plan([tiny(), dm], out=tmp_path)
    assert list(made.table().method) == ["frepo", "dm"]
    assert list(made.table().differs) == ["", ""]


@pytest.mark.slow
def test_the_time_is_measured_in_runs_of_the_same_program(tmp_path):
    run = distill(tiny(), out=tmp_path)
    status = run.status
    made = plan(tiny(), {"seed": [0, 1], "drop_easy": [0.3]}, out=tmp_path)
    each = min(1 / status["steps_per_s"], status["elapsed_s"] / 24)
    assert made.table().seconds[1] == pytest.approx(status["elapsed_s"])
    [seconds] = plan(tiny(seed=1, steps=124), out=tmp_path).table().seconds
    assert seconds == pytest.approx(status["elapsed_s"] + 100 * each)
    other = tiny(network=NetworkSettings(width=5, depth=2))
    assert plan(other, out=tmp_path).table().seconds.isna().all()
    assert "Time: about 00:00 in sequence" in plan(tiny(), out=tmp_path).summary


def test_the_name_is_made_from_the_runs_or_given(tmp_path):
    def name(seeds):
        return plan(tiny(), {"seed": seeds}, out=tmp_path).name

    assert name([0, 1]) == name([1, 0]) != name([1, 2])
    assert name([0]) == tiny().resolve().name
    assert plan(tiny(), out=tmp_path, name="a").path == tmp_path / "sweeps/a"
    for bad in ("", "a/b", ".."):
        with pytest.raises(ValueError, match="name must be"):
            plan(tiny(), out=tmp_path, name=bad)


def test_it_shows_itself(tmp_path):
    made = plan(tiny(), {"seed": [0, 1]}, out=tmp_path)
    assert all(run.name in str(made) for run in made.runs)
    assert "2 runs in 2 groups: 0 done, 2 to run. Time: unknown" in str(made)
    assert "group " not in str(made)
    assert made.summary in made._repr_html_()
    assert len(repr(made)) < 100
    assert json.dumps([run.description for run in made.runs])


def test_settings_that_cannot_be_run_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"dataset must be a name .*\.npz file"):
        plan(tiny(dataset=load_dataset("digits")), out=tmp_path)
    with pytest.raises(ValueError, match="drop_easy"):
        plan(tiny(), {"drop_easy": [0.2, 1.5]}, out=tmp_path)
    with pytest.raises(TypeError, match="grid must be"):
        plan(tiny(), {"seed": []}, out=tmp_path)
    assert not list(tmp_path.iterdir())
