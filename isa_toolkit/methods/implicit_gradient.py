"""The inner problem of RCIG: a linearised network with a ridge readout, and its gradient.

The predictor is ``f(x) = J f(x; theta_0) omega + h(x) w*``: the tangent omega of every
parameter but the dense kernel, and w*, the ridge readout of what the tangent leaves. The
objective is a convex quadratic in omega, so its gradient with respect to the distilled set
follows from one linear system with its Hessian (docs/algorithms.md, section 4.3).

``[m, h, w, ch]`` are distilled images X_S with their flips, if any, ``[m, c]`` their labels
Y_S, ``[m, d]`` their features h(X_S; theta_0); the penalty l2 is absolute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.losses.ridge import HIGHEST, solve_positive
from isa_toolkit.networks import Network
from isa_toolkit.networks.base import map_in_pieces

Scalar = Float[Array, ""]
Number = Scalar | float
# One array for each parameter but the dense kernel.
Tangent = tuple[Array, ...]

# Growing by 1.2 from 1e-5, this many times gives 8e2: far beyond any stable rate.
_MOST_TRIES = 100


class Base(NamedTuple):
    """A network to linearise about.

    network: Architecture.
    params: Parameters theta_0.
    state: Normalisation statistics.
    head: Index of the dense kernel among the leaves of the parameters.
    """

    network: Network
    params: PyTree
    state: PyTree
    head: int


class InnerProblem(NamedTuple):
    """The inner objective of one distilled set.

    outputs: Function ``(omega, key) -> J f(X_S; theta_0) omega``, [m, c]; the key draws the
        rows that carry a gradient, where not all do.
    features: Features, [m, d].
    factor: Cholesky factor of ``K + l2 I``, [m, m].
    labels: Labels, [m, c].
    penalty: Penalty l2, [].
    """

    outputs: Callable[[Tangent, Any], Array]
    features: Float[Array, "m d"]
    factor: Float[Array, "m m"]
    labels: Float[Array, "m c"]
    penalty: Number


class Descent(NamedTuple):
    """Result of some Adam steps.

    point: Point after the last step.
    losses: Losses before each step and after the last, [steps + 1].
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
    """Return the index, among the parameters, of the kernel of the last dense layer."""
    params, state = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *network.image_shape), jnp.float32)
    features = jax.eval_shape(network.apply, params, state, image).features
    wanted = (features.shape[1], network.num_classes)
    shapes = [leaf.shape for leaf in jax.tree.leaves(params)]
    if wanted not in shapes:
        raise checks.fail(
            "network",
            f"end in a dense layer of shape {wanted} on its features",
            network.name,
        )
    return len(shapes) - 1 - shapes[::-1].index(wanted)


def zero_tangent(base: Base) -> Tangent:
    """Return omega = 0."""
    # Not a constant: XLA's CPU back end (0.10.2) has compiled the product of features
    # and a matrix that it knows to be 0 into one that reads memory it never wrote.
    return jax.tree.map(lambda leaf: 0 * leaf, _moving(base))


def linear_part(
    base: Base, images: Float[Array, "m h w ch"], tangent: Tangent
) -> tuple[Float[Array, "m c"], Float[Array, "m d"]]:
    """Return the linearised logits ``J f(x; theta_0) omega`` and the features h(x)."""
    (_, features), (change, _) = jax.jvp(
        _forward(base, images), (_moving(base),), (tangent,)
    )
    return change, features


