"""Figures and tables: ``compute`` makes the numbers, ``draw`` only draws them.

``compute`` takes a ``Study`` and, where a figure is about one size, its number of distilled
images of each class. ``draw`` and ``caption`` take the table that it returns: rows of
``results_table``, unless its docstring says otherwise. The table is empty if the study has
no such run and may not distil one.

``draw(table)`` returns a figure that a notebook shows once, with its caption;
``draw(table, size="column")`` one that fits a paper, and ``draw(table, ax=axes)`` draws into
axes of the user. ``style.drawing`` makes such a function.
"""

from importlib import resources

import lazy_loader

# Modules are imported when they are first used: ``isa.figures.fig5``.
_MODULES = [
    file.name.removesuffix(".py")
    for file in resources.files(__name__).iterdir()
    if file.name.endswith(".py") and file.name != "__init__.py"
]
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    _MODULES,
    {
        "comparisons": ["FIG3C", "TABLE4", "TABLE8"],
        "published_results": ["check_claims"],
        "results_table": ["findings", "mean_of", "summary"],
        "variants": ["Variant"],
    },
)
