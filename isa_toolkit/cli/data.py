"""``isa-toolkit data``: load a data set, prepare its whitening, describe it."""

from __future__ import annotations

import tyro

from isa_toolkit.cli.output import write_result
from isa_toolkit.cli.parsing import DatasetFlags

_SHOWN_CLASSES = 20


def data(
    data: tyro.conf.OmitArgPrefixes[DatasetFlags],
    json: bool = False,
) -> None:
    """Load a data set and describe it.

    Examples:
      isa-toolkit data --dataset digits
      isa-toolkit data --dataset my-images --root path/to/class/folders

    Args:
        data: Data set.
        json: Write JSON to standard output.
    """
    import numpy as np

    dataset = data.load()
    counts = {
        name: np.bincount(split.labels, minlength=dataset.num_classes).tolist()
        for name, split in (("train", dataset.train), ("test", dataset.test))
    }
    classes = {
        name: {"train": train, "test": test}
        for name, train, test in zip(
            dataset.class_names, counts["train"], counts["test"], strict=True
        )
    }
    preprocessing = dataset.preprocessing.describe()
    result = {
        "name": dataset.name,
        "image_shape": dataset.image_shape,
        "train": sum(counts["train"]),
        "test": sum(counts["test"]),
        "classes": classes,
        "preprocessing": preprocessing,
        "provenance": dataset.provenance,
        "fingerprint": dataset.fingerprint,
    }
    lines = [
        f"{dataset.name}: {result['train']} training and {result['test']} test images "
        f"of {'x'.join(map(str, dataset.image_shape))}, {len(classes)} classes",
        f"  {'class':<20}{'train':>8}{'test':>8}",
        *(
            f"  {name:<20}{count['train']:>8}{count['test']:>8}"
            for name, count in list(classes.items())[:_SHOWN_CLASSES]
        ),
    ]
    if len(classes) > _SHOWN_CLASSES:
        lines.append(f"  ... and {len(classes) - _SHOWN_CLASSES} more")
    lines += [f"  {note}" for note in dataset.notes]
    described = ", ".join(f"{name} {value}" for name, value in preprocessing.items())
    write_result(result, [*lines, f"preprocessing: {described}"], json=json)