def inner_problem(
    base: Base,
    images: Float[Array, "m h w ch"],
    labels: Float[Array, "m c"],
    penalty: Number,
    batch_size: int = 0,
) -> InnerProblem:
    """Return the inner objective of a distilled set.

    All rows are linearised once for many steps, unless ``batch_size`` is above 0 and below
    m. Then each evaluation reads all rows, so many at a time, and random ones carry a
    gradient, which is scaled up: it is that of the objective on average.
    """
    count = images.shape[0]
    if not 0 < batch_size < count:
        (_, features), linear = jax.linearize(_forward(base, images), _moving(base))

        def outputs(tangent: Tangent, key: Any) -> Array:
            del key
            return linear(tangent)[0]
    else:
        features = map_in_pieces(
            lambda some: base.network.apply(base.params, base.state, some).features,
            images,
            batch_size,
        )

        def outputs(tangent: Tangent, key: Any) -> Array:
            return with_gradient(
                lambda some, tangent: linear_part(base, some, tangent)[0],
                images,
                (tangent,),
                count=batch_size,
                key=key,
                scale=count / batch_size,
                at_once=batch_size,
            )

    return InnerProblem(
        outputs, features, kernel_factor(features, penalty), labels, penalty
    )


def with_gradient(
    function: Callable[..., PyTree],
    images: Float[Array, "n h w ch"],
    given: tuple[PyTree, ...],
    *,
    count: int,
    key: Key[Array, ""],
    draws: int = 1,
    scale: float = 1.0,
    at_once: int,
) -> PyTree:
    """Return ``function(images, *given)``, with a gradient through random rows only.

    Args:
        function: Function of images and more, which treats each image on its own.
        images: Images, [n, h, w, ch].
        given: The other arguments; they and the images carry the gradient.
        count: Number of rows in a draw; 0, or n and more, for all rows.
        key: Random key.
        draws: Number of independent draws; their gradients are averaged.
        scale: What the gradient is multiplied by.
        at_once: Number of rows that are read at a time without a gradient.
    """
    if not 0 < count < images.shape[0]:
        return function(images, *given)
    frozen_images, frozen = jax.lax.stop_gradient((images, given))
    values = map_in_pieces(lambda some: function(some, *frozen), frozen_images, at_once)
    for draw_key in jax.random.split(key, draws) if draws > 1 else [key]:
        chosen = jax.random.choice(draw_key, images.shape[0], (count,), replace=False)
        part = function(images[chosen], *given)
        # Nothing, whose gradient is that of these rows.
        nothing = jax.tree.map(lambda x: x - jax.lax.stop_gradient(x), part)
        values = jax.tree.map(
            lambda whole, x, rows=chosen: whole.at[rows].add(x * (scale / draws)),
            values,
            nothing,
        )
    return values


def kernel_factor(
    features: Float[Array, "m d"], penalty: Number
) -> Float[Array, "m m"]:
    """Return the lower Cholesky factor of ``F F^T + l2 I``; NaN where it fails."""
    return cho_factor(_kernel(features, penalty), lower=True)[0]


def dual_weights(
    features: Float[Array, "m d"], penalty: Number, target: Float[Array, "m c"]
) -> Float[Array, "m c"]:
    """Return ``(F F^T + l2 I)^-1 R``, with implicit derivatives; R = ``target``."""
    return solve_positive(_kernel(features, penalty), target)


def _kernel(features: Float[Array, "m d"], penalty: Number) -> Float[Array, "m m"]:
    kernel = jnp.matmul(features, features.T, precision=HIGHEST)
    return kernel + penalty * jnp.eye(kernel.shape[0], dtype=kernel.dtype)


