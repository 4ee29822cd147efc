"""Feature spaces to measure in: seeded networks, trained on real or on distilled images.

Maps and recall compare sets in the penultimate features of one network that has seen no
distilled set; it is trained once per data set and settings and stored in the user's cache.
The cross-prediction test reads with a network that has seen no real image.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.environment import cache_folder, kept_or_made
from isa_toolkit.networks import Network, NetworkSettings, build
from isa_toolkit.networks.compilation_cache import cache_once
from isa_toolkit.networks.training import FitSettings, fit

_BATCH_SIZE = 128
_PIECE = 1000


class FeatureSettings(NamedTuple):
    """Which network the features come from, and how it is trained.

    network: Architecture.
    steps: Number of Adam steps.
    seed: Random seed of the weights and of the order of the images.

    Source: ours. The paper's maps and recall name no feature space (docs/algorithms.md,
    section 12).
    """

    network: NetworkSettings
    steps: int
    seed: int = 0


class FeatureNetwork(NamedTuple):
    """A trained network with its weights, normalisation statistics and settings."""

    network: Network
    params: PyTree
    state: PyTree
    settings: FeatureSettings

    def features(self, images: Any) -> Float[np.ndarray, "n d"]:
        """Return the penultimate features of network inputs [n, h, w, ch], float32."""
        images = np.asarray(images, np.float32)
        if images.shape[1:] != self.network.image_shape:
            raise checks.fail(
                "images", f"have the shape {self.network.image_shape}", images.shape[1:]
            )
        forward = _forward(self.network)
        read = []
        for start in range(0, max(len(images), 1), _PIECE):
            piece = images[start : start + _PIECE]
            outputs = forward(self.params, self.state, jnp.asarray(_padded(piece)))
            read.append(np.asarray(outputs.features)[: len(piece)])
        return np.concatenate(read)


def feature_network(dataset: Dataset, settings: FeatureSettings) -> FeatureNetwork:
    """Return a network trained on the real training images, from the cache if it is there.

    The same data and settings give the same numbers on one machine. The user's cache is
    ``ISA_CACHE_DIR``.
    """
    settings, network = _build(dataset, settings)
    shapes = jax.eval_shape(network.init, jax.random.key(0))

    def train() -> dict[str, np.ndarray]:
        inputs, targets = dataset.inputs("train"), dataset.targets("train")
        weights = jax.tree.leaves(_train(network, inputs, targets, settings))
        return {
            f"{index:04d}": np.asarray(leaf, order="C")
            for index, leaf in enumerate(weights)
        }

    name = f"{_digest(dataset, settings, shapes)}.safetensors"
    kept = kept_or_made(cache_folder() / "features" / name, train)
    leaves = [jnp.asarray(kept[index]) for index in sorted(kept)]
    params, state = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return FeatureNetwork(network, params, state, settings)


def distilled_network(
    distilled: DistilledSet, dataset: Dataset, settings: FeatureSettings
) -> FeatureNetwork:
    """Return a feature network trained on a distilled set, anew at each call."""
    settings, network = _build(dataset, settings)
    params, state = _train(network, distilled.images, distilled.labels, settings)
    return FeatureNetwork(network, params, state, settings)


def _build(
    dataset: Dataset, settings: FeatureSettings
) -> tuple[FeatureSettings, Network]:
    """Return the resolved settings and their network."""
    settings = settings._replace(network=settings.network.resolve(dataset.image_shape))
    network = build(
        settings.network,
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
    )
    return settings, network


def _train(
    network: Network, images: Any, labels: Any, settings: FeatureSettings
) -> tuple[PyTree, PyTree]:
    training = FitSettings(
        steps=settings.steps,
        batch_size=min(_BATCH_SIZE, len(labels)),
        learning_rate=1e-3,
        warmup_steps=settings.steps // 20,
    )
    key = jax.random.key(settings.seed)
    return _fit(key, network, jnp.asarray(images), jnp.asarray(labels), training)


_fit = jax.jit(fit, static_argnames="network")


@cache_once
def _forward(network: Network) -> Any:
    return jax.jit(network.apply)


def _padded(piece: np.ndarray) -> np.ndarray:
    """Return the piece with its length rounded up, so that few programs serve all."""
    size = 1
    while size < len(piece):
        size *= 4
    missing = min(size, _PIECE) - len(piece)
    return np.pad(piece, ((0, missing), (0, 0), (0, 0), (0, 0)))


def _digest(dataset: Dataset, settings: FeatureSettings, shapes: PyTree) -> str:
    description = {
        "data": dataset.fingerprint,
        "preprocessing": dataset.preprocessing.fingerprint,
        "settings": {
            **settings._asdict(),
            "network": dataclasses.asdict(settings.network),
        },
        "weights": str(shapes),
    }
    text = json.dumps(description, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
