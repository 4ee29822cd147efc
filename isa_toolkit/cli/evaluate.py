"""``isa-toolkit evaluate``: train fresh networks on a distilled set and test them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from isa_toolkit.cli.common import DatasetOptions, parse, say, write_result

__all__ = ["EvaluateOptions", "run"]


@dataclasses.dataclass
class EvaluateOptions:
    """Options of the command.

    Attributes:
        path: a run folder, or a file that DistilledSet.save wrote.
        data: which data to test on.
        protocol: isa, frepo, rcig, rfad, dsa (that of DM and MTT) or published (that of the
            set's method).
        epochs: of protocol dsa; 1000 as published, fewer for quick looks.
        network: architecture to train; the protocol's published one if left out.
        width: channels of its first layer; as in the distillation if left out.
        depth: its layers; as in the distillation if left out.
        norm: its normalisation; none for the ConvNet, as published.
        networks: how many fresh networks.
        steps: training steps; the published number if left out.
        order: shuffled, or released (contiguous blocks in storage order).
        seed: of networks, order and augmentation.
        json: write JSON to standard output.
    """

    path: Annotated[Path, tyro.conf.Positional]
    data: tyro.conf.OmitArgPrefixes[DatasetOptions] = dataclasses.field(
        default_factory=DatasetOptions
    )
    protocol: str = "isa"
    epochs: int = 1000
    network: str | None = None
    width: int | None = None
    depth: int | None = None
    norm: str | None = None
    networks: int = 5
    steps: int | None = None
    order: str = "shuffled"
    seed: int = 0
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        EvaluateOptions,
        "evaluate",
        words,
        "Train fresh networks on a distilled set and test them on real images.",
    )
    return _evaluate(options)


def _evaluate(options: Any) -> int:
    from isa_toolkit.checks import check_one_of, fail
    from isa_toolkit.datasets import load_dataset
    from isa_toolkit.distilled import DistilledSet
    from isa_toolkit.evaluation import EvaluationSettings, RFADSettings, evaluate
    from isa_toolkit.evaluation.protocols import (
        PROTOCOLS,
        default_network,
        protocol_of,
    )
    from isa_toolkit.files import write_json
    from isa_toolkit.networks import NetworkSettings
    from isa_toolkit.networks.training import SGDSettings, dsa_fit

    path = options.path
    is_run = path.is_dir()
    distilled = DistilledSet.load(path / "distilled.safetensors" if is_run else path)
    which = options.data
    name = which.dataset or _dataset_of(distilled)
    if name is None:
        raise fail("--dataset", "be named for a set without provenance", None)
    dataset = load_dataset(
        name, source=which.source, root=which.root, limit=which.limit
    )
    protocol = check_one_of("--protocol", options.protocol, PROTOCOLS)
    if protocol == "published":
        protocol = protocol_of(distilled)
    usual = default_network(protocol)
    made_with = distilled.manifest.get("network") or {}
    is_same = options.network in (None, usual.name)
    network = NetworkSettings(
        name=options.network or usual.name,
        width=_first(options.width, made_with.get("width") if is_same else None),
        depth=_first(options.depth, made_with.get("depth") if is_same else None),
        norm=options.norm or (usual.norm if is_same else None),
    )
    count = len(distilled.images)
    settings = EvaluationSettings(
        network=network,
        networks=options.networks,
        seed=options.seed,
        protocol=options.protocol,
        epochs=options.epochs,
    )
    if options.steps is not None or options.order != "shuffled":
        fit = settings.resolve_for(distilled, dataset).fit
        assert fit is not None
        steps = _first(options.steps, fit.steps)
        if isinstance(fit, SGDSettings):
            fit = dsa_fit(count, learning_rate=fit.learning_rate, steps=steps)
        fit = dataclasses.replace(fit, steps=steps)
        if not isinstance(fit, RFADSettings):
            fit = dataclasses.replace(fit, order=options.order)
        settings = dataclasses.replace(settings, fit=fit)
    evaluation = evaluate(distilled, dataset, settings)
    result = evaluation.to_dict()
    lines = [f"{dataset.name}, {count} distilled images, {options.networks} networks:"]
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
    write_result(result, lines, as_json=options.json)
    if is_run:
        try:
            write_json(path / "evaluation.json", evaluation.to_dict())
        except OSError as error:
            reason = error.strerror or str(error)
            say(
                f"isa-toolkit: warning: {path / 'evaluation.json'} cannot be written: "
                f"{reason}. The numbers above are all there is."
            )
    return 0


def _first(asked: Any, usual: Any) -> Any:
    """Return what was asked for, also a 0, for the checks to speak of."""
    return usual if asked is None else asked


def _dataset_of(distilled: Any) -> str | None:
    experiment = distilled.manifest.get("experiment") or {}
    return (experiment.get("dataset") or {}).get("name")
