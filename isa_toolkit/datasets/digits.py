"""The embedded default: scikit-learn's 1,797 real handwritten digits, 8x8 grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from isa_toolkit.datasets.records import Source, from_arrays

__all__ = ["read_digits"]


def read_digits() -> Source:
    """Return the digits, all as training records; no file outside scikit-learn is read.

    Intensities 0..16 become uint8 by rounding x * 255 / 16.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
    (1998), the test part, as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    names = tuple(map(str, digits.target_names))
    facts = {"source": "digits", "files": ["sklearn.datasets.load_digits"]}
    return Source(from_arrays("digits", images, digits.target), None, names, facts)
