"""Whatever a user passes works or is refused in one sentence: searched by hypothesis.

Examples are the same in each run (``derandomize``), and few. ``--hypothesis-seed`` and
``max_examples`` search further.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import isa_toolkit as isa
from isa_toolkit.cli import FAILED, OK, USAGE, main
from isa_toolkit.errors import IsaError

few = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([True, False, 0, 1, 2, 10**400, 2**32, 2**31, -1, 0.5, 1e-300]),
    st.sampled_from([np.int64(2), np.float32(0.5), np.uint8(3), np.bool_(True)]),
    st.builds(jnp.asarray, st.sampled_from([1, 0.5])),
)
dtypes = st.one_of(
    hnp.scalar_dtypes(),
    hnp.unicode_string_dtypes(max_len=3),
    hnp.byte_string_dtypes(max_len=3),
    st.just(np.dtype(object)),
)


def arrays(shapes: Any = None) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    items = {"allow_nan": True}
    return dtypes.flatmap(
        lambda one: (
            st.just(np.array([{}, None], object))
            if one.hasobject
            else hnp.arrays(one, shapes, elements=hnp.from_dtype(one, **items))
        )
    )


anything = st.one_of(
    st.none(),
    numbers,
    st.text(max_size=4),
    st.binary(max_size=3),
    arrays(),
    st.lists(numbers, max_size=3),
    st.lists(st.text(max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=2), numbers, max_size=2),
    st.sampled_from([object(), int, len, Ellipsis, 1j, range(3), {1, 2}, ["a", 1]]),
    st.just([[1, 2], [3]]),
)


@contextlib.contextmanager
def works_or_is_refused() -> Iterator[None]:
    try:
        yield
    except IsaError as error:
        sentence = str(error)
        if not isinstance(error, ValueError | TypeError) or "\n" in sentence:
            raise AssertionError(sentence) from error


# --- settings ---

CLASSES = [
    isa.Experiment,
    isa.FRePo,
    isa.RFAD,
    isa.RCIG,
    isa.DM,
    isa.MTT,
    isa.NetworkSettings,
    isa.EvaluationSettings,
]


@pytest.mark.parametrize("kind", CLASSES)
@few
@given(data=st.data())
def test_settings(kind: Callable[..., Any], data: st.DataObject) -> None:
    names = [field.name for field in dataclasses.fields(kind) if field.init]  # pyright: ignore[reportArgumentType]
    changes = st.dictionaries(st.sampled_from(names), anything, min_size=1, max_size=3)
    given_ = data.draw(changes)
    with works_or_is_refused():
        made = kind(**given_)
        if kind not in CLASSES[-2:] and kind is not isa.Experiment:
            made = isa.Experiment(method=made)  # arrays are left to JAX before
        assert len(repr(made)) <= 300


@few
@given(
    data=st.data(),
    kind=st.sampled_from([isa.networks.FitSettings, isa.networks.SGDSettings]),
)
def test_trainings(kind: Callable[..., Any], data: st.DataObject) -> None:
    names = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    given_ = data.draw(st.fixed_dictionaries(dict.fromkeys(names, anything)))
    plain = {"steps": 2, "decay_step": 1}
    one = data.draw(st.sampled_from(names))
    changes = {name: plain[name] for name in plain if name in names}
    with works_or_is_refused():
        kind(**{**changes, one: given_[one]})


# --- arrays ---


@few
@given(images=anything, labels=anything)
def test_a_data_set_of_anything(images: Any, labels: Any) -> None:
    with works_or_is_refused():
        isa.Dataset.from_arrays(images, labels)


@few
@given(labels=st.one_of(arrays(), st.lists(numbers, min_size=6, max_size=6)))
def test_labels_of_a_data_set(labels: Any) -> None:
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    with works_or_is_refused():
        made = isa.Dataset.from_arrays(images, labels)
        assert len(made.train) + len(made.test) == 6


@few
@given(
    data=st.data(),
    name=st.sampled_from(
        [
            "class_names",
            "name",
            "whitening",
            "mean",
            "std",
            "test_fraction",
            "seed",
            "resolution",
            "test_images",
            "test_labels",
        ]
    ),
)
def test_options_of_a_data_set(data: st.DataObject, name: str) -> None:
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    value = data.draw(anything)
    assume(not (name == "resolution" and isinstance(value, int) and value > 64))
    with works_or_is_refused():
        isa.Dataset.from_arrays(images, [0, 1] * 3, **{name: value})


@few
@given(images=anything, labels=anything)
def test_a_distilled_set_of_anything(images: Any, labels: Any) -> None:
    digits = isa.load_dataset("digits", limit=20)
    about = {"preprocessing": digits.preprocessing, "class_names": digits.class_names}
    for make in (isa.DistilledSet.from_pixels, isa.DistilledSet.from_inputs):
        with works_or_is_refused():
            make(images, labels, **about)
        with works_or_is_refused():
            make(digits.train.images[:3] / np.float32(255), labels, **about)
    with works_or_is_refused():
        isa.evaluate(images, labels)


@few
@given(first=anything, second=anything, k=anything)
def test_measures(first: Any, second: Any, k: Any) -> None:
    points = np.arange(40.0).reshape(20, 2)
    for real, distilled, number in (
        (first, second, 5),
        (points, second, 5),
        (points, points[::2], k),
    ):
        with works_or_is_refused():
            assert 0 <= isa.recall(real, distilled, k=number) <= 1
    with works_or_is_refused():
        isa.cross_prediction(points, first, second)


@few
@given(name=anything, fields=st.lists(anything, min_size=2, max_size=2))
def test_names_and_paths(name: Any, fields: list[Any]) -> None:
    # A known name without a root would be looked up on the Hub.
    assume(not (isinstance(name, str) and "/" in name))
    for call in (
        lambda: isa.load_dataset(name, root=fields[0], limit=fields[1]),
        lambda: isa.Study(name, folder=fields[0], seeds=fields[1]),
        lambda: isa.distill(name, out=fields[0]),
        lambda: isa.plan(name, fields[0]),
        lambda: isa.presets.preset(name, "digits", fields[0]),
        lambda: isa.networks.build(name, image_shape=fields[0], num_classes=fields[1]),
    ):
        with works_or_is_refused():
            call()


# --- files ---

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 5), np.uint8)
CLASSES_OF = np.arange(12) % 3


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, kind)
    return buffer.getvalue()


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=PIXELS, labels=CLASSES_OF)
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    images = [{"bytes": encoded("PNG"), "path": None}] * 12
    pq.write_table(pa.table({"image": images, "label": CLASSES_OF}), buffer)
    return buffer.getvalue()


def idx() -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in PIXELS.shape)
    return bytes([0, 0, 8, 3]) + sizes + PIXELS.tobytes()


TABLE = b"file,label\n" + b"".join(b"%d.png,%d\n" % (one, one % 2) for one in range(4))
FILES = {
    "mine.npz": archive,
    "train-0.parquet": parquet,
    "train-images-idx3-ubyte": idx,
    "labels.csv": lambda: TABLE,
    "val_annotations.txt": lambda: TABLE.replace(b",", b"\t"),
    **{f"a/x.{kind}": (lambda kind=kind: encoded(kind)) for kind in ("PNG", "JPEG")},
    **{f"a/x.{kind}": (lambda kind=kind: encoded(kind)) for kind in ("TIFF", "PPM")},
    **{f"a/x.{kind}": (lambda kind=kind: encoded(kind)) for kind in ("GIF", "WEBP")},
    "a/x.bmp": lambda: encoded("BMP"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", FILES)
@few
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4
    ),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    more=st.binary(max_size=4),
)
def test_damaged_files(
    name: str, changes: list[tuple[float, int]], kept: float, more: bytes
) -> None:
    content = bytearray(FILES[name]())
    for place, value in changes:
        content[math.floor(place * len(content))] = value
    folder = Path(tempfile.mkdtemp())
    try:
        for file in ("a/0.png", "b/0.png") if "/" in name else ("0.png", "1.png"):
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(encoded("PNG"))
        if "idx" in name:
            labels = bytes([0, 0, 8, 1, 0, 0, 0, 12, *CLASSES_OF])
            (folder / "train-labels-idx1-ubyte").write_bytes(labels)
        whole = bytes(content[: math.ceil(kept * len(content))]) + more
        (folder / name).write_bytes(whole)
        with works_or_is_refused():
            isa.datasets.read_images(folder)
    finally:
        shutil.rmtree(folder)


@few
@given(content=st.binary(max_size=80))
def test_files_of_other_projects(content: bytes) -> None:
    for kind in ("npz", "frepo", "rfad"):
        path = Path(tempfile.mkdtemp(), "set.npz")
        path.write_bytes(content)
        with works_or_is_refused():
            isa.import_distilled(path, kind=kind, dataset="mnist")
        with works_or_is_refused():
            isa.DistilledSet.load(path)


# --- the command line ---

FLAGS = [
    *("--method", "--scale", "--seed", "--width", "--depth", "--norm", "--network"),
    *("--batch-size", "--segment", "--drop-easy", "--ridge", "--lr", "--pool-size"),
    *(
        "--selection",
        "--validation-every",
        "--limit",
        "--resolution",
        "--root",
        "--std",
    ),
    *("--whitening", "--source", "--start-from", "--checkpoint-s", "--devices", "--x"),
]
words = st.one_of(
    st.text(max_size=5),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["9" * 5000, "-1", "1e400", "nan", "dm", "rcig", "mtt", "paper", "last", "\0"]
    ),
)


@few
@given(
    command=st.sampled_from(
        ["data", "distill", "evaluate", "export", "import", "bench"]
    ),
    flags=st.lists(st.tuples(st.sampled_from(FLAGS), words), max_size=3),
    rest=st.lists(words, max_size=2),
)
def test_the_command_line(
    command: str, flags: list[tuple[str, str]], rest: list[str]
) -> None:
    # More images than there are: nothing is distilled, whatever else is possible.
    last = ["--ipc", "999"] if command == "distill" else ["--nothing"]
    argv = [command, *rest, *(word for pair in flags for word in pair)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*argv, *(last if command != "data" else [])])
        except SystemExit as end:  # --help
            code = end.code
    assert code in (OK, FAILED, USAGE)
    if code:
        said = err.getvalue().splitlines()
        assert [line for line in said if "warning: " not in line] == said[-1:], argv
