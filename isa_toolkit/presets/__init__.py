"""The published settings, row by row, and the sizes of an experiment: only numbers."""

from isa_toolkit.presets.matching import (
    DM_ROWS,
    MATCHING_SCALES,
    MTT_ROWS,
    DMPreset,
    MTTPreset,
    dm_preset,
    mtt_preset,
    scale,
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
    "DM_ROWS",
    "EVALUATION_STEPS",
    "MATCHING_SCALES",
    "MTT_ROWS",
    "PRESET_METHODS",
    "PUBLISHED",
    "SCALES",
    "DMPreset",
    "DatasetFacts",
    "MTTPreset",
    "Preset",
    "Scale",
    "dm_preset",
    "evaluation_batch_size",
    "evaluation_steps",
    "label_scale",
    "mtt_preset",
    "preset",
    "scale",
]
