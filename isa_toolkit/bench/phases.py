"""One FRePo step as research code takes it: a dispatch for each part, each timed.

The parts are the functions that the compiled step is made of, each jitted on its own, so
what the loop saves by being one program is a ratio measured in one process.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from isa_toolkit.bench.steps import TimedLoop
from isa_toolkit.distillation import loop
from isa_toolkit.distillation.sampling import draw, first_order
from isa_toolkit.losses import ridge as ridge_readout
from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.losses.selection import target_loss
from isa_toolkit.methods import FRePo
from isa_toolkit.methods.frepo import OPTIMIZERS
from isa_toolkit.methods.frepo import State as FRePoState
from isa_toolkit.networks.pool import (
    draw_member,
    put_member,
    take_member,
    update_member,
)
from isa_toolkit.networks.precision import frozen_features
from isa_toolkit.networks.training import cosine_decay

__all__ = ["PHASES", "PythonLoop"]

PHASES = (
    "batch",
    "target features",
    "distilled forward",
    "distilled backward",
    "ridge solve",
    "selection and ISA",
    "optimiser",
    "online update",
)


class PythonLoop:
    """FRePo's step, one dispatch at a time.

    Args:
        timed: whose experiment; its state is copied, so both go on from the same point.

    Attributes:
        state: of the method.
        step: steps taken.
        seconds: phase -> seconds on the clock in all steps of ``run(..., timed=True)``.

    Raises:
        TypeError: the experiment's method is not FRePo.
    """

    def __init__(self, timed: TimedLoop) -> None:
        settings = timed.settings
        if not isinstance(settings, FRePo):
            raise TypeError(
                f"method must be FRePo, got {type(settings).__name__}. The phases of "
                "other methods are not taken apart."
            )
        self._parts = _parts(settings, timed)
        self._timed = timed
        self.state: FRePoState = jax.tree.map(jnp.copy, timed.state)
        self.step = timed.step
        self.seconds: dict[str, float] = defaultdict(float)
        self._order = first_order(
            timed.keys.order,
            jnp.asarray(self.step),
            len(timed.targets.labels),
            timed.batch_size,
            "epochs",
        )

    def run(self, steps: int, *, timed: bool = False) -> None:
        """Take steps, and wait for the last.

        Args:
            steps: how many.
            timed: wait for every part and add its time to ``seconds``; the waiting makes
                the whole slower.
        """
        for _ in range(steps):
            self._once(self._watched if timed else _called)
        jax.block_until_ready(self.state)

    def _watched(self, phase: str, part: Callable[..., Any], *given: Any) -> Any:
        began = time.perf_counter()
        result = jax.block_until_ready(part(*given))
        self.seconds[phase] += time.perf_counter() - began
        return result

    def _once(self, call: Callable[..., Any]) -> None:
        parts, timed, state = self._parts, self._timed, self.state
        key, images, labels, self._order = call(
            "batch", parts["batch"], timed.keys, self.step, self._order, timed.targets
        )
        keys = jax.random.split(key, 3)
        member, learner = call("online update", parts["take"], keys[0], state.pool)
        targets = call("target features", parts["targets"], learner, images)
        features, back = call(
            "distilled forward", parts["forward"], learner, state.images
        )
        prediction, ridge_back = call(
            "ridge solve",
            parts["ridge"],
            features,
            state.labels,
            targets,
            timed.traced.settings,
        )
        slope = call(
            "selection and ISA",
            parts["loss"],
            prediction,
            labels,
            targets,
            keys[1],
            timed.traced.settings,
        )
        on_features, on_labels = call("ridge solve", parts["back"], ridge_back, slope)
        (on_images,) = call("distilled backward", parts["back"], back, on_features)
        moved, moved_labels, moments = call(
            "optimiser",
            parts["move"],
            state,
            on_images,
            on_labels,
            timed.traced.settings,
            self.step / timed.traced.steps,
        )
        pool = call(
            "online update",
            parts["online"],
            keys[2],
            state.pool,
            member,
            learner,
            moved,
            moved_labels,
            timed.traced.settings,
        )
        self.state = FRePoState(moved, moved_labels, moments, pool)
        self.step += 1


def _called(_: str, part: Callable[..., Any], *given: Any) -> Any:
    return part(*given)


def _parts(settings: FRePo, timed: TimedLoop) -> dict[str, Callable[..., Any]]:
    """Return the jitted parts of a step."""
    network, classes = timed.network, timed.num_classes

    def batch(
        keys: loop.RunKeys, step: Any, order: Array, targets: loop.Targets
    ) -> Any:
        chosen, order = draw(
            keys.order,
            step,
            order,
            targets.labels,
            drawing="epochs",
            batch_size=timed.batch_size,
            num_classes=classes,
        )
        labels = jax.nn.one_hot(targets.labels[chosen], classes) - 1 / classes
        return (
            jax.random.fold_in(keys.steps, step),
            targets.images[chosen],
            labels,
            order,
        )

    def take(key: Array, pool: PyTree) -> Any:
        member = draw_member(key, pool)
        return member, take_member(pool, member)

    def target_features(learner: Any, images: Array) -> Array:
        return frozen_features(
            network, learner.params, learner.state, images, settings.target_precision
        )

    def forward(learner: Any, images: Array) -> Any:
        def features_of(images: Array) -> Array:
            support = images
            if settings.flips:
                support = jnp.concatenate([images, images[:, :, ::-1]])
            return network.apply(learner.params, learner.state, support).features

        return jax.vjp(features_of, images)

    def ridge(features: Array, labels: Array, targets: Array, knobs: Any) -> Any:
        def predict(features: Array, labels: Array) -> Array:
            support = jnp.concatenate([labels, labels]) if settings.flips else labels
            readout = ridge_readout.readout(features, support, knobs.ridge)
            return ridge_readout.predict(targets, readout.weights)

        return jax.vjp(predict, features, labels)

    def loss(
        prediction: Array, labels: Array, features: Array, key: Array, knobs: Any
    ) -> Array:
        def loss_of(prediction: Array) -> Array:
            return target_loss(
                prediction,
                labels,
                features,
                drop_easy=knobs.drop_easy,
                drop_hard=knobs.drop_hard,
                segment=knobs.segment,
                partner=settings.partner,
                key=key,
                precision=settings.target_precision,
            ).loss

        return jax.grad(loss_of)(prediction)

    def move(
        state: FRePoState,
        on_images: Array,
        on_labels: Array,
        knobs: Any,
        progress: Array,
    ) -> Any:
        if settings.label_margin:
            on_labels = on_labels + jax.grad(label_margin_loss)(state.labels)
        here = (state.images, state.labels)
        rate = cosine_decay(
            progress, peak=knobs.learning_rate, final=knobs.final_learning_rate
        )
        optimizer = OPTIMIZERS[settings.optimizer](rate)
        updates, moments = optimizer.update(
            (on_images, on_labels), state.optimizer, here
        )
        images, labels = optax.apply_updates(here, updates)
        return images, labels, moments

    def online(
        key: Array,
        pool: PyTree,
        member: Array,
        learner: Any,
        images: Array,
        labels: Array,
        knobs: Any,
    ) -> PyTree:
        aged = update_member(
            key,
            network,
            learner,
            images,
            labels,
            learning_rate=knobs.online_learning_rate,
            max_age=settings.max_online_updates,
            batch_size=settings.online_batch_size,
        )
        return put_member(pool, member, aged)

    parts = {
        "batch": batch,
        "take": take,
        "targets": target_features,
        "forward": forward,
        "ridge": ridge,
        "loss": loss,
        "back": lambda pull, slope: pull(slope),
        "move": move,
        "online": online,
    }
    return {name: jax.jit(part) for name, part in parts.items()}
