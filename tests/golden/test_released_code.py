"""Parity with the numbers that the authors' released code computed.

``ISA_GOLDEN=<folder>`` points these tests at other files of the same form.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from isa_toolkit.losses import crucial, isa, ridge
from isa_toolkit.methods import Batch
from isa_toolkit.methods.base import as_arrays
from isa_toolkit.methods.frepo import OPTIMIZERS, FRePo, State, step
from isa_toolkit.networks import NetworkSettings, build
from isa_toolkit.networks.pool import Learner, online_step, stack

# On a GPU these are worth running again.
pytestmark = pytest.mark.gpu

FOLDER = Path(os.environ.get("ISA_GOLDEN", Path(__file__).parent))
LOSSES = "losses.npz"
STEPS = sorted(path.name for path in FOLDER.glob("*.npz") if path.name != LOSSES)


def knobs_of_topk(topk: float) -> dict[str, float]:
    """Translate the released flag: hardest share if positive, easiest if negative."""
    if topk < 0:
        return {"drop_easy": 0.0, "drop_hard": 1 + topk}
    return {"drop_easy": 1 - topk if 0 < topk < 1 else 0.0, "drop_hard": 0.0}


def read(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def nested(arrays: dict[str, np.ndarray], prefix: str) -> dict:
    tree: dict = {}
    for key, value in arrays.items():
        if key.startswith(prefix + "/"):
            *path, leaf = key[len(prefix) + 1 :].split("/")
            node = tree
            for part in path:
                node = node.setdefault(part, {})
            node[leaf] = jnp.asarray(value)
    return tree


def test_the_golden_files_are_there():
    assert (FOLDER / LOSSES).exists()
    assert len(STEPS) >= 1


class TestLosses:
    CASES = sorted({key.split("/")[0] for key in read(LOSSES) if "/" in key})

    @pytest.fixture(params=CASES)
    def case(self, request):
        prefix = request.param + "/"
        return {
            key.removeprefix(prefix): value
            for key, value in read(LOSSES).items()
            if key.startswith(prefix)
        }

    def test_prediction_and_per_sample_losses(self, case):
        weights = ridge.dual_readout(
            jnp.asarray(case["distilled_features"]),
            jnp.asarray(case["distilled_labels"]),
            1e-6,
        ).weights
        prediction = ridge.predict(jnp.asarray(case["target_features"]), weights)
        scale = np.abs(case["prediction"]).max()
        np.testing.assert_allclose(prediction, case["prediction"], atol=1e-3 * scale)
        residual = prediction - case["target_labels"]
        np.testing.assert_allclose(
            crucial.scores(residual), case["per_sample_half_sum_sq"], rtol=1e-3
        )

    def test_isa_values_hardest_first(self, case):
        epsilon, topk = (float(x) for x in case["epsilon_topk"])
        residual = jnp.asarray(case["prediction"] - case["target_labels"])
        scores = crucial.scores(residual)
        kept = crucial.select(scores, **knobs_of_topk(topk))
        partner = isa.nearest_partners(jnp.asarray(case["target_features"]), kept)
        losses = isa.segment_loss(residual, residual - residual[partner], 0.0, epsilon)
        released = losses * 2 / residual.shape[-1]
        # The released code does not sort when it keeps all.
        order = np.arange(len(scores))
        if topk != 1:
            order = np.argsort(-np.asarray(scores), kind="stable")
        ours = np.asarray(released)[order][np.asarray(kept)[order] > 0]
        theirs = case["isa_per_kept_sample_hardest_first"]
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


class Problem(NamedTuple):
    arrays: dict
    meta: dict
    settings: FRePo
    network: object
    learner: Learner


@pytest.fixture(scope="module", params=STEPS)
def problem(request) -> Problem:
    arrays = read(request.param)
    meta = ast.literal_eval(str(arrays["meta"]))
    params = nested(arrays, "params")
    shape = tuple(int(side) for side in arrays["x_s"].shape[1:])
    convs = sum(key.startswith("Conv_") for key in params)
    network = build(
        NetworkSettings(
            width=int(params["Conv_0"]["bias"].shape[0]), depth=convs, norm="batch"
        ),
        image_shape=shape,
        num_classes=int(arrays["y_s"].shape[1]),
    )
    settings = FRePo(
        **knobs_of_topk(float(meta["topk"])),
        segment=(0.0, float(meta["epsilon"])),
        reduction="released",
        flips=bool(meta["flip"]),
        label_scale=1.0,
        learning_rate=float(meta["lamb_lr"]),
        final_learning_rate=1.0,
        online_learning_rate=float(meta["online_adam_lr"]),
    )
    fresh = optimizer_moments(arrays, params)
    learner = Learner(
        params, nested(arrays, "batch_stats"), fresh, jnp.zeros((), jnp.int32)
    )
    return Problem(arrays, meta, settings, network, learner)


def optimizer_moments(arrays: dict, params: dict):
    import optax

    moments = optax.scale_by_adam().init(params)
    if "adam/count" not in arrays:
        return moments
    return moments._replace(
        count=jnp.asarray(arrays["adam/count"], jnp.int32),
        mu=nested(arrays, "adam/mu"),
        nu=nested(arrays, "adam/nu"),
    )


def test_target_features(problem):
    features = problem.network.apply(
        problem.learner.params,
        problem.learner.state,
        jnp.asarray(problem.arrays["x_t"][0]),
    ).features
    theirs = problem.arrays["target_features_0"]
    np.testing.assert_allclose(features, theirs, atol=1e-4 * np.abs(theirs).max())


def test_outer_steps(problem):
    arrays, settings = problem.arrays, problem.settings
    start = (jnp.asarray(arrays["x_s"]), jnp.asarray(arrays["y_s"]))
    moments = OPTIMIZERS[settings.optimizer](0.0).init(start)
    pool = stack([problem.learner])
    state = State(*start, moments, pool)

    @jax.jit
    def update(state, images, labels):
        batch = Batch(images, labels)
        return step(
            as_arrays(settings), problem.network, jax.random.key(0), state, batch
        )

    for number, (x_t, y_t) in enumerate(zip(arrays["x_t"], arrays["y_t"], strict=True)):
        state, info = update(state, jnp.asarray(x_t), jnp.asarray(y_t))
        for ours, theirs in (
            (info.target_loss, "kernel_loss"),
            (info.label_loss, "label_loss"),
        ):
            np.testing.assert_allclose(ours, arrays[theirs][number], rtol=1e-3)
        # The released steps look through one network, which does not age.
        state = state._replace(pool=pool)
        assert_moved_alike(state.images, arrays["x_s_after"][number], arrays["x_s"])
        assert_moved_alike(state.labels, arrays["y_s_after"][number], arrays["y_s"])


def assert_moved_alike(ours, theirs, start, share=0.02):
    distance = np.linalg.norm(theirs - start)
    assert distance > 0
    error = np.linalg.norm(np.asarray(ours) - theirs)
    assert error <= share * distance, f"{error / distance:.2%} of the distance moved"


def test_online_step(problem):
    arrays = problem.arrays
    after = jax.jit(
        lambda learner: online_step(
            problem.network,
            learner,
            jnp.asarray(arrays["x_s_after"][-1]),
            jnp.asarray(arrays["y_s_after"][-1]),
            learning_rate=problem.settings.online_learning_rate,
        )
    )(problem.learner)
    for prefix, before, tree in (
        ("online_params", "params", after.params),
        ("online_batch_stats", "batch_stats", after.state),
    ):
        theirs, start = nested(arrays, prefix), nested(arrays, before)
        pairs = zip(*(jax.tree.leaves(x) for x in (tree, theirs, start)), strict=True)
        for ours, target, first in pairs:
            assert_moved_alike(ours, np.asarray(target), np.asarray(first))
