"""RCIG's inner problem: a linearised network with a ridge readout, and its gradient.

The predictor is ``f(x) = J f(x; theta_0) omega + h(x) w*``: the tangent omega of every
parameter but the dense kernel, and w*, the ridge readout of what the tangent leaves. The
objective is a convex quadratic in omega, so its gradient with respect to the distilled set
follows from one linear system with its Hessian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int, PyTree

from isa_toolkit import checks
from isa_toolkit.losses.ridge import HIGHEST
from isa_toolkit.networks import Network

__all__ = [
    "Base",
    "Descent",
    "InnerProblem",
    "capped",
    "descend",
    "head_index",
    "inner_problem",
    "inner_product",
    "kernel_factor",
    "linear_part",
    "objective",
    "slope_along",
    "tuned_rate",
    "zero_tangent",
]

Scalar = Float[Array, ""]
Number = Scalar | float
Tangent = tuple[Array, ...]

# The tiny number keeps the root differentiable where a gradient is exactly 0.
_ADAM = optax.scale_by_adam(eps_root=1e-30)

# Growing by 1.2 from 1e-5, this many times gives 8e2: far beyond any stable rate.
_MOST_TRIES = 100


class Base(NamedTuple):
    """A network to linearise about.

    network: the architecture.
    params: theta_0.
    state: normalisation statistics.
    head: which leaf of the parameters is the dense kernel.
    """

    network: Network
    params: PyTree
    state: PyTree
    head: int


class InnerProblem(NamedTuple):
    """The inner objective of one distilled set.

    outputs: ``omega -> J f(X_S; theta_0) omega``, [m, c].
    features: h(X_S; theta_0), [m, d].
    factor: Cholesky factor of ``K + l2 I``, [m, m].
    labels: Y_S, [m, c].
    penalty: l2, absolute, [].
    """

    outputs: Callable[[Tangent], Array]
    features: Float[Array, "m d"]
    factor: Float[Array, "m m"]
    labels: Float[Array, "m c"]
    penalty: Number


class Descent(NamedTuple):
    """What some Adam steps gave.

    point: where they ended.
    losses: before each step and after the last, [steps + 1].
    """

    point: Tangent
    losses: Float[Array, " k"]

    @property
    def is_monotone(self) -> Bool[Array, ""]:
        """Whether every step lowered the loss."""
        return jnp.all(self.losses[1:] < self.losses[:-1])

    @property
    def is_worse(self) -> Bool[Array, ""]:
        """Whether the loss ended above its start."""
        return ~(self.losses[-1] <= self.losses[0])


def head_index(network: Network) -> int:
    """Return which leaf of the parameters is the kernel of the last dense layer.

    Args:
        network: the architecture.

    Returns:
        Its place among the leaves.

    Raises:
        ValueError: no leaf is shaped like a readout of the features.
    """
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    features = jax.eval_shape(network.apply, params, state, image).features
    wanted = (features.shape[1], network.num_classes)
    places = [
        place
        for place, leaf in enumerate(jax.tree.leaves(params))
        if leaf.shape == wanted
    ]
    if not places:
        raise checks.fail(
            "network",
            f"end in a dense layer of shape {wanted} on its features",
            network.name,
        )
    return places[-1]


def zero_tangent(base: Base) -> Tangent:
    """Return omega = 0: one array for each parameter but the dense kernel.

    Args:
        base: the network.

    Returns:
        The tangent.
    """
    # Not a constant: XLA's CPU back end (0.10.2) has compiled the product of features
    # and a matrix that it knows to be 0 into one that reads memory it never wrote.
    return jax.tree.map(lambda leaf: 0 * leaf, _moving(base))


def linear_part(
    base: Base, images: Float[Array, "m h w ch"], tangent: Tangent
) -> tuple[Float[Array, "m c"], Float[Array, "m d"]]:
    """Return ``J f(x; theta_0) omega`` and the features ``h(x; theta_0)``.

    Args:
        base: the network.
        images: x, [m, h, w, ch].
        tangent: omega.

    Returns:
        Linearised logits [m, c] and features [m, d].

    Source: docs/algorithms.md, section 4.3.
    """
    (_, features), (change, _) = jax.jvp(
        _forward(base, images), (_moving(base),), (tangent,)
    )
    return change, features


def inner_problem(
    base: Base,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    penalty: Number,
) -> InnerProblem:
    """Return the inner objective of a distilled set, linearised once for many steps.

    Args:
        base: the network.
        images: X_S, mirrored copies included, [m, h, w, ch].
        labels: Y_S, [m, c].
        penalty: l2.

    Returns:
        The problem.

    Source: docs/algorithms.md, section 4.3.
    """
    (_, features), linear = jax.linearize(_forward(base, images), _moving(base))
    return InnerProblem(
        lambda tangent: linear(tangent)[0],
        features,
        kernel_factor(features, penalty),
        labels,
        penalty,
    )


def kernel_factor(
    features: Float[Array, "m d"], penalty: Number
) -> Float[Array, "m m"]:
    """Return the lower Cholesky factor of ``F F^T + l2 I``.

    Args:
        features: F, [m, d].
        penalty: l2.

    Returns:
        The factor; NaN where it fails.
    """
    kernel = jnp.matmul(features, features.T, precision=HIGHEST)
    eye = jnp.eye(kernel.shape[0], dtype=kernel.dtype)
    return cho_factor(kernel + penalty * eye, lower=True)[0]


def objective(
    problem: InnerProblem, tangent: Tangent, labels: Float[Array, "m c"] | None = None
) -> Scalar:
    """Return the inner objective at omega, with the readout at its optimum.

    ``L = [ 1/2 ||R - K alpha||^2 + l2/2 ( tr(alpha^T K alpha) + ||omega||^2 ) ] / (m C)``
    with ``R = Y - J omega`` and ``alpha = (K + l2 I)^-1 R``. As ``R - K alpha = l2 alpha``,
    the first two terms are ``l2/2 tr(R^T alpha)``.

    Args:
        problem: the problem.
        tangent: omega.
        labels: in place of the problem's; with 0, the value is ``1/2 omega^T H omega``
            with the Hessian H.

    Returns:
        L, [].

    Source: docs/algorithms.md, section 4.3.
    """
    target = problem.labels if labels is None else labels
    residual = target - problem.outputs(tangent)
    dual = cho_solve((problem.factor, True), residual)
    energy = jnp.sum(residual * dual) + inner_product(tangent, tangent)
    return problem.penalty / 2 * energy / residual.size


def slope_along(
    labels: Float[Array, "m c"],
    features: Float[Array, "m d"],
    change: Float[Array, "m c"],
    change_along: Float[Array, "m c"],
    *,
    inner_product: Number,
    penalty: Number,
) -> Scalar:
    """Return ``<v, dL/domega>`` of the inner objective, as a function of the distilled set.

    ``l2 ( <omega, v> - tr(alpha^T J v) ) / (m C)``, the derivative of :func:`objective`.

    Args:
        labels: Y_S, [m, c].
        features: h(X_S), [m, d].
        change: J omega, [m, c].
        change_along: J v, [m, c].
        inner_product: <omega, v>.
        penalty: l2.

    Returns:
        The slope, [].

    Source: docs/algorithms.md, section 4.3, step (iv).
    """
    dual = cho_solve((kernel_factor(features, penalty), True), labels - change)
    slope = inner_product - jnp.sum(dual * change_along)
    return penalty * slope / labels.size


def descend(
    loss: Callable[[Tangent], Scalar],
    start: Tangent,
    *,
    rate: Number,
    steps: int,
) -> Descent:
    """Return where Adam, freshly started, gets in some steps.

    Args:
        loss: of a point.
        start: the first point.
        rate: learning rate; traced.
        steps: static.

    Returns:
        The end and the losses on the way.

    Source: docs/algorithms.md, sections 4.3 and 8.
    """

    def body(carry: PyTree, _: None) -> tuple[PyTree, Scalar]:
        point, moments = carry
        value, gradient = jax.value_and_grad(loss)(point)
        updates, moments = _ADAM.update(gradient, moments)
        point = jax.tree.map(lambda leaf, update: leaf - rate * update, point, updates)
        return (point, moments), value

    carry = (start, _ADAM.init(start))
    (point, _), losses = jax.lax.scan(body, carry, length=steps)
    return Descent(point, jnp.append(losses, loss(point)))


def tuned_rate(
    run: Callable[[Scalar], Descent], start: Number, wanted: Bool[Array, ""]
) -> Scalar:
    """Return the learning rate that a run bears: found by growing it until it fails.

    From ``start``, times 1.2 while the run lowers its loss at every step; times .7 at the
    first one that does not.

    Args:
        run: ``rate -> Descent``.
        start: first rate, [].
        wanted: False leaves ``start`` as it is and runs nothing.

    Returns:
        The rate, [].

    Source: docs/algorithms.md, section 4.3, tuning of the inner learning rates.
    """

    def going(carry: tuple[Scalar, Int[Array, ""], Bool[Array, ""]]) -> Bool[Array, ""]:
        _, tries, good = carry
        return good & (tries < _MOST_TRIES)

    def body(carry: tuple[Scalar, Int[Array, ""], Bool[Array, ""]]) -> PyTree:
        rate, tries, _ = carry
        good = run(rate).is_monotone
        return jnp.where(good, 1.2 * rate, 0.7 * rate), tries + 1, good

    carry = (jnp.asarray(start), jnp.zeros((), jnp.int32), wanted)
    return jax.lax.while_loop(going, body, carry)[0]


def capped(implicit: Array, direct: Array) -> Array:
    """Return the implicit gradient, no longer than the direct one, without NaN.

    Args:
        implicit: of one leaf.
        direct: of the same leaf.

    Returns:
        ``implicit min(1, ||direct|| / ||implicit||)``, NaN replaced by 0.

    Source: docs/algorithms.md, section 4.3, step (v).
    """
    size = jnp.sqrt(jnp.sum(jnp.square(implicit)))
    most = jnp.sqrt(jnp.sum(jnp.square(direct)))
    shrunk = implicit * jnp.where(size > most, most / size, 1)
    return jnp.nan_to_num(shrunk, nan=0.0, posinf=0.0, neginf=0.0)


def inner_product(one: Tangent, other: Tangent) -> Scalar:
    """Return the inner product of two tangents.

    Args:
        one: a tangent.
        other: another.

    Returns:
        The sum of products of all numbers, [].
    """
    return jnp.asarray(
        sum(jnp.sum(a * b) for a, b in zip(one, other, strict=True)),
    )


def _moving(base: Base) -> Tangent:
    """Return the parameters that have a tangent: all but the dense kernel."""
    leaves = jax.tree.leaves(base.params)
    return tuple(leaf for place, leaf in enumerate(leaves) if place != base.head)


def _forward(base: Base, images: Float[Array, "m h w ch"]) -> Callable:
    """Return logits and features as a function of the parameters that move."""
    leaves, structure = jax.tree.flatten(base.params)

    def run(moving: Tangent) -> tuple[Array, Array]:
        parts = [*moving[: base.head], leaves[base.head], *moving[base.head :]]
        params = jax.tree.unflatten(structure, parts)
        output = base.network.apply(params, base.state, images)
        return output.logits, output.features

    return run
