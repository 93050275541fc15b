"""A stage whose model another trainer made: what was found out of it when it was brought into the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.regular_files import read_regular

__all__ = ["RECORD", "adopted", "adopted_line", "adopted_table", "learns_reward"]

RECORD = "adopted.json"
"""The file in a stage's checkpoint that says where it is from."""


def adopted(checkpoint: Path) -> Mapping[str, Any] | None:
    """What is known of a checkpoint that was adopted; None of one that was not.

    Raises:
        ConfigError: it is not any more what it was then.
    """
    try:
        told = json.loads(read_regular(checkpoint / RECORD))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{checkpoint / RECORD} cannot be read: {error}") from error
    if not isinstance(told, dict) or told.get("fingerprint") != checkpoint_fingerprint(checkpoint):
        raise ConfigError(
            f"{checkpoint} has changed since it was adopted; adopt it again with --replace, or remove it to train here"
        )
    return told


def learns_reward(stage: str) -> bool:
    """Whether a stage's model scores answers and says none: RM, RM-I1, …"""
    return stage.partition("-")[0] == "RM"


def adopted_line(told: Mapping[str, Any]) -> str:
    """What is to be known of it, in few words."""
    return f"adopted from {told['from']} (weights {str(told['weights'])[:12]}), not trained here"


def adopted_table(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a table of a report."""
    rows: list[list[Any]] = [["from", told["from"]], ["weights", told["weights"]], ["chat template", told["template"]]]
    if told.get("base"):
        rows.append(["adapter beside", told["base"]])
    if (probe := told.get("probe")) is not None:
        rows += [[f"{name} of {probe['answers']} stored answers", value] for name, value in probe["figures"].items()]
    return {
        "title": "Adopted",
        "columns": ["", ""],
        "rows": rows,
        "note": "Another trainer made this model; what it learned from is not known here.",
    }
