"""How many parameters a model has, without loading it: by the headers of its weights, or by its name."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from arenaloop.errors import InputError
from arenaloop.regular_files import open_regular

__all__ = ["Size", "size_of"]

_IN_NAME = re.compile(r"(?<![\d.A-Za-z])A?(\d+(?:\.\d+)?)\s?([BbMm])(?![A-Za-z])")
_LONGEST_HEADER = 100_000_000
"""bytes; the format's own limit"""


class Size(NamedTuple):
    """Parameters of a model, and how they are known."""

    parameters: int
    told: str


def size_of(model: str) -> Size | None:
    """Of a directory in Hugging Face form, all numbers in its safetensors files; of a hub id, what its name says.

    None where neither tells. Nothing is looked up on a hub.

    Raises:
        InputError: a file of weights is damaged.
    """
    directory = Path(model)
    if files := sorted(directory.glob("*.safetensors")):
        return Size(sum(map(_numbers_in, files)), "counted in its weights")
    found = _IN_NAME.findall(directory.name)
    if len(found) != 1:
        return None
    (count, unit), *_ = found
    return Size(round(float(count) * (1e9 if unit in "Bb" else 1e6)), "read in its name")


def _numbers_in(path: Path) -> int:
    """The numbers that a safetensors file holds: eight bytes say how long its JSON header is, which has the shapes."""
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
        return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no weights in safetensors form: {error}") from error
