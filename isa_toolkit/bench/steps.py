"""The compiled loop of an experiment, ready to be timed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from isa_toolkit.distillation import Experiment, loop
from isa_toolkit.methods import method_of
from isa_toolkit.networks import build

__all__ = ["TimedLoop"]


class TimedLoop:
    """A loop with its state; each ``run`` takes some steps further.

    Attributes:
        settings: of the method, resolved.
        network: of the distillation.
        traced: traced numbers.
        keys: of seed ``experiment.seed``.
        targets: real images, on the device.
        batch_size: real images per step.
        num_classes: c.
        state: of the method.
        step: steps taken.
    """

    def __init__(self, experiment: Experiment) -> None:
        resolved = experiment.resolve()
        settings, data = resolved.settings, resolved.train
        self.settings = settings.method
        self.network = build(
            resolved.network,
            image_shape=data.image_shape,
            num_classes=data.num_classes,
        )
        method = method_of(settings.method)
        self.keys = loop.run_keys(settings.seed)
        self.traced = loop.traced(settings.method, steps=settings.steps)
        self.batch_size, self.num_classes = resolved.batch_size, data.num_classes
        self.chunk = loop.chunk(
            method,
            self.network,
            num_classes=data.num_classes,
            batch_size=resolved.batch_size,
        )
        self.targets = loop.targets(data, drawing=resolved.drawing)
        self.state = loop.first_state(method, self.network)(
            self.traced.settings,
            self.keys.networks,
            *_first_images(data, settings.images_per_class),
        )
        self.step = 0

    def run(self, steps: int) -> None:
        """Take steps, and wait for them.

        Args:
            steps: at most ``loop.RECORD_LENGTH``.

        Raises:
            FloatingPointError: a step was not finite, so its time means nothing.
        """
        result = self.chunk(
            self.keys, self.state, self.targets, self.traced, self.step, steps
        )
        jax.block_until_ready(result)
        self.state, done = result.state, int(result.done)
        self.step += done
        if done < steps:
            raise FloatingPointError(
                f"step {self.step} of what is measured is not finite. Lower the "
                "learning rate"
            )

    def lowered(self) -> Any:
        """Return the loop's program, lowered and not compiled."""
        jitted: Any = self.chunk
        return jitted.lower(
            self.keys, self.state, self.targets, self.traced, self.step, 1
        )


def _first_images(data: Any, count: int) -> tuple[PyTree, PyTree]:
    """Return the first real images of each class, with centred one-hot labels."""
    images = np.concatenate(
        [
            data.inputs("train")[data.train.labels == label][:count]
            for label in range(data.num_classes)
        ]
    )
    labels = np.repeat(np.eye(data.num_classes, dtype=np.float32), count, axis=0)
    return jnp.asarray(images), jnp.asarray(labels - 1 / data.num_classes)
