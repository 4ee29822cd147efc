"""What a distilled set is worth to a kernel predictor with random features.

The kernel of many random networks estimates that of an infinitely wide one (NNGP). It
stands in for the exact kernels of RFAD's evaluation: the library that computes them
does not import under the JAX that this toolkit runs on.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.evaluation.evaluation import check_fit
from isa_toolkit.networks import Network, NetworkSettings, build
from isa_toolkit.networks.random_features import (
    BIAS_DEVIATION,
    draw_random,
    random_features,
)

__all__ = ["KernelEvaluation", "RandomKernelSettings", "random_kernel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomKernelSettings:
    """How to judge a distilled set by a random-feature kernel.

    Attributes:
        network: architecture; the default is RFAD's at its published width 256.
        networks: random networks in one kernel; the estimate's spread falls as one over
            their root.
        kernels: how many kernels, drawn independently.
        ridge: relative ridge.
        seed: draws the networks.

    Raises:
        ValueError: a value out of its range.

    Source: algorithms 4.4.
    """

    network: NetworkSettings = dataclasses.field(
        default_factory=lambda: NetworkSettings(name="convnet_flat")
    )
    networks: int = 64
    kernels: int = 3
    ridge: float = 5e-3
    seed: int = 0

    def __post_init__(self) -> None:
        checks.check_integer("networks", self.networks)
        checks.check_integer("kernels", self.kernels)
        checks.check_at_least("ridge", self.ridge, 0)
        checks.check_integer("seed", self.seed, minimum=0)


class KernelEvaluation(NamedTuple):
    """Test accuracies of a kernel predictor.

    accuracy: with each kernel, fractions, [k].
    settings: everything that was chosen.
    """

    accuracy: Float[np.ndarray, " k"]
    settings: RandomKernelSettings


def random_kernel(
    distilled: DistilledSet,
    dataset: Dataset,
    settings: RandomKernelSettings | None = None,
    **changes: int | float | NetworkSettings,
) -> KernelEvaluation:
    """Return the test accuracy of kernel ridge regression on a distilled set.

    ``P = K_TS (K_SS + lam I)^-1 Y_S`` with ``K = 2 Phi Phi^T + .01`` of many random
    networks and ``lam = ridge tr(K_SS) / m``; solved in float64.

    Args:
        distilled: the set.
        dataset: whose test images are classified.
        settings: how; None for the published width and ridge.
        changes: settings to replace, by name (``networks=8``).

    Returns:
        The accuracies.

    Raises:
        ValueError: the set and the data do not fit together, or a setting is out of its
            range.

    Source: algorithms 4.4, "RFAD exact-kernel evaluation".
    **Deviation:** an estimate of the NNGP kernel in place of the exact NNGP and NTK.
    """
    settings = dataclasses.replace(settings or RandomKernelSettings(), **changes)
    check_fit(distilled, dataset)
    network = build(
        settings.network,
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
    )
    labels = np.asarray(distilled.labels, np.float64)
    wanted = dataset.test.labels
    accuracies = []
    for key in jax.random.split(jax.random.key(settings.seed), settings.kernels):
        among, across = _kernels(
            key,
            network,
            settings.networks,
            distilled.images,
            dataset.inputs("test"),
        )
        lam = settings.ridge * np.trace(among) / len(among)
        dual = np.linalg.solve(among + lam * np.eye(len(among)), labels)
        accuracies.append(np.mean((across @ dual).argmax(-1) == wanted))
    return KernelEvaluation(np.asarray(accuracies, np.float32), settings)


def _kernels(
    key: Key[Array, ""],
    network: Network,
    count: int,
    distilled: Float[np.ndarray, "m h w ch"],
    target: Float[np.ndarray, "n h w ch"],
) -> tuple[Float[np.ndarray, "m m"], Float[np.ndarray, "n m"]]:
    """Return K_SS and K_TS, one network at a time: features are never kept."""
    support, targets = jnp.asarray(distilled), jnp.asarray(target)

    @jax.jit
    def of_one(key: Key[Array, ""]) -> tuple[Array, Array]:
        drawn = draw_random(key, network, count=1)
        _, state = network.init(key)
        ours = random_features(network, drawn, state, support)
        theirs = random_features(network, drawn, state, targets)
        highest = jax.lax.Precision.HIGHEST
        return (
            jnp.matmul(ours, ours.T, precision=highest),
            jnp.matmul(theirs, ours.T, precision=highest),
        )

    among = np.zeros((len(distilled), len(distilled)))
    across = np.zeros((len(target), len(distilled)))
    for one in jax.random.split(key, count):
        ours, theirs = of_one(one)
        among += np.asarray(ours, np.float64) / count
        across += np.asarray(theirs, np.float64) / count
    constant = BIAS_DEVIATION**2
    return 2 * among + constant, 2 * across + constant
