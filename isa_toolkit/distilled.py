"""A distilled set: images, labels, how to look at them, and where they come from.

Evaluation and analysis see this, never a method. "Distilled" and "synthetic" images are
the same thing. A file is one safetensors file with a JSON manifest in its header; pixels
are stored with the whitened images, so that a viewer needs no whitening matrix.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from isa_toolkit import checks
from isa_toolkit.annotations import typed
from isa_toolkit.display import class_rows, html_grid, picture_grid
from isa_toolkit.errors import InvalidValueError
from isa_toolkit.files import write_atomically
from isa_toolkit.formats import ExportKind, export

if TYPE_CHECKING:
    from PIL.Image import Image

    from isa_toolkit.datasets import Preprocessing

FORMAT = 1


@typed
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DistilledSet:
    """A few learned images per class, with learned labels.

    A notebook shows its images, a row for each class.

    Attributes:
        images: Network inputs (standardised or whitened), float32 [m, h, w, ch].
        labels: Centred soft labels, float32 [m, c].
        pixels: The same images on the pixel scale, not clipped, float32 [m, h, w, ch].
        class_names: Name of each class.
        preprocessing: Summary of how pixels become network inputs.
        manifest: Provenance: data set, method, network, seed, step, versions.

    Raises:
        ValueError: Shapes do not agree, there is no image, or a number is not finite.

    Example:
        >>> import isa_toolkit as isa
        >>> digits = isa.load_dataset("digits")
        >>> few = isa.evaluation.random_real(digits, images_per_class=1)
        >>> few
        DistilledSet(10 images of 8x8x1, 10 classes, random_real)
        >>> few.images.shape, few.labels.shape, len(few)
        ((10, 8, 8, 1), (10, 10), 10)
    """

    images: Float[np.ndarray, "m h w ch"]
    labels: Float[np.ndarray, "m c"]
    pixels: Float[np.ndarray, "m h w ch"]
    class_names: tuple[str, ...]
    preprocessing: dict[str, Any] = dataclasses.field(default_factory=dict)
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("images", "labels", "pixels"):
            # In one piece: safetensors writes memory as it lies, whatever the strides.
            array = _numbers(f"distilled {name}", getattr(self, name))
            if not np.isfinite(array).all():
                raise checks.fail(f"distilled {name}", "be finite", "NaN or infinity")
            object.__setattr__(self, name, array)
        object.__setattr__(
            self, "class_names", tuple(map(checks.as_unicode, self.class_names))
        )
        if self.images.ndim != 4 or self.pixels.shape != self.images.shape:
            shapes = (self.images.shape, self.pixels.shape)
            rule = "have one shape [m, h, w, ch]"
            raise checks.fail("distilled images and pixels", rule, shapes)
        if not len(self.images):
            raise checks.fail("the distilled set", "hold an image", 0)
        expected = (len(self.images), len(self.class_names))
        if self.labels.shape != expected:
            rule = f"have the shape {expected}"
            raise checks.fail("distilled labels", rule, self.labels.shape)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> np.ndarray:
        """Class number of each image: that of its largest label, [m]."""
        return np.argmax(self.labels, axis=-1)

    def _origin(self) -> str:
        """Return method, data set and step, as far as the manifest says."""
        experiment = self.manifest.get("experiment") or {}
        method = (experiment.get("method") or {}).get("name")
        name = (experiment.get("dataset") or {}).get("name")
        step = (self.manifest.get("selection") or {}).get("step")
        parts = (
            method or self.manifest.get("baseline"),
            name and f"of {name}",
            step is not None and f"at step {step}",
        )
        return " ".join(str(part) for part in parts if part)

    def __repr__(self) -> str:
        height, width, channels = self.images.shape[1:]
        count, classes = len(self), len(self.class_names)
        origin = self._origin()[:120]
        return (
            f"DistilledSet({count} images of {height}x{width}x{channels}, {classes} "
            f"classes{', ' + origin if origin else ''})"
        )

    def _repr_html_(self) -> str:
        rows = class_rows(self.pixels, self.classes, self.class_names)
        left_out = len(self) - sum(len(images) for _, images in rows)
        note = f"{left_out} more images are not shown." if left_out else ""
        return html_grid(repr(self), rows, note=note)

    @typed
    def show(self, *, columns: int = 10) -> Image:
        """Return a picture of the images: one row for each class.

        Args:
            columns: Highest number of images in a row; images of classes with one image
                each fill the rows class after class.

        Returns:
            A Pillow image, which a notebook shows by itself; ``save`` writes it.
        """
        rows = class_rows(
            self.pixels,
            self.classes,
            self.class_names,
            columns=checks.check_integer("columns", columns),
            rows=len(self.class_names),
        )
        if all(len(images) == 1 for _, images in rows):
            images = np.concatenate([images for _, images in rows])
            starts = range(0, len(images), columns)
            return picture_grid([images[at : at + columns] for at in starts])
        return picture_grid([images for _, images in rows])

    @classmethod
    @typed
    def from_inputs(
        cls,
        images: Any,
        labels: Any,
        *,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        manifest: dict[str, Any] | None = None,
    ) -> DistilledSet:
        """Return a set from network inputs.

        Args:
            images: Network inputs, [m, h, w, ch].
            labels: Soft labels, [m, c], or class numbers, [m], which become centred
                one-hot labels.
            preprocessing: Preprocessing that made the network inputs from pixels.
            class_names: Name of each class.
            manifest: Provenance.

        Returns:
            The set, with its pixels.

        Raises:
            ValueError: Labels have a wrong form, or shapes do not agree.
        """
        images = _numbers("distilled images", images)
        return cls(
            images=images,
            labels=_soft(labels, len(class_names)),
            pixels=preprocessing.invert(images),
            class_names=class_names,
            preprocessing=preprocessing.describe(),
            manifest=dict(manifest or {}),
        )

    @classmethod
    @typed
    def from_pixels(
        cls,
        pixels: Any,
        labels: Any,
        *,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...],
        manifest: dict[str, Any] | None = None,
    ) -> DistilledSet:
        """Return a set from pixels: real images, or images made elsewhere.

        Args:
            pixels: Images, uint8, or float on the scale [0, 1] (values may lie somewhat
                outside), [m, h, w, ch]; grey ones also [m, h, w].
            labels: Soft labels, [m, c], or class numbers, [m], which become centred
                one-hot labels.
            preprocessing: Preprocessing of the data set to evaluate on.
            class_names: Name of each class.
            manifest: Provenance.

        Returns:
            The set, with its network inputs.

        Raises:
            ValueError: Pixels or labels have a wrong form, or shapes do not agree.

        Example:
            >>> from isa_toolkit.datasets import load_dataset
            >>> digits = load_dataset("digits")
            >>> few = DistilledSet.from_pixels(
            ...     digits.train.images[:3],
            ...     [4, 0, 9],
            ...     preprocessing=digits.preprocessing,
            ...     class_names=digits.class_names,
            ... )
            >>> few.labels.shape, few.classes.tolist()
            ((3, 10), [4, 0, 9])
        """
        soft = _soft(labels, len(class_names))
        pixels = checks.as_array("pixels", pixels)
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        images = preprocessing.apply(pixels)
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.float32) / 255
        return cls(
            images=images,
            labels=soft,
            pixels=pixels,
            class_names=class_names,
            preprocessing=preprocessing.describe(),
            manifest=dict(manifest or {}),
        )

    @typed
    def to_pixels(self, *, clip: bool = True) -> Float[np.ndarray, "m h w ch"]:
        """Return the images on the pixel scale, float32 [m, h, w, ch].

        Args:
            clip: Whether to cut values to [0, 1], to which learned images are not
                confined.
        """
        return np.clip(self.pixels, 0, 1) if clip else self.pixels.copy()

    @typed
    def export(
        self, out: str | Path, *, kind: ExportKind = "png", overwrite: bool = False
    ) -> Path:
        """Write the set for other programs.

        Args:
            out: Path of the folder (``"png"``) or file to write.
            kind: ``"png"`` (class folders of 8-bit images, and the labels as a table),
                ``"npz"`` (plain arrays) or ``"safetensors"`` (as ``save``).
            overwrite: Whether to replace an earlier export.

        Returns:
            The path.

        Raises:
            FileExistsError: Something is there.
            OSError: It cannot be written.
            ValueError: The kind is unknown, or a PNG cannot hold the images.
        """
        return export(self, out, kind=kind, overwrite=overwrite)

    @typed
    def save(self, path: str | Path) -> Path:
        """Write one safetensors file: whole or not at all.

        The same set gives the same bytes. A file that is already there is replaced only
        when the new one is complete.

        Args:
            path: Path of the file; its folder is made if need be.

        Returns:
            The path.

        Raises:
            OSError: The folder cannot be written or is full.
        """
        from safetensors.numpy import save

        path = Path(path)
        manifest = {
            "format": FORMAT,
            "class_names": list(self.class_names),
            "preprocessing": self.preprocessing,
            "manifest": self.manifest,
        }
        content = save(
            {"images": self.images, "labels": self.labels, "pixels": self.pixels},
            metadata={"manifest": json.dumps(manifest, sort_keys=True)},
        )
        write_atomically(path, content)
        return path

    @classmethod
    @typed
    def load(cls, path: str | Path) -> DistilledSet:
        """Read a set that ``save`` wrote.

        Args:
            path: Path of the file.

        Returns:
            The set.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a distilled set.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no distilled set at {path}.")
        try:
            with safe_open(path, framework="numpy") as file:
                described = _described(json.loads((file.metadata() or {})["manifest"]))
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(
                **{name: arrays[name] for name in ("images", "labels", "pixels")},
                **described,
            )
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise InvalidValueError(
                f"{path} is not a distilled set that this version can read. Images from "
                "elsewhere become one with DistilledSet.from_pixels."
            ) from error


