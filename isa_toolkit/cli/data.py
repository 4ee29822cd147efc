"""``isa-toolkit data``: load a data set, prepare its whitening, say what is in it."""

from __future__ import annotations

import dataclasses

import tyro

from isa_toolkit.cli.common import DatasetOptions, parse, write_result

__all__ = ["DataOptions", "run"]


@dataclasses.dataclass
class DataOptions:
    """Options of the command.

    Attributes:
        data: which data.
        json: write JSON to standard output.
    """

    data: tyro.conf.OmitArgPrefixes[DatasetOptions] = dataclasses.field(
        default_factory=lambda: DatasetOptions(dataset="digits")
    )
    json: bool = False


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    options = parse(
        DataOptions, "data", words, "Load a data set and say what is in it."
    )
    import numpy as np

    from isa_toolkit.datasets import load_dataset

    which = options.data
    dataset = load_dataset(
        str(which.dataset), source=which.source, root=which.root, limit=which.limit
    )
    classes = range(dataset.num_classes)
    counts = {
        name: np.bincount(split.labels, minlength=dataset.num_classes)
        for name, split in (("train", dataset.train), ("test", dataset.test))
    }
    result = {
        "name": dataset.name,
        "image_shape": dataset.image_shape,
        "train": len(dataset.train.labels),
        "test": len(dataset.test.labels),
        "classes": {
            dataset.class_names[c]: {k: int(v[c]) for k, v in counts.items()}
            for c in classes
        },
        "preprocessing": dataset.preprocessing.describe(),
        "provenance": dataset.provenance,
        "fingerprint": dataset.fingerprint,
    }
    shape = "x".join(map(str, dataset.image_shape))
    described = result["preprocessing"]
    lines = [
        f"{dataset.name}: {result['train']} training and {result['test']} test images "
        f"of {shape}, {dataset.num_classes} classes",
        *(
            f"  {dataset.class_names[c]:<20}{counts['train'][c]:>8}{counts['test'][c]:>8}"
            for c in list(classes)[:20]
        ),
        *([f"  ... and {dataset.num_classes - 20} more"] * (dataset.num_classes > 20)),
        "preprocessing: "
        + ", ".join(f"{key} {value}" for key, value in described.items()),
    ]
    write_result(result, lines, as_json=options.json)
    return 0
