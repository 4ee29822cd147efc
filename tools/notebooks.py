"""Run notebooks anew and store their outputs as they are committed.

    python tools/notebooks.py            # all, one after the other
    python tools/notebooks.py 02 04      # some

Outputs stay, for readers on GitHub and for nbval; the state of widgets, progress bars,
timings and what went to standard error do not.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"
PNG = "image/png"


def main(words: list[str]) -> int:
    """Run the notebooks that the words name.

    Args:
        words: how their file names begin; none for all.

    Returns:
        0, or 1 if a name is unknown.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 02; all if left out")
    names = parser.parse_args(words).names or [""]
    paths = [path for name in names for path in sorted(FOLDER.glob(f"{name}*.ipynb"))]
    if not paths:
        sys.stderr.write(f"no notebook begins with {', '.join(names)}\n")
        return 1
    for path in paths:
        began = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        settings = dict(notebook.metadata)
        NotebookClient(
            notebook,
            timeout=1200,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(FOLDER)}},
        ).execute()
        notebook.metadata = nbformat.from_dict(settings)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = kept(cell.outputs)
                cell.metadata.pop("execution", None)
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        size = path.stat().st_size // 1024
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {size} kB", flush=True)
    return 0


def kept(outputs: list) -> list:
    """Return the outputs to store: one text for each stream, no widget views, no bars.

    Args:
        outputs: of one cell.
    """
    made: list = []
    for output in outputs:
        if "data" in output:
            if output.data.pop(VIEW, None) and is_bar(output.data):
                continue
            # Size and alternative text of a picture.
            look = output.metadata.get(PNG)
            output.metadata = {} if look is None else {PNG: look}
        if output.output_type == "stream":
            if output.name == "stderr":
                sys.stderr.write(output.text)
                continue
            if made and made[-1].output_type == "stream":
                made[-1].text += output.text
                continue
        made.append(output)
    return made


def is_bar(data: Mapping[str, str]) -> bool:
    """Return whether an output is a progress bar.

    Args:
        data: Its texts and pictures by type.
    """
    return re.search(r"\d%\|", data.get("text/plain", "")) is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
