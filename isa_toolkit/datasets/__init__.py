"""Data sets: read, checked, split and preprocessed, ready to be distilled."""

from isa_toolkit.datasets.dataset import Dataset, Split
from isa_toolkit.datasets.formats import LabelledImages, read_images
from isa_toolkit.datasets.load import load_dataset
from isa_toolkit.datasets.preprocessing import Preprocessing
from isa_toolkit.datasets.registry import DATASETS, DatasetSpec
from isa_toolkit.datasets.validation import centred_one_hot
from isa_toolkit.datasets.whitening import ZCA

__all__ = [
    "DATASETS",
    "ZCA",
    "Dataset",
    "DatasetSpec",
    "LabelledImages",
    "Preprocessing",
    "Split",
    "centred_one_hot",
    "load_dataset",
    "read_images",
]
