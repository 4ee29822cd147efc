"""The expert buffer of MTT: networks trained on real images, a snapshot per epoch.

Plain SGD on cross-entropy under DSA's augmentation. Crucial samples and ISA can be part of
that training: the easy samples of each minibatch are dropped, and the loss is averaged
along a segment of the penultimate features. That is our reading (P1 of docs/algorithms.md,
section 10); the paper gives no formulas for MTT.

Experts are trained once and written in parts of ten to a folder that is named by the hash
of everything that their numbers depend on. A part is a safetensors file that is there whole
or not at all, so the training can be cancelled and resumed at any time, and processes that
need the same experts divide the parts among them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from isa_toolkit import checks
from isa_toolkit.datasets.augmentation import augment
from isa_toolkit.files import write_atomically, write_json
from isa_toolkit.losses.selection import Partner, target_loss
from isa_toolkit.methods.base import as_arrays, static
from isa_toolkit.networks.base import Network, NetworkOutput, count_parameters
from isa_toolkit.networks.training import start_training, train_step

# Experts of one part: trained in one call, and lost if it is interrupted.
_PART = 10
_POLL_S = 0.2


@checks.suggest_keywords
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertSettings:
    """How each expert is trained: SGD, with the selection and segment of ``target_loss``.

    ``ops`` are the operations of DSA's augmentation.
    """

    learning_rate: float
    drop_easy: float = 0.0
    drop_hard: float = 0.0
    segment: tuple[float, float] = (0.0, 0.0)
    partner: Partner = static("none")
    batch_size: int = static(256)
    ops: tuple[str, ...] = static(())


def expert_loss(
    settings: ExpertSettings,
    output: NetworkOutput,
    labels: Float[Array, "n c"],
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Return the cross-entropy of a minibatch, with crucial samples and ISA, [].

    The logits are affine in the penultimate features, so their segment is mixing there.

    Source: ours, P1 of docs/algorithms.md, section 10. With partner ``"none"`` and nothing
    dropped: the experts of section 4.6.
    """
    return target_loss(
        output.logits,
        labels,
        output.features,
        loss="cross_entropy",
        drop_easy=settings.drop_easy,
        drop_hard=settings.drop_hard,
        segment=settings.segment,
        partner=settings.partner,
        key=key,
    ).loss


@partial(jax.jit, static_argnums=1)
def _epoch(
    settings: ExpertSettings,
    network: Network,
    keys: Key[Array, " e"],
    flats: Float[Array, "e p"],
    number: Int[Array, ""],
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
) -> Float[Array, "e p"]:
    """Return flat parameters of experts after one epoch."""
    unravel, norms = unravel_of(network)
    count = images.shape[0]
    first = number * (count // settings.batch_size)
    optimizer = optax.sgd(settings.learning_rate)

    def loss_of(
        flat: Float[Array, " p"], state: PyTree, batch: Any, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree]:
        augment_key, partner_key = jax.random.split(key)
        inputs = augment(augment_key, batch[0], ops=settings.ops, kind="dsa")
        output = network.apply(unravel(flat), norms, inputs, train=True)
        return expert_loss(settings, output, batch[1], partner_key), state

    def one(key: Key[Array, ""], flat: Float[Array, " p"]) -> Float[Array, " p"]:
        _, order_key, noise_key = jax.random.split(key, 3)
        step = train_step(
            loss_of,
            optimizer,
            (images, labels),
            order_key=order_key,
            noise_key=noise_key,
            batch_size=settings.batch_size,
        )
        start = start_training(flat, {}, optimizer, count)
        last = first + count // settings.batch_size
        return jax.lax.fori_loop(first, last, step, start).params

    # On the CPU grouped convolutions are slow: one expert after the other.
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda each: one(*each), (keys, flats))
    return jax.vmap(one)(keys, flats)


@partial(jax.jit, static_argnums=0)
def _first_parameters(network: Network, keys: Key[Array, " e"]) -> Float[Array, "e p"]:
    return jax.vmap(
        lambda key: ravel_pytree(network.init(jax.random.split(key, 3)[0])[0])[0]
    )(keys)


def train_experts(
    settings: ExpertSettings,
    network: Network,
    keys: Key[Array, " e"],
    images: Float[Array, "n h w ch"],
    labels: Float[Array, "n c"],
    *,
    epochs: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "e s p"]:
    """Return flat parameters of freshly drawn networks before and after every epoch, [e, s, p].

    The key of an expert gives its first weights, order and augmentation; ``labels`` are
    centred. s = epochs + 1 snapshots, p in the order of ``ravel_pytree``.
    ``check_cancelled`` is called after every epoch; it may raise to end the training.

    Source: docs/algorithms.md, section 4.6, "Experts": no momentum, no weight decay,
    no decay of the learning rate.
    **Deviation:** what is left over after full minibatches is left out of an epoch.
    """
    settings = as_arrays(settings)
    flats = _first_parameters(network, keys)
    snapshots = [np.asarray(flats)]
    for number in range(epochs):
        flats = _epoch(
            settings, network, keys, flats, jnp.int32(number), images, labels
        )
        snapshots.append(np.asarray(flats))
        check_cancelled()
    return np.stack(snapshots, axis=1)


