"""Dataset distillation in JAX, with crucial samples and infinite semantic augmentation.

``import isa_toolkit as isa`` is light: every public name and sub-package of ``__init__.pyi``
is imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
