"""Measures of distilled sets and of sample rankings: arrays in, NamedTuples out, no JAX.

Modules are imported when they are first used: ``isa_toolkit.analysis.diversity``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "class_geometry",
        "cross_prediction",
        "diversity",
        "intervals",
        "kernels",
        "manifold",
        "ranking",
    ],
)
