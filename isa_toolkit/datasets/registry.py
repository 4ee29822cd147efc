"""The data sets known by name: ``registry.toml``, one table per data set."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib import resources
from typing import Any, Literal

Whitening = Literal["standardise", "zca", "mtt_zca", "rfad_zca", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known of a data set before a file is read.

    Attributes:
        name: Name that ``load_dataset`` takes.
        num_classes: Number of classes.
        resolution: Side of the square images in pixels, after any resize.
        channels: Number of channels, 1 or 3; grey files of a three-channel set are
            repeated to RGB.
        train_count: Number of training images of the whole set.
        test_count: Number of test images of the whole set.
        whitening: ``"standardise"`` or ``"zca"`` (in blocks above 64 pixels).
        mean: Channel means of the training pixels in [0, 1]; None measures them.
        std: Channel standard deviations of the same; None measures them.
        class_names: Names of the classes in label order; empty takes them from the files.
        is_resized: Whether files vary in size, so that the central square is cropped and
            resized by area.
        hub_id: Repository on the Hugging Face Hub; None where no parquet copy is known.
        hub_revision: Commit that is read unless the user names another.
        hub_train: Pattern of the training files in that repository.
        hub_test: Pattern of the test files.
        label_columns: Names of parquet columns tried for the labels, in order.
        test_splits: Names of the split used for testing, in order of preference.
        config: Folder to choose where a repository holds several versions of the set.
        note: Difference from the set of the papers, for the provenance.
    """

    name: str
    num_classes: int
    resolution: int
    channels: int
    train_count: int
    test_count: int
    whitening: Whitening
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    is_resized: bool = False
    hub_id: str | None = None
    hub_revision: str = "main"
    hub_train: str = ""
    hub_test: str = ""
    label_columns: tuple[str, ...] = ("label", "labels")
    test_splits: tuple[str, ...] = ("test", "validation")
    config: str | None = None
    note: str = ""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) after any resize."""
        return (self.resolution, self.resolution, self.channels)


def _read() -> dict[str, DatasetSpec]:
    path = resources.files("isa_toolkit.datasets") / "registry.toml"
    specs = {}
    for name, table in tomllib.loads(path.read_text("utf-8")).items():
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in table.items()
        }
        specs[name] = DatasetSpec(name=name, **fields)
    return specs


DATASETS: dict[str, DatasetSpec] = _read()
"""The known data sets by name."""
