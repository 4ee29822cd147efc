"""Dataset distillation with crucial samples and infinite semantic augmentation."""

__version__ = "0.1.0"
