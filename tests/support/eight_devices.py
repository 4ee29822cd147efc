"""What eight simulated devices give; run as a program it writes JSON.

How many devices a CPU has is settled when JAX starts, so this needs a process of its own.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tiny_run import stop_at, tiny

from isa_toolkit.distillation import (
    Experiment,
    Run,
    distill,
    distill_grid,
    loop,
    trainer,
)
from isa_toolkit.distillation.run_state import RunState
from isa_toolkit.distillation.sampling import train_data
from isa_toolkit.distillation.sharding import DeviceMesh, make_mesh
from isa_toolkit.distillation.signals import StopRequest
from isa_toolkit.distillation.store import RunStore
from isa_toolkit.losses import crucial, isa
from isa_toolkit.losses import ridge as ridge_readout
from isa_toolkit.methods import DM, MTT

DEVICES = 8
BATCH = 32
STOPPED_AT = 7
# Long enough for a step to be worth comparing, short enough to stay with one device.
STEPS = 12


def experiment(**changes: Any) -> Experiment:
    """Return the tiny experiment with crucial samples and ISA, without validation."""
    plain = {"selection": "last", "validation_every": 0, "steps": STEPS}
    return tiny(**{"drop_easy": 0.2, "segment": (0.0, 0.5), **plain, **changes})


THREE = (
    experiment(),
    experiment(drop_easy=0.0, drop_hard=0.3, segment=(-1.0, 0.5), learning_rate=1e-3),
    experiment(seed=1, steps=8),
)


def started(experiment: Experiment) -> RunState:
    """Return a run with its first state, in no folder."""
    run = RunState(experiment.resolve(), RunStore("nowhere"), (), StopRequest())
    state = run.first_state()
    run.state = lambda: state
    return run


class Pace:
    """One run on a mesh, step by step."""

    def __init__(self, experiment: Experiment, mesh: DeviceMesh | None) -> None:
        self.run = started(experiment)
        self.run.is_active = True
        put = jnp.asarray if mesh is None else mesh.replicate
        data = train_data(self.run.resolved, put=put)
        states = [self.run.state()]
        self.program = trainer._Program([self.run], states, 1, data, False, mesh)

    def take(self, count: int) -> Any:
        [part] = self.program.take(count)
        self.run.step += part.done
        return part

    def leaves(self) -> list[np.ndarray]:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(self.run.state())]


def apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Return the largest difference, as a fraction of the largest number of its leaf."""
    worst = 0.0
    for mine, its in zip(one, other, strict=True):
        if np.issubdtype(mine.dtype, np.floating):
            scale = max(float(np.abs(mine).max()), 1e-30)
            worst = max(worst, float(np.abs(mine - its).max()) / scale)
        else:
            np.testing.assert_array_equal(mine, its)
    return worst


def steps_alike(asked: Any, mesh: DeviceMesh, marks: tuple[int, ...]) -> dict[str, Any]:
    """Return how far one device and many are apart after so many steps."""
    one, many = Pace(asked, None), Pace(asked, mesh)
    reported: dict[str, Any] = {"apart": [], "kept": []}
    for mark in marks:
        parts = [pace.take(mark - pace.run.step) for pace in (one, many)]
        reported["apart"].append(apart(one.leaves(), many.leaves()))
        reported["kept"].append([part.infos.kept.tolist() for part in parts])
    return reported


def guarded() -> list[int]:
    """Return the steps taken where nothing may go to or from a device by the way."""
    done = []
    for mesh in (None, make_mesh(DEVICES)):
        pace = Pace(experiment(), mesh)
        pace.take(1)
        with jax.transfer_guard("disallow"):
            done.append(pace.take(3).done)
    return done


def sizes_of(mesh: DeviceMesh | None) -> list[str]:
    """Return the shapes of all arrays in the compiled program of a run."""
    program = Pace(experiment(), mesh).program
    number = program._put(np.ones(1, np.int32))
    lowered = program._chunk.lower(  # pyright: ignore[reportFunctionMemberAccess]
        program._settings,
        program._keys,
        program._state,
        program._data,
        number,
        number,
        number,
    )
    return sorted(set(re.findall(r"f32\[([\d,]+)\]", lowered.compile().as_text())))


def chosen(mesh: DeviceMesh | None) -> dict[str, Any]:
    """Return ranks, kept samples and partners of one batch, whole or divided."""
    run = started(experiment())
    state, network = run.state(), run.network
    learner = jax.tree.map(lambda leaf: leaf[0], state.pool)
    data = run.resolved.train
    images = jnp.asarray(data.inputs("train")[:BATCH])
    labels = jax.nn.one_hot(data.train.labels[:BATCH], 10) - 0.1
    put: Callable = (lambda tree: tree) if mesh is None else mesh.replicate
    split: Callable = (lambda rows: rows) if mesh is None else mesh.split_batch

    @jax.jit
    def choose(state, learner, images, labels):
        images, labels = split(images), split(labels)

        def features(images):
            return network.apply(learner.params, learner.state, images).features

        readout = ridge_readout.readout(features(state.images), state.labels, 1e-6)
        seen = features(images)
        residual = ridge_readout.predict(seen, readout.weights) - labels
        scores = crucial.scores(residual)
        kept = crucial.select(scores, drop_easy=0.2, drop_hard=0.1)
        return crucial.ranks(scores), kept, isa.nearest_partners(seen, kept)

    found = choose(*put((state, learner, images, labels)))
    return dict(
        zip(("ranks", "kept", "partners"), (x.tolist() for x in found), strict=True)
    )


