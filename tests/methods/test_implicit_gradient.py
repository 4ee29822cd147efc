"""The inner problem against NumPy, and the implicit gradient against the exact one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from toy import (
    as_double,
    dense_network,
    double_precision,
    quick_jit,
    toy_convnet,
    toy_problem,
)

from isa_toolkit.methods import implicit_gradient as inner
from isa_toolkit.networks.base import Network, NetworkOutput

pytestmark = pytest.mark.slow

PENALTY = 0.3


def tiny(width: int = 4) -> SimpleNamespace:
    """Return a one-layer problem with a tangent and a direction, in float64."""
    toy = toy_problem()
    network = dense_network(width)
    params, state = as_double(network.init(jax.random.key(1)))
    base = inner.Base(network, params, state, inner.head_index(network))
    draw = np.random.default_rng(0)
    omega, along = (
        tuple(
            jnp.asarray(0.1 * draw.normal(size=leaf.shape))
            for leaf in inner.zero_tangent(base)
        )
        for _ in range(2)
    )
    images, labels = as_double((toy.images, toy.labels))
    return SimpleNamespace(
        base=base, omega=omega, along=along, images=images, labels=labels, toy=toy
    )


def objective_of(case: SimpleNamespace, images: Any, labels: Any, omega: Any):
    return inner.objective(
        inner.inner_problem(case.base, images, labels, PENALTY), omega
    )


def test_the_head_is_the_dense_kernel():
    network = toy_convnet()
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    found = jax.tree_util.keystr(paths[inner.head_index(network)])
    assert found == "['Dense_0']['kernel']"


def test_a_network_without_a_dense_layer_on_its_features_is_refused():
    def init(key):
        return {"kernel": jnp.ones((2, 5))}, {}

    def apply(params, state, images, train=False):
        features = images.reshape(images.shape[0], -1)[:, :2]
        return NetworkOutput(features @ params["kernel"], features, state)

    with pytest.raises(ValueError, match=r"network must end in a dense layer of shape"):
        inner.head_index(Network("odd", init, apply, (2, 1, 1), 3))


def test_the_linear_part_is_the_change_of_the_logits():
    with double_precision():
        case = tiny()
        step, leaves = 1e-6, jax.tree.leaves(case.base.params)
        structure = jax.tree.structure(case.base.params)
        moves = list(case.omega)
        moves.insert(case.base.head, jnp.zeros_like(leaves[case.base.head]))

        def logits(size):
            moved = [
                leaf + size * move for leaf, move in zip(leaves, moves, strict=True)
            ]
            params = jax.tree.unflatten(structure, moved)
            return case.base.network.apply(params, case.base.state, case.images)

        change, features = inner.linear_part(case.base, case.images, case.omega)
        numeric = (logits(step).logits - logits(-step).logits) / (2 * step)
        np.testing.assert_allclose(change, numeric, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(features, logits(0).features)
        problem = inner.inner_problem(case.base, case.images, case.labels, PENALTY)
        np.testing.assert_allclose(problem.outputs(case.omega, None), change, rtol=1e-9)


def test_the_objective_is_the_one_that_is_written_down():
    with double_precision():
        case = tiny()
        change, features = map(
            np.asarray, inner.linear_part(case.base, case.images, case.omega)
        )
        kernel, residual = features @ features.T, np.asarray(case.labels) - change
        dual = np.linalg.solve(kernel + PENALTY * np.eye(6), residual)
        size = sum(float(np.sum(np.square(leaf))) for leaf in case.omega)
        written = 0.5 * np.square(residual - kernel @ dual).sum()
        written += PENALTY / 2 * (np.trace(dual.T @ kernel @ dual) + size)
        got = objective_of(case, case.images, case.labels, case.omega)
        assert float(got) == pytest.approx(written / residual.size, rel=1e-9)


def test_without_labels_the_objective_is_half_the_quadratic_form_of_its_hessian():
    with double_precision():
        case = tiny(2)
        flat, back = ravel_pytree(case.omega)
        problem = inner.inner_problem(case.base, case.images, case.labels, PENALTY)
        hessian = jax.jit(jax.hessian(lambda w: inner.objective(problem, back(w))))(
            flat
        )
        direction, _ = ravel_pytree(case.along)
        got = inner.objective(problem, case.along, jnp.zeros_like(case.labels))
        assert float(got) == pytest.approx(
            float(direction @ hessian @ direction) / 2, rel=1e-9
        )
        # Convex, thanks to the ridge.
        assert np.linalg.eigvalsh(np.asarray(hessian)).min() > 0


def test_a_batch_has_all_values_and_the_scaled_gradient_of_its_rows():
    with double_precision():
        case, key = tiny(), jax.random.key(3)
        start, back = ravel_pytree(case.omega)

        def run(start):
            whole, part = (
                inner.inner_problem(case.base, case.images, case.labels, PENALTY, size)
                for size in (0, 4)
            )
            rows = [
                lambda w, one=one: one.outputs(back(w), key) for one in (whole, part)
            ]
            seen = [jax.jacrev(one)(start) for one in rows]
            values = [one(start) for one in rows]
            return values, seen, (whole.features, part.features)

        values, (full, batch), features = quick_jit(run)(start)
        np.testing.assert_allclose(values[1], values[0], rtol=1e-10)
        np.testing.assert_allclose(features[1], features[0], rtol=1e-10)
        chosen = np.asarray(jax.random.choice(key, 6, (4,), replace=False))
        expected = np.zeros_like(full)
        expected[chosen] = 6 / 4 * np.asarray(full)[chosen]
        np.testing.assert_allclose(batch, expected, rtol=1e-8, atol=1e-12)


def test_the_slope_and_its_gradient_are_those_of_the_objective():
    with double_precision():
        case = tiny()

        def by_hand(images, labels):
            change, features = inner.linear_part(case.base, images, case.omega)
            along, _ = inner.linear_part(case.base, images, case.along)
            product = inner.inner_product(case.omega, case.along)
            return inner.slope_along(
                labels, features, change, along, inner_product=product, penalty=PENALTY
            )

        def by_autodiff(images, labels):
            run = lambda omega: objective_of(case, images, labels, omega)  # noqa: E731
            return jax.jvp(run, (case.omega,), (case.along,))[1]

        both = [
            jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(
                case.images, case.labels
            )
            for function in (by_hand, by_autodiff)
        ]
        for one, other in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-10)


def test_the_implicit_gradient_is_that_of_the_solved_inner_problem():
    """Direct + implicit = the gradient through the closed form of omega.

    To rounding with the Hessian's own solution, and closely after enough Adam steps
    (their rate must fall: at a constant one Adam circles the minimum).
    """
    with double_precision():
        case = tiny(2)
        batch, zero = as_double(case.toy.batch), jnp.zeros_like(case.labels)
        blank, back = ravel_pytree(inner.zero_tangent(case.base))

        def outer(images, labels, omega):
            change, features = inner.linear_part(case.base, images, back(omega))
            factor = inner.kernel_factor(features, PENALTY)
            dual = jax.scipy.linalg.cho_solve((factor, True), labels - change)
            there, target = inner.linear_part(case.base, batch.images, back(omega))
            errors = there + target @ (features.T @ dual) - batch.labels
            return jnp.mean(jnp.square(errors))

        def slope_of(images, labels, omega):
            return jax.grad(lambda w: objective_of(case, images, labels, back(w)))(
                omega
            )

        def solved(images, labels):
            # Linear in omega: its matrix and its value at 0 give the minimum.
            hessian = jax.jacobian(slope_of, argnums=2)(images, labels, blank)
            return jnp.linalg.solve(hessian, -slope_of(images, labels, blank)), hessian

        def implicit_of(images, labels, omega, v):
            along = lambda i, l: jnp.vdot(slope_of(i, l, omega), v)  # noqa: E731, E741
            return jax.grad(along, argnums=(0, 1))(images, labels)

        def descended(loss):
            point = back(blank)
            for rate in (0.1, 0.01, 0.001, 1e-4, 1e-5):
                point = inner.descend(
                    loss, point, rate=rate, steps=1000, key=jax.random.key(0)
                ).point
            return ravel_pytree(point)[0]

        @jax.jit
        def run(images, labels):
            exact = jax.grad(lambda i, y: outer(i, y, solved(i, y)[0]), argnums=(0, 1))
            problem = inner.inner_problem(case.base, images, labels, PENALTY)
            omega, hessian = solved(images, labels)
            near = descended(lambda w, _: inner.objective(problem, w))
            parts = []
            for point, solve in (
                (omega, lambda slope: jnp.linalg.solve(hessian, slope)),
                (
                    near,
                    lambda slope: descended(
                        lambda v, _: (
                            inner.objective(problem, v, zero)
                            - inner.inner_product(back(slope), v)
                        )
                    ),
                ),
            ):
                *direct, slope = jax.grad(outer, argnums=(0, 1, 2))(
                    images, labels, point
                )
                parts.append((direct, implicit_of(images, labels, point, solve(slope))))
            return exact(images, labels), parts

        exact, (by_solve, by_adam) = run(case.images, case.labels)
        for (direct, implicit), tolerance in ((by_solve, 1e-10), (by_adam, 1e-3)):
            for whole, part, taken in zip(exact, direct, implicit, strict=True):
                size = np.linalg.norm(whole)
                assert np.linalg.norm(part - taken - whole) < tolerance * size
                # Without it the gradient is another.
                assert np.linalg.norm(part - whole) > 0.02 * size


def test_a_descent_is_adam_from_a_fresh_start():
    target = np.array([1.0, -2.0, 0.5])
    got = quick_jit(
        lambda: inner.descend(
            lambda point, _: jnp.sum(jnp.square(point[0] - target)),
            (jnp.zeros(3),),
            rate=0.1,
            steps=5,
            key=jax.random.key(0),
        )
    )()
    point, first, second, losses = np.zeros(3), np.zeros(3), np.zeros(3), []
    for step in range(1, 6):
        losses.append(np.square(point - target).sum())
        slope = 2 * (point - target)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
        point = point - 0.1 * mean / (np.sqrt(square) + 1e-8)
    losses.append(np.square(point - target).sum())
    np.testing.assert_allclose(got.point[0], point, rtol=1e-4)
    np.testing.assert_allclose(got.losses, losses, rtol=1e-4)


def run_up_to(limit: float):
    """Return a run that goes down at every step for rates below ``limit``."""

    def run(rate):
        last = jnp.where(rate < limit, -1.0, 1.0)
        return inner.Descent((), jnp.asarray([1.0, 0.0, 0.0]).at[2].set(last))

    return run


def test_a_rate_grows_until_a_run_fails_and_then_steps_back():
    rate, count = 1e-5, 0
    while rate < 1e-3:
        rate, count = 1.2 * rate, count + 1
    tuned = jax.jit(lambda wanted: inner.tuned_rate(run_up_to(1e-3), 1e-5, wanted))
    assert count > 10
    assert float(tuned(jnp.asarray(True))) == pytest.approx(0.84 * rate, rel=1e-5)
    assert float(tuned(jnp.asarray(False))) == pytest.approx(1e-5)


def test_a_rate_that_fails_at_once_shrinks_and_one_that_never_fails_ends():
    yes = jnp.asarray(True)
    assert float(inner.tuned_rate(run_up_to(0.0), 1.0, yes)) == pytest.approx(0.84)
    endless = float(inner.tuned_rate(run_up_to(np.inf), 1e-5, yes))
    assert endless == pytest.approx(1e-5 * 1.2**100, rel=1e-4)


@pytest.mark.parametrize(
    ("losses", "monotone", "worse"),
    [
        ([3.0, 2.0, 1.0], True, False),
        ([3.0, 2.0, 2.0], False, False),
        ([3.0, 4.0, 2.0], False, False),
        ([3.0, 2.0, 4.0], False, True),
        ([3.0, 2.0, np.nan], False, True),
    ],
)
def test_a_run_says_whether_it_went_down(losses, monotone, worse):
    run = inner.Descent((), jnp.asarray(losses))
    assert (bool(run.is_monotone), bool(run.is_worse)) == (monotone, worse)


def test_the_implicit_gradient_is_cut_to_the_length_of_the_direct_one():
    direct = jnp.asarray([3.0, 4.0])
    long, short = jnp.asarray([60.0, 80.0]), jnp.asarray([0.3, 0.4])
    np.testing.assert_allclose(inner.capped(long, direct), [3, 4], rtol=1e-6)
    np.testing.assert_allclose(inner.capped(short, direct), short)
    np.testing.assert_array_equal(inner.capped(0 * long, 0 * direct), [0, 0])
    broken = inner.capped(jnp.asarray([jnp.nan, 1.0]), direct)
    assert np.isfinite(broken).all()
