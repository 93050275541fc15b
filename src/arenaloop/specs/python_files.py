"""python:FILE.py:FUNCTION → a function of the user's own file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, InputError

__all__ = ["python_function"]


def python_function(what: str, spec: str, rest: str) -> tuple[Path, str, Any]:
    """The file, the name and the function that a SPEC names; the file is run.

    Args:
        what: is made of it, for errors: ``reward``. `spec`: as it was written. `rest`: what stands behind ``python:``.

    Raises:
        ConfigError: a part is missing, or the file has no such function.
        InputError: there is no such file, or it cannot be run.
    """
    file, _, name = rest.rpartition(":")
    if not file or not name:
        raise ConfigError(f"{what} {spec!r}: expected python:FILE.py:FUNCTION")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{what} {spec!r}: {file}: no such file")
    found = importlib.util.spec_from_file_location(f"arenaloop_{what}_{path.stem}", path)
    if found is None or found.loader is None:
        raise ConfigError(f"{what} {spec!r}: {file} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # where dataclasses look for the names in their annotations
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise InputError(f"{what} {spec!r}: {file} cannot be run: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{what} {spec!r}: {file} has no function {name!r}")
    return path, name, function
