"""``isa-toolkit distill``: one run from the command line."""

from __future__ import annotations

import dataclasses

from isa_toolkit.cli.common import say, write_result
from isa_toolkit.cli.experiment import (
    ExperimentOptions,
    experiment_of,
    parse_with_method,
)

__all__ = ["DistillOptions", "run"]


@dataclasses.dataclass
class DistillOptions(ExperimentOptions):
    """Options of the command, besides those of an experiment and its method.

    Attributes:
        seed: of everything that is drawn.
        resume: go on with the run if its folder exists.
    """

    seed: int = 0
    resume: bool = True


def run(words: list[str]) -> int:
    """Run the command.

    Args:
        words: what the user wrote after it.

    Returns:
        Exit code.
    """
    from isa_toolkit.distill import distill

    options = parse_with_method(
        DistillOptions,
        "distill",
        words,
        "Distil a data set. Run the same command again to go on after a stop.",
    )
    finished = distill(
        experiment_of(options, seed=options.seed),
        out=options.out,
        resume=options.resume,
        checkpoint_s=options.checkpoint_s,
        progress=options.progress,
        shards_limit_bytes=options.shards_limit_bytes,
    )
    status = finished.status
    result = {"run": str(finished.path), **status}
    lines = [f"{status['status']} at step {status['step']} of {status['steps']}"]
    if finished.is_done:
        selection = finished.distilled.manifest["selection"]
        result["selection"] = selection
        result["distilled"] = str(finished.path / "distilled.safetensors")
        chosen = f"images of step {selection['step']} (protocol {selection['protocol']}"
        accuracy = selection.get("accuracy")
        lines.append(
            f"{chosen})"
            if accuracy is None
            else f"{chosen}, accuracy {100 * accuracy:.1f} %)"
        )
        lines.append(f"next: isa-toolkit evaluate {finished.path}")
    else:
        say("Run the same command again to go on.")
    write_result(result, [*lines, str(finished.path)], as_json=options.json)
    return 0
