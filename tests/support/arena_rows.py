"""Rows for the tests of the arena file, a look at it without us, and a writer in a process of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from arenaloop.errors import ArenaFileError
from arenaloop.store import Store
from arenaloop.types import Completion, Outcome, Status, Verdict, content_hash


def verdict(key: str, status: Status = Status.OK, **fields: Any) -> Verdict:
    scores: dict[str, Any] = (
        {"score_first": 7.0, "score_second": 5.0, "outcome": Outcome.A} if status is Status.OK else {}
    )
    return Verdict(key, "p", "f", "s", "judge", status, **{"usd": 0.0, **scores, **fields})


def turn(
    key: str, completion: Completion, number: int = 0, prompt_id: str = "p"
) -> tuple[str, int, str, str, Completion, str]:
    return key, number, prompt_id, "model", completion, content_hash([completion.text])


def dump(path: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


def refused(path: Path, *, readonly: bool = False) -> str:
    with pytest.raises(ArenaFileError) as caught:
        Store(path, readonly=readonly)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


WRITER = """
import sys
from arenaloop.store import Store, writer
from arenaloop.types import Completion, Outcome, Status, Verdict

store = Store(sys.argv[1])
print("open", flush=True)
"""


def start_writer(path: Path, code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER + textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process
