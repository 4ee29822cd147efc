"""Costs: operations counted by hand, by XLA, and from runs that are there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tiny_run import tiny

from isa_toolkit.distillation.memory import traced_step
from isa_toolkit.methods import RFAD
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.sweeps import cost


def counted(function, *shapes):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return cost.step_flop(jax.make_jaxpr(function)(*given).jaxpr)


def test_products_are_two_operations_a_term():
    assert counted(jnp.matmul, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
    assert counted(jnp.matmul, (4, 3, 5), (4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    assert counted(lambda a: a * a + 1, (9,)) == 0


def test_convolutions_are_two_operations_a_term():
    def convolve(images, kernel):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    expected = 2 * (2 * 8 * 8 * 6) * (3 * 3 * 4)
    assert counted(convolve, (2, 8, 8, 4), (3, 3, 4, 6)) == expected


def test_loops_count_every_turn_and_branches_the_larger_one():
    def loop(a):
        return jax.lax.scan(lambda b, _: (b @ b, None), a, None, length=7)[0]

    def branch(a):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a)

    assert counted(jax.jit(loop), (4, 4)) == 7 * 2 * 4**3
    assert counted(branch, (4, 4)) == 2 * 2 * 4**3


def test_a_step_of_frepo_has_the_operations_that_xla_counts():
    resolved = tiny(
        network=NetworkSettings(width=16, depth=3), batch_size=256
    ).resolve()
    step = traced_step(resolved)
    network = build(resolved.network, image_shape=(8, 8, 1), num_classes=10)
    method = resolved.settings.method.static().build(network)
    knobs = jax.eval_shape(lambda: resolved.settings.method.knobs(steps=24))
    key = jax.eval_shape(lambda: jax.random.key(0))
    lowered = jax.jit(method.step).lower(key, step.state, step.batch, knobs)
    theirs = lowered.cost_analysis()["flops"]
    # Elementwise arithmetic is theirs alone.
    assert 0.9 * theirs < cost.step_flop(step.jaxpr) <= theirs


def test_the_guess_is_between_the_two_factors(monkeypatch):
    monkeypatch.setattr(cost, "flop_per_second", lambda: 1e9)
    step = traced_step(tiny().resolve())
    low, high = cost.estimated_pace(step, "frepo").seconds(100)
    floor = 100 * cost.step_flop(step.jaxpr) / 1e9
    assert low == pytest.approx(2.9 * floor)
    assert high == pytest.approx(5.5 * floor)
    assert cost.estimated_pace(step, "frepo").seconds(0) == (0.0, 0.0)
    others = cost.estimated_pace(step, "dm").seconds(100)
    assert others == pytest.approx((2.9 * floor, 24 * floor))


def write_run(out: Path, experiment, *, device=None, **status) -> None:
    resolved = experiment.resolve()
    folder = out / resolved.name
    folder.mkdir(parents=True)
    kind = jax.devices()[0]
    device = device or f"{kind.platform}: {kind.device_kind}"
    files = {
        "experiment.json": {"hash": resolved.hash, **resolved.description},
        "environment.json": {"starts": [{"device": device}]},
        "status.json": status,
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def test_runs_that_are_there_tell_the_speed_of_their_program(tmp_path):
    asked = tiny(steps=1000).resolve()
    assert cost.measured_pace(asked, tmp_path) is None
    ran = {"step": 100, "steps": 100, "steps_per_s": 50.0, "elapsed_s": 7.0}
    # Other knobs and lengths are the same program; so is a run that shared it: its share of
    # the time tells, not the speed that it saw.
    write_run(tmp_path, tiny(steps=100, seed=1, drop_easy=0.4), **ran)
    write_run(
        tmp_path,
        tiny(steps=100, seed=2),
        **{**ran, "steps_per_s": 10.0, "elapsed_s": 1.0},
    )
    # These are others, on another device, or too short.
    write_run(tmp_path, tiny(steps=100, batch_size=31), **{**ran, "steps_per_s": 9e9})
    write_run(tmp_path, tiny(seed=3), device="gpu: H", **{**ran, "steps_per_s": 9e9})
    write_run(tmp_path, tiny(seed=4), **{**ran, "step": 1, "steps_per_s": 9e9})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/experiment.json").write_text("{}")
    pace = cost.measured_pace(asked, tmp_path)
    assert pace.basis == f"measured: 2 runs in {tmp_path.name}/"
    # 5 s to start and 1/50 s each; 0 s to start and 1/100 s each.
    assert pace.seconds(1000) == pytest.approx((10.0, 25.0))


def test_a_loop_inside_a_step_is_not_counted_once():
    experiment = dataclasses.replace(tiny(), method=RFAD(), network=None)
    step = cost.trace(experiment.resolve())
    loops = [one for one in step.jaxpr.eqns if one.primitive.name == "scan"]
    inner = sum(cost.step_flop(one.params["jaxpr"].jaxpr) for one in loops)
    assert cost.step_flop(step.jaxpr) > inner
