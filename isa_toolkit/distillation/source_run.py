"""The run whose state another run starts from: its branch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from isa_toolkit.checks import fail
from isa_toolkit.distillation.checkpoints import Checkpoints, stored_steps
from isa_toolkit.distillation.store import read_experiment


class SourceRun(NamedTuple):
    """A run to start from, and where.

    path: Path of the run folder.
    description: Content of its ``experiment.json``.
    step: Step of the checkpoint to start from.
    """

    path: Path
    description: dict[str, Any]
    step: int

    @property
    def hash(self) -> str:
        """Hash of the run's experiment."""
        return self.description["hash"]

    def check_fits(self, description: Mapping[str, Any]) -> None:
        """Refuse an experiment, given by its description, that the state does not fit."""
        theirs = _what_must_agree(self.description)
        for name, value in _what_must_agree(description).items():
            if value != theirs[name]:
                raise fail(
                    name,
                    f"be {theirs[name]!r} to start from {self.path.name}",
                    value,
                    "Choose the same as in that run, or start from another one.",
                )

    def read_state(self, like: PyTree) -> PyTree:
        """Return the state of the method, which has the shapes and types of ``like``."""
        with Checkpoints(self.path / "checkpoints", read_only=True) as checkpoints:
            return checkpoints.read(self.step, like, experiment=self.hash)


def open_source(path: str, step: int | None, *, steps: int) -> SourceRun:
    """Return the run in a folder at a step; None for its last checkpoint.

    ``steps`` is the number of steps of the branch.
    """
    folder = Path(path).absolute()
    description = read_experiment(folder)
    if description is None:
        raise fail(
            "start_from",
            "be a run or the path of its folder",
            path,
            "It has no experiment.json that can be read. Choose a folder such as "
            "runs/<dataset>-ipc<k>-<method>-<hash>.",
        )
    found = stored_steps(folder / "checkpoints")
    if not found:
        raise fail(
            "start_from",
            "be a run with checkpoints",
            path,
            "They are written at each validation and at the end: continue that run.",
        )
    listed = ", ".join(map(str, found))
    if step is not None and step not in found:
        raise fail(
            "start_step",
            f"be the step of a checkpoint in {folder}",
            step,
            f"There are: {listed}. A run keeps all with keep_checkpoints=None.",
        )
    step = found[-1] if step is None else step
    if step >= steps:
        raise fail(
            "start_step",
            f"be below steps = {steps}",
            step,
            f"Raise steps, or choose an earlier checkpoint of: {listed}.",
        )
    return SourceRun(folder, description, step)


def _what_must_agree(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the meaning and the shapes of a state, by name."""
    dataset, network = description["dataset"], dict(description["network"])
    return {
        "method": description["method"]["name"],
        "images_per_class": description["images_per_class"],
        "the fingerprint of the data": dataset["fingerprint"][:8],
        "the fingerprint of the preprocessing": dataset["preprocessing"]["fingerprint"][
            :8
        ],
        "network": network.pop("name"),
        **network,
    }
