"""The published settings, row by row, and the sizes of an experiment: only numbers."""

from isa_toolkit.presets.matching import (
    DM_ROWS,
    MATCHING_SCALES,
    MTT_ROWS,
    DMPreset,
    MTTPreset,
    dm_preset,
    mtt_preset,
)
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
from isa_toolkit.presets.scales import scale

__all__ = [
    "DM_ROWS",
    "EVALUATION_STEPS",
    "MATCHING_SCALES",
    "META_SCALES",
    "MTT_ROWS",
    "PRESET_METHODS",
    "PUBLISHED",
    "RCIG_ROWS",
    "RFAD_ROWS",
    "SCALES",
    "DMPreset",
    "DatasetFacts",
    "MTTPreset",
    "Preset",
    "RCIGPreset",
    "RFADPreset",
    "Scale",
    "dm_preset",
    "evaluation_batch_size",
    "evaluation_steps",
    "label_scale",
    "mtt_preset",
    "preset",
    "rcig_preset",
    "rfad_preset",
    "scale",
]
