"""Flags are the fields of the dataclasses, with their types, defaults and descriptions."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tyro

from isa_toolkit import presets
from isa_toolkit.cli.parsing import ExperimentFlags, GridFlags, run_command
from isa_toolkit.distillation import Experiment
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.methods import DM, METHODS, FRePo
from isa_toolkit.networks import NetworkSettings

PROG = "isa-toolkit test"


def read(line: str, kind: type = ExperimentFlags):
    """Return what a command is called with."""
    called = []

    def command(experiment, out: str = "runs", json: bool = False) -> int:
        """Do nothing."""
        called.append((experiment, out, json))
        return 7

    command.__annotations__["experiment"] = tyro.conf.OmitArgPrefixes[kind]
    assert run_command(command, PROG, line.split()) == 7
    return called[0]


def read_help(capsys, line: str = "") -> str:
    with pytest.raises(SystemExit) as end:
        read(f"{line} --help")
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_without_flags_it_is_the_quick_scale_of_frepo():
    flags, out, json = read("")
    assert (out, json) == ("runs", False)
    experiment = flags.build()
    quick = presets.scale("quick")
    assert experiment.method == FRePo(learning_rate=quick.learning_rate)
    assert (experiment.dataset, experiment.steps) == ("digits", quick.steps)
    assert experiment.network == NetworkSettings(width=quick.width)


def test_flags_reach_the_experiment_its_method_and_its_network():
    flags, out, json = read(
        "--dataset own --root x.npz --method frepo --images-per-class 3 --steps 40 "
        "--batch-size 32 --width 16 --depth 2 --seed 5 --drop-easy 0.1 --drop-hard 0.3 "
        "--segment -1 0 --out there --json"
    )
    assert (out, json) == ("there", True)
    built = flags.build()
    assert (built.dataset, str(built.root)) == ("own", "x.npz")
    assert (built.images_per_class, built.steps, built.batch_size) == (3, 40, 32)
    assert built.seed == 5
    assert (built.method.drop_easy, built.method.drop_hard) == (0.1, 0.3)
    assert built.method.segment == (-1, 0)
    assert built.network == NetworkSettings(width=16, depth=2)


def test_published_steps_are_those_of_the_row():
    line = "--method rcig --scale paper --dataset CIFAR-10 --ipc"
    steps = {count: read(f"{line} {count}")[0].build().steps for count in (1, 50)}
    assert steps == {1: 15_000, 50: 10_000}
    given = read(f"{line} 1 --steps 7")[0].build()
    assert given.steps == 7
    assert read(f"{line}=1 --scale small")[0].build().steps == 60


@pytest.mark.parametrize("name", ["DM", "dm", "Dm"])
def test_the_method_decides_which_flags_there_are_whatever_its_case(name):
    built = read(f"--method={name}")[0].build()
    assert isinstance(built.method, DM)


def test_short_forms():
    built = read("--ipc 4 --lr 0.5")[0].build()
    assert built.images_per_class == 4
    assert built.method.learning_rate == 0.5


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_a_flag_with_a_description(capsys, method):
    text = read_help(capsys, f"--method {method}")
    kinds: Any = (Experiment, NetworkSettings, METHODS[method].settings)
    for field in (field for kind in kinds for field in dataclasses.fields(kind)):
        assert f"--{field.name.replace('_', '-')}" in text or field.name == "name"
    assert "{dm,frepo,mtt,rcig,rfad}" in text
    assert "{quick,small,paper}" in text
    assert "``" not in text


def test_a_grid_flag_takes_several_values():
    grid = read("--drop-easy 0 0.2 --segment 0 0 0 0.5 --seed 1 2 --lr 0.1", GridFlags)[
        0
    ]
    base, values = grid.split()
    assert base.method.drop_easy == 0
    assert base.method.learning_rate == 0.1
    assert base.seed == 1
    assert values == {
        "drop_easy": [0, 0.2],
        "segment": [(0, 0), (0, 0.5)],
        "seed": [1, 2],
    }


def test_a_branch_is_named_by_path_and_step_or_by_several():
    experiment = read("--start-from runs/a --start-step 3")[0].build()
    assert (experiment.start_from, experiment.start_step) == ("runs/a", 3)
    assert read("")[0].build().start_from is None
    line = "--start-from runs/a runs/b --start-step 3 4 --seed 1"
    base, values = read(line, GridFlags)[0].split()
    assert (base.start_from, base.start_step, base.seed) == ("runs/a", 3, 1)
    assert values == {"start_from": ["runs/a", "runs/b"], "start_step": [3, 4]}
    assert read("", GridFlags)[0].split()[0].start_step is None


def test_a_grid_flag_without_a_value_is_refused():
    grid = read("--drop-easy", GridFlags)[0]
    with pytest.raises(InvalidValueError, match="drop_easy must"):
        grid.split()


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--method dm --ridge 1", ("dm has no --ridge", "frepo")),
        ("--image-per-class 1", ("--image-per-class", "--images-per-class")),
        ("--nonsense", ("--nonsense",)),
        ("--method magic", ("--method must", "'frepo'", "'magic'")),
        ("--scale huge", ("--scale must", "'quick'", "'huge'")),
    ],
)
def test_unknown_flags_and_names_are_explained_before_the_command_is_called(
    line, parts
):
    with pytest.raises(InvalidValueError) as error:
        read(line)
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--steps many", "--steps must be a whole number, got 'many'."),
        ("--steps=many", "--steps must be a whole number, got 'many'."),
        ("--steps 1.5", "--steps must be a whole number, got '1.5'."),
        ("--steps", "--steps must have 1 value, got none."),
        ("--ipc z", "--ipc must be a whole number, got 'z'."),
        ("--drop-easy x --lr 1", "--drop-easy must be a number, got 'x'."),
        ("--segment 0", "--segment must have 2 values, got 0."),
        ("--segment a b", "--segment must be two numbers, got 'a b'."),
        ("--selection luck", "--selection must be one of 'last', "),
    ],
)
def test_a_value_that_cannot_be_read_is_one_sentence_with_the_flag(
    capsys, line, sentence
):
    with pytest.raises(InvalidValueError) as error:
        read(line)
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(f" See {PROG} --help.")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--seed x", "--seed must be whole numbers, got 'x'."),
        ("--drop-easy 0 x", "--drop-easy must be numbers, got '0 x'."),
        ("--segment 0 1 2", "--segment must be pairs of numbers, got '0 1 2'."),
    ],
)
def test_so_is_one_of_several_values(line, sentence):
    with pytest.raises(InvalidValueError) as error:
        read(line, GridFlags)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("--drop-easy 1.5", "--drop-easy"),
        ("--drop-easy 0.6 --drop-hard 0.4", "--drop-easy + --drop-hard"),
        ("--images-per-class 0", "--images-per-class"),
        ("--width 0", "--width"),
    ],
)
def test_a_sentence_on_an_argument_names_the_flag(line, name):
    def command(experiment: tyro.conf.OmitArgPrefixes[ExperimentFlags]) -> int:
        """Build."""
        experiment.build()
        return 0

    with pytest.raises(InvalidValueError) as error:
        run_command(command, PROG, line.split())
    assert str(error.value).startswith(f"{name} must ")
