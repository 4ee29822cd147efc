"""Feature spaces to measure in: seeded networks, trained on real or on distilled images.

Maps and recall compare sets in the penultimate features of one network that no distilled
set has touched; it is trained once per data set and settings and kept in the user's cache.
The information test reads with a network that no real image has touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from isa_toolkit import checks
from isa_toolkit.datasets import Dataset
from isa_toolkit.datasets.cache import cache_folder, kept_or_made
from isa_toolkit.distilled import DistilledSet
from isa_toolkit.files import write_atomically
from isa_toolkit.networks import Network, NetworkSettings, build
from isa_toolkit.networks.training import FitSettings, fit

__all__ = ["FeatureNetwork", "FeatureSettings", "distilled_network", "feature_network"]

_PIECE = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Which network the features come from, and how it is trained.

    Attributes:
        network: architecture; the published ConvNet without normalisation.
        steps: Adam steps on the real training images.
        batch_size: images per step.
        learning_rate: peak of warm-up and cosine.
        seed: of its weights and of the order of the images.

    Raises:
        ValueError: a value out of its range.

    Source: ours. The paper's maps and recall name no feature space (algorithms 12).
    """

    network: NetworkSettings = dataclasses.field(
        default_factory=lambda: NetworkSettings(width=32, norm="none")
    )
    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        checks.check_integer("feature steps", self.steps)
        checks.check_integer("feature batch_size", self.batch_size)
        checks.check_positive("feature learning_rate", self.learning_rate)
        checks.check_integer("feature seed", self.seed, minimum=0)


class FeatureNetwork(NamedTuple):
    """A trained network, to read penultimate features with.

    network: the architecture.
    params: its weights.
    state: its normalisation statistics, if any.
    settings: how it was trained, resolved.
    """

    network: Network
    params: PyTree
    state: PyTree
    settings: FeatureSettings

    def features(self, images: Any) -> Float[np.ndarray, "n d"]:
        """Return the penultimate features of network inputs.

        Args:
            images: preprocessed images, [n, h, w, ch].

        Returns:
            float32 [n, d].
        """
        return self._read(images, "features")

    def logits(self, images: Any) -> Float[np.ndarray, "n c"]:
        """Return the class scores of network inputs.

        Args:
            images: preprocessed images, [n, h, w, ch].

        Returns:
            float32 [n, c].
        """
        return self._read(images, "logits")

    def _read(self, images: Any, what: str) -> np.ndarray:
        images = np.asarray(images, np.float32)
        if images.shape[1:] != self.network.image_shape:
            raise checks.fail(
                "images", f"have the shape {self.network.image_shape}", images.shape[1:]
            )
        forward = _forward(self.network)
        made = [
            np.asarray(
                getattr(
                    forward(self.params, self.state, jnp.asarray(_padded(piece))), what
                )
            )[: len(piece)]
            for piece in _pieces(images)
        ]
        return np.concatenate(made)


def feature_network(
    dataset: Dataset,
    settings: FeatureSettings | None = None,
    *,
    folder: str | Path | None = None,
) -> FeatureNetwork:
    """Return a network trained on the real training images, from the cache if it is there.

    Args:
        dataset: the data.
        settings: which network and how long.
        folder: of the kept networks; None for the user's cache (``ISA_CACHE_DIR``).

    Returns:
        The network; the same numbers for the same data and settings on one machine.

    Raises:
        ValueError: the network does not fit the images.
    """
    settings = settings or FeatureSettings()
    settings = dataclasses.replace(
        settings, network=settings.network.resolve(dataset.image_shape)
    )
    network = build(
        settings.network,
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
    )
    where = cache_folder() / "features" if folder is None else Path(folder)
    shapes = jax.eval_shape(network.init, jax.random.key(0))

    def read(path: Path) -> tuple[PyTree, PyTree]:
        return _read_weights(path, shapes)

    params, state = kept_or_made(
        where / f"{_digest(dataset, settings)}.safetensors",
        read,
        lambda: _train(
            network, dataset.inputs("train"), dataset.targets("train"), settings
        ),
        _write_weights,
    )
    return FeatureNetwork(network, params, state, settings)


def distilled_network(
    distilled: DistilledSet, dataset: Dataset, settings: FeatureSettings | None = None
) -> FeatureNetwork:
    """Return a network trained on a distilled set, as FRePo's readers are.

    Args:
        distilled: the set.
        dataset: that it stands for.
        settings: which network and how long.

    Returns:
        The network, trained anew at each call.

    Raises:
        ValueError: the network does not fit the images.
    """
    settings = settings or FeatureSettings()
    settings = dataclasses.replace(
        settings, network=settings.network.resolve(dataset.image_shape)
    )
    network = build(
        settings.network,
        image_shape=dataset.image_shape,
        num_classes=dataset.num_classes,
    )
    params, state = _train(network, distilled.images, distilled.labels, settings)
    return FeatureNetwork(network, params, state, settings)


def _train(
    network: Network, images: Any, labels: Any, settings: FeatureSettings
) -> tuple[PyTree, PyTree]:
    fit_settings = FitSettings(
        steps=settings.steps,
        batch_size=min(settings.batch_size, len(labels)),
        learning_rate=settings.learning_rate,
        warmup_steps=settings.steps // 20,
    )
    return _fit(network)(
        jax.random.key(settings.seed),
        jnp.asarray(images),
        jnp.asarray(labels),
        fit_settings,
    )


@cache
def _fit(network: Network) -> Any:
    return jax.jit(
        lambda key, images, labels, settings: fit(
            key, network, images, labels, settings
        )
    )


@cache
def _forward(network: Network) -> Any:
    return jax.jit(network.apply)


def _pieces(images: np.ndarray) -> list[np.ndarray]:
    starts = range(0, max(len(images), 1), _PIECE)
    return [images[at : at + _PIECE] for at in starts]


def _padded(piece: np.ndarray) -> np.ndarray:
    """Return the piece with its length rounded up, so that few programs serve all."""
    size = 1
    while size < len(piece):
        size *= 4
    missing = min(size, _PIECE) - len(piece)
    return np.pad(piece, ((0, missing), (0, 0), (0, 0), (0, 0)))


def _digest(dataset: Dataset, settings: FeatureSettings) -> str:
    told = {
        "data": dataset.fingerprint,
        "preprocessing": dataset.preprocessing.fingerprint,
        "settings": dataclasses.asdict(settings),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _write_weights(weights: tuple[PyTree, PyTree], path: Path) -> None:
    from safetensors.numpy import save

    leaves = {
        f"{place:04d}": np.asarray(leaf, order="C")
        for place, leaf in enumerate(jax.tree.leaves(weights))
    }
    write_atomically(path, save(leaves))


def _read_weights(path: Path, shapes: Any) -> tuple[PyTree, PyTree]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        stored = load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}.") from error
    expected, structure = jax.tree.flatten(shapes)
    leaves = [stored.get(f"{place:04d}") for place in range(len(expected))]
    for leaf, shape in zip(leaves, expected, strict=True):
        if leaf is None or leaf.shape != shape.shape or leaf.dtype != shape.dtype:
            raise ValueError(f"{path} holds another network.")
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
