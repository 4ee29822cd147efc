"""``isa-toolkit evaluate``: train fresh networks on a distilled set and test them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from isa_toolkit.cli.output import log, reason_of, write_result
from isa_toolkit.cli.parsing import DatasetFlags

if TYPE_CHECKING:
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.evaluation import EvaluationSettings
    from isa_toolkit.networks import NetworkSettings


def evaluate(
    path: tyro.conf.Positional[Path],
    data: tyro.conf.OmitArgPrefixes[DatasetFlags],
    protocol: Literal["isa", "frepo", "rcig", "rfad", "dsa", "dc", "published"] = "isa",
    networks: int = 5,
    steps: int | None = None,
    epochs: int | None = None,
    ops: tuple[str, ...] | None = None,
    network: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    norm: str | None = None,
    order: Literal["shuffled", "released"] = "shuffled",
    seed: int = 0,
    ranking: bool = False,
    full_accuracy: float | None = None,
    json: bool = False,
) -> None:
    """Train fresh networks on a distilled set and test them on real images.

    A run folder also gets the result as evaluation.json.

    Examples:
      isa-toolkit evaluate runs/digits-ipc1-frepo-0123abcd
      isa-toolkit evaluate runs/cifar10-ipc10-dm-0123abcd --protocol published

    Args:
        path: Path of a run folder, or of a file that DistilledSet.save wrote.
        data: Data set to test on: that of the distillation, with its options.
        protocol: Recipe of the evaluation: that of ISA, FRePo, RCIG or RFAD, dsa (that of
            DM and MTT), dc or published (that of the set's method).
        networks: Number of fresh networks to train.
        steps: Number of training steps; without it, the published number.
        epochs: Number of epochs of protocols dsa and dc; without it, the published number.
        ops: Names of the augmentation's operations, none for no augmentation; without it,
            those of the protocol.
        network: Name of the architecture to train; without it, that of the protocol.
        width: Number of channels of its first layer; without it, as in the distillation.
        depth: Number of its layers; without it, as in the distillation.
        norm: Normalisation of the network; without it, that of the protocol.
        order: Order of the training samples: shuffled, or released (contiguous blocks in
            storage order).
        seed: Random seed of networks, order and augmentation.
        ranking: Also write DD-Ranking's scores HLR, IOR, LRS and ARS.
        full_accuracy: Test accuracy (a fraction) of networks trained on all training
            images, for HLR; without it, they are trained.
        json: Write JSON to standard output.
    """
    from isa_toolkit.checks import fail
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.evaluation import EvaluationSettings, dd_ranking
    from isa_toolkit.evaluation import evaluate as train_and_test
    from isa_toolkit.files import write_json
    from isa_toolkit.released_sets import loading_options

    is_run = path.is_dir()
    distilled = DistilledSet.load(file_of_set(path, "evaluate"))
    data = dataclasses.replace(data, dataset=data.dataset or _dataset_of(distilled))
    if data.dataset is None:
        raise fail("dataset", "be given for a set without provenance", None)
    real = data.load(**loading_options(distilled.preprocessing))
    settings = EvaluationSettings(
        network=_network(
            distilled, protocol, name=network, width=width, depth=depth, norm=norm
        ),
        networks=networks,
        seed=seed,
        protocol=protocol,
        epochs=epochs,
        ops=ops,
    )
    if steps is not None or order != "shuffled":
        settings = _with_training(
            settings.resolve_for(distilled, real), len(distilled.images), steps, order
        )
    evaluation = train_and_test(distilled, real, settings)
    result: dict[str, Any] = evaluation.to_dict()
    used = evaluation.settings
    lines = [
        f"{real.name}, {len(distilled.images)} distilled images, {networks} networks, "
        f"protocol {used.protocol}, augmentation {' '.join(used.ops or ()) or 'none'}:"
    ]
    for predictor in ("network", "ridge"):
        interval = evaluation.interval(predictor)
        result[f"{predictor}_interval"] = interval._asdict()
        mean = f"  {predictor:<8}{100 * interval.mean:6.2f}"
        lines.append(
            f"{mean} %  (one network gives no interval)"
            if interval.n < 2
            else f"{mean} ± {100 * interval.half_width:.2f} %  "
            f"({interval.level:.0%} interval over {interval.kind})"
        )
    if ranking:
        scores = dd_ranking(distilled, real, settings, full_accuracy=full_accuracy)
        result["ranking"] = scores.to_dict()
        lines.append(f"  {scores!r}")
    kept = path / "evaluation.json" if is_run else None
    if kept is not None:
        try:
            write_json(kept, evaluation.to_dict())
        except OSError as error:
            log(
                f"isa-toolkit: warning: {kept} cannot be written: {reason_of(error)}. The "
                "numbers are only on standard output."
            )
            kept = None
    write_result(result, lines, json=json, kept=kept)


def file_of_set(path: Path, command: str) -> Path:
    """Return the file of a distilled set: itself, or that of a run folder.

    ``command`` is what the sentence of an error suggests to run on a single run.

    Raises:
        InvalidValueError: The path is a folder of several runs; the sentence lists them.
    """
    from isa_toolkit.checks import as_text, fail

    file = path / "distilled.safetensors" if path.is_dir() else path
    runs = sorted(one.parent.name for one in path.glob("*/distilled.safetensors"))
    if runs and not file.exists():
        raise fail(
            str(path),
            "be one run",
            as_text(f"a folder of {len(runs)}: {', '.join(runs)}"),
            f"Try: isa-toolkit {command} {path / runs[0]}",
        )
    return file


def _dataset_of(distilled: DistilledSet) -> str | None:
    experiment = distilled.manifest.get("experiment") or {}
    return (experiment.get("dataset") or {}).get("name")


def _network(distilled: DistilledSet, protocol: str, **given: Any) -> NetworkSettings:
    """Return the protocol's network at the size of the distillation, with changes."""
    from isa_toolkit.evaluation.protocols import network_of, protocol_of
    from isa_toolkit.networks import NetworkSettings

    if protocol == "published":
        protocol = protocol_of(distilled)
    usual = network_of(distilled, protocol)
    changes = {name: value for name, value in given.items() if value is not None}
    if changes.get("name", usual.name) != usual.name:
        return NetworkSettings(**changes)
    return dataclasses.replace(usual, **changes)


def _with_training(
    settings: EvaluationSettings, count: int, steps: int | None, order: str
) -> EvaluationSettings:
    """Return resolved settings with another number of training steps, or another order."""
    from isa_toolkit.networks.training import FitSettings, SGDSettings, dsa_fit

    fit: Any = settings.fit
    wanted: int = fit.steps if steps is None else steps
    changes: dict[str, Any] = {"steps": wanted, "order": order}
    if isinstance(fit, SGDSettings):
        # The decay stays at the same fraction of the steps, here and below.
        fit = dsa_fit(count, learning_rate=fit.learning_rate, steps=wanted)
    elif isinstance(fit, FitSettings):
        changes["final_steps"] = fit.final_steps * wanted // fit.steps
    else:
        del changes["order"]
    return dataclasses.replace(settings, fit=dataclasses.replace(fit, **changes))
