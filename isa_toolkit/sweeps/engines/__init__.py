"""What starts the workers of a sweep: processes of this machine, Ray, or Slurm.

An engine starts workers and nothing else. What is done, running or failed stands in the
folders of the runs; a file ``STOP`` in the folder of the sweep stops every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from isa_toolkit import checks
from isa_toolkit.sweeps.engines.local import LocalEngine
from isa_toolkit.sweeps.engines.ray import RayEngine
from isa_toolkit.sweeps.engines.slurm import SlurmEngine

__all__ = ["Engine", "EngineName", "make_engine"]

EngineName = Literal["local", "ray", "slurm"]


@runtime_checkable
class Engine(Protocol):
    """What every engine does.

    Attributes:
        needs_own_process: Whether it must run in a process that computes nothing.
        outlives_us: Whether its workers still run when the process that started them ends.
    """

    needs_own_process: bool
    outlives_us: bool

    def start(self, groups: Sequence[Path]) -> None:
        """Start or queue the workers of groups, given by the paths of their folders."""
        ...

    def poll(self) -> bool:
        """Return whether a worker runs or waits; start what can be started now."""
        ...

    def stop(self, force: bool) -> None:
        """Start no more workers; with ``force`` end those that run at once."""
        ...


def make_engine(name: str, options: dict[str, Any]) -> Engine:
    """Return an engine with these options; nothing is started."""
    kinds: tuple[Any, ...] = (LocalEngine, RayEngine, SlurmEngine)
    names = get_args(EngineName)
    return kinds[names.index(checks.match_name("engine", name, names))](**options)
