"""The words for a child make the same experiment as the one that is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tiny_run import tiny

import isa_toolkit.distillation
from isa_toolkit.datasets import load_dataset
from isa_toolkit.methods import FRePo
from isa_toolkit.sweeps import command

cli = importlib.import_module("isa_toolkit.cli.distill")


class Seen(Exception):
    """Carries what the command line would run."""


def as_the_child_reads(words, monkeypatch):
    def stop(experiment, **settings):
        raise Seen(experiment, settings)

    monkeypatch.setitem(vars(isa_toolkit.distillation), "distill", stop)
    with pytest.raises(Seen) as seen:
        cli.run(words[1:])
    return seen.value.args


@pytest.mark.parametrize(
    "method",
    [
        FRePo(),
        FRePo(segment=(-1.0, 0.0), flips=True, learn_labels=False, optimizer="adam"),
        FRePo(segment=(0, 0), partner="none", label_margin=False, stagger=False),
        FRePo(ridge=0.1 + 0.2, learning_rate=1e-7, label_scale=2.5, flips=False),
    ],
)
def test_the_child_reads_the_same_experiment(method, monkeypatch, tmp_path):
    asked = tiny(limit=300, seed=4, selection="last", validation_every=0)
    asked = asked.__class__(**{**vars(asked), "method": method})
    resolved = asked.resolve()
    words = command.words(asked, resolved, out=tmp_path, checkpoint_s=7)
    assert words[0] == "distill"
    read, settings = as_the_child_reads(words, monkeypatch)
    assert read.resolve().hash == resolved.hash
    assert Path(settings["out"]) == tmp_path
    assert settings["checkpoint_s"] == 7
    again = command.from_description(resolved.description, limit=300)
    assert again.resolve().hash == resolved.hash


def test_arrays_of_this_process_are_refused_with_the_way_out(tmp_path):
    asked = tiny(dataset=load_dataset("digits"))
    with pytest.raises(TypeError, match=r"dataset must be a name .*\.npz file"):
        command.words(asked, asked.resolve(), out=tmp_path)