def objective(
    problem: InnerProblem,
    tangent: Tangent,
    labels: Float[Array, "m c"] | None = None,
    key: Key[Array, ""] | None = None,
) -> Scalar:
    """Return the inner objective at omega, with the readout at its optimum.

    ``L = [ 1/2 ||R - K alpha||^2 + l2/2 ( tr(alpha^T K alpha) + ||omega||^2 ) ] / (m C)``
    with ``R = Y - J omega`` and ``alpha = (K + l2 I)^-1 R``. As ``R - K alpha = l2 alpha``,
    the first two terms are ``l2/2 tr(R^T alpha)``. With labels 0 in place of the problem's
    the value is ``1/2 omega^T H omega`` with the Hessian H.
    """
    target = problem.labels if labels is None else labels
    residual = target - problem.outputs(tangent, key)
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

    ``l2 ( <omega, v> - tr(alpha^T J v) ) / (m C)``, the derivative of :func:`objective`,
    with the linearised logits ``change = J omega`` and ``change_along = J v``.

    Source: docs/algorithms.md, section 4.3, step (iv).
    """
    dual = dual_weights(features, penalty, labels - change)
    slope = inner_product - jnp.sum(dual * change_along)
    return penalty * slope / labels.size


def descend(
    loss: Callable[[Tangent, Key[Array, ""]], Scalar],
    start: Tangent,
    *,
    rate: Number,
    steps: int,
    key: Key[Array, ""],
) -> Descent:
    """Return where a freshly started Adam ends after some steps, each with its own key.

    Source: docs/algorithms.md, sections 4.3 and 8 ("use a fresh Adam per inner run").
    """
    # The tiny number keeps the root differentiable where a gradient is exactly 0.
    adam: Any = optax.adam(rate, eps_root=1e-30)

    def body(carry: PyTree, step_key: Key[Array, ""]) -> tuple[PyTree, Scalar]:
        point, moments = carry
        value, gradient = jax.value_and_grad(loss)(point, step_key)
        updates, moments = adam.update(gradient, moments)
        return (jax.tree.map(jnp.add, point, updates), moments), value

    keys = jax.random.split(key, steps)
    (point, _), losses = jax.lax.scan(body, (start, adam.init(start)), keys)
    return Descent(point, jnp.append(losses, loss(point, key)))


def tuned_rate(
    run: Callable[[Scalar], Descent], start: Number, is_wanted: Bool[Array, ""]
) -> Scalar:
    """Return a learning rate at which a run is likely to lower its loss at every step.

    From ``start``, times 1.2 while it does; times 1.2 and .7, which is .84, at the first
    rate at which it does not: about the last good one. Where it is not wanted, ``start``,
    and nothing is run.

    Source: docs/algorithms.md, section 4.3, "lr auto-tuning".
    """

    def goes_on(carry: PyTree) -> Bool[Array, ""]:
        _, tries, is_good = carry
        return is_good & (tries < _MOST_TRIES)

    def body(carry: PyTree) -> PyTree:
        rate, tries, _ = carry
        is_good = run(rate).is_monotone
        return rate * jnp.where(is_good, 1.2, 1.2 * 0.7), tries + 1, is_good

    carry = (jnp.asarray(start), jnp.zeros((), jnp.int32), is_wanted)
    return jax.lax.while_loop(goes_on, body, carry)[0]


def capped(implicit: Array, direct: Array) -> Array:
    """Return the implicit gradient of a leaf, no longer than the direct one, without NaN.

    Source: docs/algorithms.md, section 4.3, step (v).
    """
    size, most = jnp.linalg.norm(implicit.ravel()), jnp.linalg.norm(direct.ravel())
    shrunk = implicit * jnp.where(size > most, most / size, 1)
    return jnp.nan_to_num(shrunk, nan=0.0, posinf=0.0, neginf=0.0)


def inner_product(one: Tangent, other: Tangent) -> Scalar:
    """Return the inner product of two tangents, []."""
    products = (jnp.sum(a * b) for a, b in zip(one, other, strict=True))
    return jnp.asarray(sum(products))


def _moving(base: Base) -> Tangent:
    """Return the parameters that have a tangent: all but the dense kernel."""
    leaves = jax.tree.leaves(base.params)
    return tuple(leaf for index, leaf in enumerate(leaves) if index != base.head)


def _forward(base: Base, images: Float[Array, "m h w ch"]) -> Callable:
    """Return logits and features as a function of the parameters that have a tangent."""
    leaves, structure = jax.tree.flatten(base.params)

    def run(moving: Tangent) -> tuple[Array, Array]:
        parts = [*moving[: base.head], leaves[base.head], *moving[base.head :]]
        params = jax.tree.unflatten(structure, parts)
        output = base.network.apply(params, base.state, images)
        return output.logits, output.features

    return run
