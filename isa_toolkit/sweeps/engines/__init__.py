"""What starts the workers of a sweep: processes of this machine, Ray, or Slurm.

An engine starts workers and nothing else. What is done, running or failed stands in the
folders of the runs; a file ``STOP`` in the folder of the sweep stops every worker. Engines
that ``needs_own_process`` run in a process that computes nothing; the workers of one that
``outlives_us`` still run when the process that started them ends.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from isa_toolkit import checks
from isa_toolkit.sweeps.engines.local import LocalEngine
from isa_toolkit.sweeps.engines.ray import RayEngine
from isa_toolkit.sweeps.engines.slurm import SlurmEngine

__all__ = ["Engine", "EngineName", "make_engine"]

EngineName = Literal["local", "ray", "slurm"]
Engine = LocalEngine | RayEngine | SlurmEngine


def make_engine(name: str, options: dict[str, Any]) -> Engine:
    """Return an engine with these options; nothing is started."""
    kinds: tuple[Any, ...] = (LocalEngine, RayEngine, SlurmEngine)
    names = get_args(EngineName)
    return kinds[names.index(checks.match_name("engine", name, names))](**options)
