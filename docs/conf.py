"""Configuration of the site: ``make docs`` builds it into docs/_build/html."""

import re
import shutil
import textwrap
from pathlib import Path

from docutils import nodes

import isa_toolkit

HERE = Path(__file__).parent

project = "ISA Toolkit"
author = copyright = "The ISA Toolkit developers"
version = release = isa_toolkit.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]

# Sphinx reads what is below this folder only, so the notebooks are copied into it. They are
# shown with the outputs that are committed.
shutil.copytree(
    HERE.parent / "notebooks",
    HERE / "notebooks",
    ignore=lambda _, names: {name for name in names if not name.endswith(".ipynb")},
    dirs_exist_ok=True,
)
nb_execution_mode = "off"
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
# A double hyphen becomes a dash; quotation marks stay.
smartquotes_action = "D"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],  # the field for searching is in the side bar
    "show_toc_level": 2,
    "use_fullscreen_button": False,
}

# Pages link to these files as they lie in the repository.
OUTSIDE = {
    "](../notebooks/": "](notebooks/",
    "](../CONTRIBUTING.md": "](contributing.md",
    "](../CHANGELOG.md": "](changelog.md",
}


def link_to_pages(app, name, source):
    """Point links that leave this folder at the pages that show those files."""
    for outside, page in OUTSIDE.items():
        source[0] = source[0].replace(outside, page)


def read_docstring(app, what, name, documented, options, lines):
    """Mark formulas, the page of equations and the fields of named tuples."""
    text = "\n".join(lines)
    text = text.replace("docs/algorithms.md", ":doc:`docs/algorithms.md </algorithms>`")
    text = re.sub(r"\$([^$`]+)\$", r":math:`\1`", text)
    fields = "|".join(getattr(documented, "_fields", ()))
    if found := fields and re.search(rf"^({fields})\b.*?: ", text, re.MULTILINE):
        before, (block, *rest) = (
            text[: found.start()],
            text[found.start() :].split("\n\n"),
        )
        block = "Attributes:\n" + textwrap.indent(block, "    ")
        text = before + "\n\n".join([block, *rest])
    lines[:] = text.split("\n")


def shorten_types(app, what, name, documented, options, lines):
    """Show types of attributes by their last name."""
    for index, line in enumerate(lines):
        if ":vartype " in line:
            lines[index] = re.sub(r"(?<![\w.~])((?:\w+\.)+\w+)", r"~\1", line)


def shorten_arrays(app, domain, kind, content):
    """Show JAX's arrays in the types of arguments by their public name."""
    for text in list(content.findall(nodes.Text)):
        if "jaxlib._jax.Array" in text:
            text.parent.replace(text, nodes.Text(text.replace("jaxlib._jax.", "")))


def skip_fields(app, what, name, member, skip, options):
    """Leave out fields of named tuples, which the docstring of the class explains."""
    return True if (member.__doc__ or "").startswith("Alias for field number") else None


def setup(app):
    """Connect the functions; napoleon reads docstrings at priority 500."""
    app.connect("source-read", link_to_pages)
    app.connect("autodoc-process-docstring", read_docstring, priority=400)
    app.connect("autodoc-process-docstring", shorten_types, priority=600)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("object-description-transform", shorten_arrays, priority=900)
