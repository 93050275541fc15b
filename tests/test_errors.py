"""The error tree and the exit codes that scripts rely on."""

from __future__ import annotations

import inspect
import pickle

import pytest

from arenaloop import errors
from arenaloop.errors import (
    ArenaFileError,
    ArenaloopError,
    ConfigError,
    EndpointDownError,
    InputError,
    MissingExtraError,
    StorageError,
    first_line,
    nearest,
)


@pytest.mark.parametrize(
    ("kind", "code", "standard"),
    [
        (ConfigError, 2, ValueError),
        (InputError, 2, ValueError),
        (ArenaFileError, 2, Exception),
        (MissingExtraError, 2, ImportError),
        (EndpointDownError, 4, ConnectionError),
        (StorageError, 4, OSError),
    ],
)
def test_exit_codes(kind: type[ArenaloopError], code: int, standard: type[Exception]) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, standard)
    assert issubclass(kind, ArenaloopError)


def test_every_error_has_a_code_of_the_contract() -> None:
    kinds = [k for _, k in inspect.getmembers(errors, inspect.isclass) if issubclass(k, ArenaloopError)]
    assert {k.exit_code for k in kinds} == {1, 2, 4}
    assert {k.__name__ for k in kinds} <= set(errors.__all__)


def test_a_message_survives_pickling() -> None:
    assert str(pickle.loads(pickle.dumps(StorageError("disk full")))) == "disk full"


def test_a_missing_extra_says_what_to_install() -> None:
    assert str(MissingExtraError("training", "train")).endswith("pip install 'arenaloop[train]'")


def test_nearest() -> None:
    assert nearest("temprature", ["top_p", "temperature"]) == " (did you mean 'temperature'?)"
    assert nearest("zzz", ["temperature"]) == ""


def test_the_first_line_of_a_foreign_error() -> None:
    assert first_line(RuntimeError("\n  no room\non the device")) == "no room"
    assert first_line(AssertionError()) == "AssertionError"
