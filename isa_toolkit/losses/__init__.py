"""Small pure functions that methods are assembled from."""

from isa_toolkit.losses.crucial import ranks, scores, select, weighted_mean
from isa_toolkit.losses.isa import (
    nearest_partners,
    random_partners,
    random_permutation,
    segment_loss,
    virtual_loss,
)
from isa_toolkit.losses.label_margin import label_margin_loss
from isa_toolkit.losses.ridge import (
    Readout,
    dual_readout,
    predict,
    primal_readout,
    readout,
)

__all__ = [
    "Readout",
    "dual_readout",
    "label_margin_loss",
    "nearest_partners",
    "predict",
    "primal_readout",
    "random_partners",
    "random_permutation",
    "ranks",
    "readout",
    "scores",
    "segment_loss",
    "select",
    "virtual_loss",
    "weighted_mean",
]