def unravel_of(network: Network) -> tuple[Callable[[Array], PyTree], PyTree]:
    """Return the function from flat parameters to the network's, and a blank state."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params, norms = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return ravel_pytree(params)[1], norms


def flat_size(network: Network) -> int:
    """Return p, the number of parameters of a network."""
    return count_parameters(jax.eval_shape(network.init, jax.random.key(0))[0])


def load_or_train_experts(
    settings: ExpertSettings,
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    cache_folder: Path,
    *,
    count: int,
    epochs: int,
    snapshots: int,
    seed: int,
    progress: bool | None = False,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "e s p"]:
    """Return the experts of a training set, [e, s, p]; missing ones are trained first.

    ``labels`` are class indices. Expert i of ``count`` is drawn from ``fold_in(key(seed), i)``;
    later snapshots than are asked for are on the disk, too. ``check_cancelled`` is called
    every few seconds; what it raises ends the training, and whole parts are kept.

    Source: docs/algorithms.md, section 4.6.
    """
    import tqdm.auto

    size = min(settings.batch_size, len(images))
    settings = dataclasses.replace(settings, batch_size=size)
    description = _describe(
        settings, network, images, labels, count=count, epochs=epochs, seed=seed
    )
    text = json.dumps(description, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    folder = cache_folder / f"experts-{digest[:16]}"
    root = jax.random.key(seed)

    def train(start: int) -> np.ndarray:
        numbers = np.arange(start, min(start + _PART, count))
        classes = jax.nn.one_hot(jnp.asarray(labels), network.num_classes)
        return train_experts(
            settings,
            network,
            jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers),
            jnp.asarray(images),
            classes - 1 / network.num_classes,
            epochs=epochs,
            check_cancelled=check_cancelled,
        )

    starts = range(0, count, _PART)
    parts: dict[int, np.ndarray] = {}
    disable = None if progress is None else not progress
    with tqdm.auto.tqdm(
        total=len(starts), desc="experts", unit="part", disable=disable
    ) as bar:
        while len(parts) < len(starts):
            before = len(parts)
            for index, start in enumerate(starts):
                if index in parts:
                    continue
                part = _load_or_make(
                    folder, index, description, partial(train, start), check_cancelled
                )
                if part is not None:
                    parts[index] = part[:, :snapshots]
                    bar.update()
                    check_cancelled()
            if len(parts) == before:  # other processes train the missing ones
                time.sleep(_POLL_S)
                check_cancelled()
    return np.concatenate([parts[index] for index in sorted(parts)])


def _describe(
    settings: ExpertSettings,
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    **numbers: int,
) -> dict[str, Any]:
    """Return everything that experts depend on, JSON-able."""
    digest = hashlib.sha256()
    for array in (images, labels):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    shapes = {
        jax.tree_util.keystr(path): list(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    return {
        "data": digest.hexdigest(),
        "network": {
            "name": network.name,
            "image_shape": list(network.image_shape),
            "parameters": shapes,
        },
        **dataclasses.asdict(settings),
        **numbers,
    }


def _load_or_make(
    folder: Path,
    index: int,
    description: dict[str, Any],
    make: Callable[[], np.ndarray],
    check_cancelled: Callable[[], None],
) -> np.ndarray | None:
    """Return a part, or None while another process makes it."""
    from filelock import FileLock, Timeout
    from safetensors.numpy import save

    path = folder / f"{index:04d}.safetensors"
    array = _load(path)
    if array is not None:
        return array
    check_cancelled()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{index:04d}.lock", blocking=False):
            # Another process may have made it meanwhile.
            array = _load(path, warn=False)
            if array is None:
                if not (folder / "description.json").exists():
                    write_json(folder / "description.json", description)
                # safetensors writes memory in its order, whatever the strides.
                array = np.ascontiguousarray(make())
                write_atomically(path, save({"parameters": array}))
            return array
    except Timeout:
        return None


def _load(path: Path, *, warn: bool = True) -> np.ndarray | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        return None
    try:
        return load_file(path)["parameters"]
    except SafetensorError:
        if warn:
            warnings.warn(
                f"The file {path} is damaged; it is made again.",
                RuntimeWarning,
                stacklevel=3,
            )
        return None
