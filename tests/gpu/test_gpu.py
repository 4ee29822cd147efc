"""What only a GPU can show: run with ``pytest -m gpu`` where JAX finds one.

``pytest -m gpu`` also runs the numbers of the released code (``tests/golden``).
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from toy import Bound, toy_problem

from isa_toolkit import Experiment, FRePo, NetworkSettings, benchmark
from isa_toolkit.distillation import distill, distill_grid
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.networks import build
from isa_toolkit.networks.precision import PRECISIONS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="there is no GPU"),
]

STEPS = 20


def experiment(**method: Any) -> Experiment:
    return Experiment(
        "digits",
        method=FRePo(learning_rate=3e-3, **method),
        network=NetworkSettings(width=8),
        steps=STEPS,
        batch_size=64,
        selection="last",
        validation_every=0,
        log_every=1,
    )


def test_coarser_formats_of_the_real_images_change_a_step_little():
    toy = toy_problem(per_class=4, targets=48)
    network = build(
        NetworkSettings(width=16, depth=1), image_shape=(6, 6, 1), num_classes=3
    )
    losses = {}
    for precision in PRECISIONS:
        bound = Bound(
            FRePo(
                target_precision=precision,
                drop_easy=0,
                segment=(0, 0),
                label_scale=1.0,
                flips=False,
            ),
            network,
        )
        state = bound.init(jax.random.key(0), toy.images, toy.labels)
        _, info = bound.step(
            as_arrays(bound.settings), jax.random.key(1), state, toy.batch
        )
        losses[precision] = float(info.target_loss)
    # Ten bits of TensorFloat-32, seven of bfloat16.
    assert losses["default"] == pytest.approx(losses["float32"], rel=5e-3)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=4e-2)


def test_runs_of_a_grid_are_the_single_runs(tmp_path):
    grid = [experiment(drop_easy=share) for share in (0.0, 0.2, 0.4)]
    together = distill_grid(grid, out=tmp_path / "grid", progress=False)
    for one, batched in zip(grid, together, strict=True):
        alone = distill(one, out=tmp_path / "single", progress=False)
        first, second = alone.metrics.loss[:5], batched.metrics.loss[:5]
        np.testing.assert_allclose(first, second, rtol=1e-3)
        moved = alone.distilled.images - alone.distilled_at(0).images
        apart = alone.distilled.images - batched.distilled.images
        assert np.linalg.norm(apart) < 0.1 * np.linalg.norm(moved)


def test_a_run_needs_the_memory_that_xla_states():
    shape = benchmark.SETTINGS["tiny"]
    timed = benchmark.timed_loop(
        shape, benchmark.made_data(shape), benchmark.isa(shape)
    )
    stated = timed.chunk.lower(*timed.arguments(1)).compile().memory_analysis()
    device = jax.local_devices()[0]
    before = (device.memory_stats() or {}).get("bytes_in_use", 0)
    jax.block_until_ready(timed.chunk(*timed.arguments(1)))
    peak = (device.memory_stats() or {})["peak_bytes_in_use"]
    needed = stated.temp_size_in_bytes + stated.output_size_in_bytes
    assert peak - before < 1.2 * needed + 2**24
