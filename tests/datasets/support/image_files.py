"""Small image sets in every form the readers take, written by the tests themselves."""

import gzip
import io
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (23, 4, 5, 3), np.uint8)
LABELS = np.arange(23) % 3


def encode(array, kind="PNG"):
    """Return the bytes of one image file."""
    buffer = io.BytesIO()
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    Image.fromarray(squeezed).save(buffer, kind)
    return buffer.getvalue()


def put_image(path, level=0, kind="PNG", shape=(4, 4)):
    """Write one grey image of one level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.full((*shape, 1), level, np.uint8), kind))


def write_parquet(
    path, images=IMAGES, labels=LABELS, image="image", label="label", **settings
):
    """Write a shard in the Hub's form, with class names a, b, c."""
    structs = [{"bytes": encode(one), "path": None} for one in images]
    table = pa.table({image: structs, label: labels})
    features = {label: {"names": ["a", "b", "c"], "_type": "ClassLabel"}}
    stored = json.dumps({"info": {"features": features}})
    table = table.replace_schema_metadata({"huggingface": stored})
    pq.write_table(table, path, **settings)
    return path


def idx(array, code=8):
    """Return the bytes of an IDX file."""
    header = bytes([0, 0, code, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, images, labels, train_count, suffix=""):
    """Write the four files of the MNIST family."""
    pack = gzip.compress if suffix else bytes
    parts = {"train": slice(0, train_count), "t10k": slice(train_count, None)}
    for name, part in parts.items():
        stem = folder / name
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = pack(idx(array[part]))
            stem.with_name(f"{name}-{kind}-ubyte{suffix}").write_bytes(content)