def grid_size(mesh: DeviceMesh, vmapped: bool) -> int:
    """Return how often the program of a grid was compiled."""
    program = loop.chunk(
        started(experiment()).network,
        batch_size=BATCH,
        vmapped=vmapped,
        mesh=mesh,
    )
    return program._cache_size()  # pyright: ignore[reportFunctionMemberAccess]


def hyperparameters_compile(mesh: DeviceMesh) -> list[int]:
    """Return how often the program of a run was compiled, before and after hyperparameters."""
    sizes = []
    for asked in (experiment(), experiment(drop_easy=0.4, segment=(-1.0, 0.2), seed=3)):
        pace = Pace(asked, mesh)
        pace.take(2)
        sizes.append(pace.program._chunk._cache_size())  # pyright: ignore
    return sizes


def grids(out: Path) -> dict[str, Any]:
    """Return how far grids on 2 x 4 devices are from single runs on one."""
    mesh = make_mesh((2, 4))
    assert mesh is not None
    singles = [distill(asked, out=out / "singles") for asked in THREE]
    reported: dict[str, Any] = {}
    for vmapped in (False, True):
        runs = distill_grid(
            THREE, out=out / f"grid-{vmapped}", devices=(2, 4), vmap=vmapped
        )
        before = grid_size(mesh, vmapped)
        more = distill_grid(
            experiment(steps=2, learning_rate=2e-3),
            {"drop_easy": [0.1, 0.3], "seed": [3, 4]},
            out=out / f"grid-{vmapped}",
            devices=(2, 4),
            vmap=vmapped,
        )
        reported[str(vmapped)] = {
            "runs": [compared(*pair) for pair in zip(singles, runs, strict=True)],
            "programs": [before, grid_size(mesh, vmapped)],
            "more": [run.status["status"] for run in more],
        }
    return reported


def compared(one: Run, other: Run) -> dict[str, Any]:
    """Return how far the results of two runs are apart."""
    mine, its = one.distilled, other.distilled
    return {
        "steps": [one.step, other.step],
        "names": [one.path.name, other.path.name],
        "kept": [run.metrics.kept.tolist() for run in (one, other)],
        "apart": apart([mine.images, mine.labels], [its.images, its.labels]),
    }


def resumed(out: Path) -> dict[str, Any]:
    """Return how far runs that changed their devices half way are from one that stayed."""
    whole = distill(experiment(), out=out / "singles")
    reported = {}
    for name, first, second in (("up", None, DEVICES), ("down", DEVICES, None)):
        chunk_s, trainer._CHUNK_S = trainer._CHUNK_S, 1e-9
        halted = distill(
            experiment(),
            out=out / name,
            devices=first,
            callbacks=[stop_at(STOPPED_AT)],
        )
        trainer._CHUNK_S = chunk_s
        step = halted.step
        again = distill(experiment(), out=out / name, devices=second)
        reported[name] = {"stopped": step, **compared(whole, again)}
    return reported


def streamed(out: Path) -> dict[str, Any]:
    """Return how far a run with streamed images on all devices is from one on one."""
    whole = distill(experiment(), out=out / "singles")
    there = distill(
        experiment(), out=out / "streamed", devices=DEVICES, placement="host"
    )
    return compared(whole, there)


def refused(out: Path) -> list[str]:
    """Return the sentences that refuse what does not fit; nothing is made for them."""
    asked: list[tuple[Callable, Any, Any]] = [
        (distill, experiment(), DEVICES + 1),
        (distill, experiment(), (2, 4)),
        (distill, experiment(batch_size=30), DEVICES),
        (distill, Experiment(method=DM(), batch_size=10, steps=2), DEVICES),
        (distill, Experiment(method=MTT(expert_count=2), steps=2), DEVICES),
        (distill_grid, experiment(), (0, 4)),
        (distill_grid, experiment(batch_size=2), (2, 4)),
    ]
    sentences = []
    for make, one, devices in asked:
        try:
            make(one, out=out, devices=devices)
        except (TypeError, ValueError) as error:
            sentences.append(str(error))
    assert not out.exists()
    return sentences


def main(out: Path) -> None:
    """Write what they give to ``reported.json``."""
    mesh = make_mesh(DEVICES)
    assert mesh is not None
    parts: dict[str, Callable[[], Any]] = {
        "steps": lambda: steps_alike(experiment(), mesh, (1, 2, STEPS)),
        "guarded": guarded,
        "hyperparameters": lambda: hyperparameters_compile(mesh),
        "chosen": lambda: [chosen(None), chosen(mesh)],
        "sizes": lambda: [sizes_of(None), sizes_of(mesh)],
        "grids": lambda: grids(out),
        "resumed": lambda: resumed(out),
        "streamed": lambda: streamed(out),
        "refused": lambda: refused(out / "refused"),
    }
    reported: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            reported[name] = {"found": part()}
        except Exception:  # noqa: BLE001 - the test of this part shows it
            reported[name] = {"error": traceback.format_exc()}
    (out / "reported.json").write_text(json.dumps(reported))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
