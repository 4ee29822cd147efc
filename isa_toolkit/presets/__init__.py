"""The published settings, row by row, and the sizes of an experiment: only numbers."""

from isa_toolkit.presets.meta import (
    META_SCALES,
    RCIG_ROWS,
    RFAD_ROWS,
    RCIGPreset,
    RFADPreset,
    rcig_preset,
    rfad_preset,
)
from isa_toolkit.presets.published import (
    EVALUATION_STEPS,
    PRESET_METHODS,
    PUBLISHED,
    SCALES,
    DatasetFacts,
    Preset,
    Scale,
    evaluation_batch_size,
    evaluation_steps,
    label_scale,
    preset,
)

__all__ = [
    "EVALUATION_STEPS",
    "META_SCALES",
    "PRESET_METHODS",
    "PUBLISHED",
    "RCIG_ROWS",
    "RFAD_ROWS",
    "SCALES",
    "DatasetFacts",
    "Preset",
    "RCIGPreset",
    "RFADPreset",
    "Scale",
    "evaluation_batch_size",
    "evaluation_steps",
    "label_scale",
    "preset",
    "rcig_preset",
    "rfad_preset",
]