def _described(found: Any) -> dict[str, Any]:
    """Return class names, preprocessing and manifest from a file's metadata.

    Raises:
        KeyError: One is missing or of another kind, or the format is unknown.
    """
    kinds = {"class_names": list, "preprocessing": dict, "manifest": dict}
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise KeyError(f"format {FORMAT}")
    for name, kind in kinds.items():
        if not isinstance(found.get(name), kind):
            raise KeyError(name)
    return {
        **{name: found[name] for name in kinds},
        "class_names": tuple(found["class_names"]),
    }


def _numbers(name: str, values: Any) -> np.ndarray:
    """Return numbers as float32 in one piece."""
    array = checks.as_array(name, values)
    if array.dtype.kind in "OSUMmc" or array.dtype.names:
        raise checks.fail(name, "be numbers", checks.as_text(f"type {array.dtype}"))
    with np.errstate(over="ignore"):  # refused as not finite
        return np.asarray(array, np.float32, order="C")


def _soft(labels: Any, num_classes: int) -> np.ndarray:
    """Return labels as float32 [m, c]; class numbers become centred one-hot."""
    array = checks.as_array("distilled labels", labels)
    if array.ndim == 2 and array.dtype.kind in "iuf":
        return _numbers("distilled labels", array)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        rule = "be class numbers, whole, [m], or soft labels [m, c]"
        found = checks.as_text(f"{array.dtype} of shape {array.shape}")
        raise checks.fail("distilled labels", rule, found)
    wrong = array[(array < 0) | (array >= num_classes)]
    if len(wrong):
        rule = f"lie in 0..{num_classes - 1}"
        raise checks.fail("distilled labels", rule, int(wrong[0]))
    return (np.eye(num_classes)[array] - 1 / num_classes).astype(np.float32)
