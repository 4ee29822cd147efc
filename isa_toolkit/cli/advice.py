"""What may be wrong with a machine, and what to do: one sentence each.

Every function takes what was found and returns a sentence that names it and the fix, or
None where nothing is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = [
    "MANAGER",
    "gpu_advice",
    "kernel_advice",
    "manager_advice",
    "memory_advice",
    "package_advice",
]

# The JupyterLab extension that draws widgets, below a `labextensions` folder.
MANAGER = "@jupyter-widgets/jupyterlab-manager"
# Less free memory than this share of a GPU, and runs will fail to start.
_LEAST_FREE = 0.25


def package_advice(versions: Mapping[str, str]) -> str | None:
    """Return what to install for the notebooks.

    Args:
        versions: distribution -> version, or "not installed".
    """
    wanted = ("ipywidgets", "jupyterlab", "ipykernel", "anywidget")
    missing = [name for name in wanted if versions.get(name) == "not installed"]
    if not missing:
        return None
    return (
        f"The notebooks need {', '.join(missing)}, not installed in {sys.executable}. "
        "Run: python -m pip install 'isa-toolkit[notebooks]'"
    )


def manager_advice(folders: Sequence[str | Path]) -> str | None:
    """Return why widgets would not be drawn: no widget manager, or one too old.

    Args:
        folders: where JupyterLab looks for extensions, first one first.
    """
    for folder in folders:
        described = Path(folder) / MANAGER / "package.json"
        if not described.is_file():
            continue
        try:
            version = str(json.loads(described.read_text("utf-8"))["version"])
            major = int(version.split(".", maxsplit=1)[0])
        except (OSError, ValueError, KeyError, TypeError):
            return (
                f"JupyterLab's widget manager in {described.parent} is damaged: panels "
                "would show as text. Run: python -m pip install --force-reinstall "
                "jupyterlab_widgets"
            )
        if major >= 5:
            return None
        return (
            f"JupyterLab's widget manager in {described.parent} is {version}, too old "
            "for ipywidgets 8: panels would show as text. Run: python -m pip install "
            "--upgrade jupyterlab_widgets, and reload the page"
        )
    return (
        "JupyterLab has no widget manager: panels would show as text such as "
        "'VBox(children=...)'. Run: python -m pip install jupyterlab_widgets, and "
        "restart JupyterLab"
    )


def kernel_advice(command: Sequence[str] | None, executable: str) -> str | None:
    """Return why a notebook would run in another Python.

    Args:
        command: how the kernel ``python3`` is started; None if there is none.
        executable: of the Python that has the package.
    """
    fix = "Run: python -m ipykernel install --sys-prefix"
    if not command:
        return f"JupyterLab has no kernel 'python3'. {fix}"
    program = command[0]
    if "/" not in program and "\\" not in program:
        return None  # a bare name is the Python that starts JupyterLab
    # Not resolved: an environment's Python is a link to the one that it was made with.
    if Path(program).absolute() == Path(executable).absolute():
        return None
    same_folder = Path(program).absolute().parent == Path(executable).absolute().parent
    if same_folder and Path(program).name.startswith("python"):
        return None
    return (
        f"The kernel 'python3' starts {program}, not {executable}: a notebook would not "
        f"find this package. {fix}"
    )


def memory_advice(name: str, free: float, total: float, *, grabs: bool) -> str | None:
    """Return why a GPU has no memory left for a run.

    Args:
        name: of the device.
        free: MiB that nobody holds, before JAX starts here.
        total: MiB in all.
        grabs: whether JAX takes most of a GPU's memory when it starts.
    """
    if free >= _LEAST_FREE * total:
        return None
    more = (
        "; JAX takes most of a GPU when it starts, so set "
        "XLA_PYTHON_CLIENT_PREALLOCATE=false before the first import of jax in all of them"
    )
    return (
        f"{name} has {free / 1024:.1f} of {total / 1024:.1f} GiB left: other processes "
        f"hold the rest. Shut down kernels and runs that are not needed{more if grabs else ''}"
    )


def gpu_advice(backend: str, has_nvidia: bool) -> str | None:
    """Return why a GPU that is there is not used.

    Args:
        backend: JAX's.
        has_nvidia: whether the machine has an NVIDIA driver.
    """
    if backend != "cpu" or not has_nvidia:
        return None
    return (
        "This machine has an NVIDIA driver, but JAX runs on the CPU. Run: python -m pip "
        "install 'isa-toolkit[cuda13]', and see that JAX_PLATFORMS is not 'cpu'"
    )
