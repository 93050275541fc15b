"""Commands as a newcomer types them, run one after another, and what came of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

__all__ = ["Outcome", "Step", "folder_for", "last_lines", "ok", "play", "server", "table"]

_LIMIT = 900.0  # seconds that a command may take
_TAIL = 3  # last lines that are kept


@dataclass(frozen=True)
class Step:
    """One line that a newcomer types.

    Attributes:
        typed: for bash; ``{server}`` is the address of the sandbox server.
        says: texts that the output must hold, whatever its line breaks.
        code: the exit code that the documentation promises.
        never: a text that must not be in the output.
    """

    typed: str
    says: tuple[str, ...] = ()
    code: int = 0
    never: str = "Traceback"


@dataclass(frozen=True)
class Outcome:
    """What came of a step: exit code, seconds, all that it printed, and texts that it lacked."""

    step: Step
    typed: str
    code: int
    seconds: float
    printed: str
    missing: tuple[str, ...]


def ok(outcome: Outcome) -> bool:
    """Whether a step ended as it should, said what it should, and nothing that it should not."""
    return outcome.code == outcome.step.code and not outcome.missing and outcome.step.never not in outcome.printed


@contextmanager
def server() -> Iterator[str]:
    """A sandbox server on a free port of this machine; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "arenaloop", "sandbox", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def folder_for(directory: Path, data: Path) -> None:
    """A fresh working directory in which `arenaloop` is a command and the data are in `data/`.

    Raises:
        FileExistsError: it is there already, and not empty.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    (directory / "data").symlink_to(data.resolve())
    (directory / "examples").symlink_to(Path(__file__).parents[2] / "examples")
    command = directory / "bin" / "arenaloop"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} -m arenaloop "$@"\n')
    command.chmod(0o755)


def play(steps: Iterable[Step], directory: Path, address: str) -> Iterator[Outcome]:
    """Runs steps in a folder, as bash does, with no key in the environment; a step too slow ends with code 124."""
    keys = [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL"))]
    environment = {name: value for name, value in os.environ.items() if name not in keys}
    environment |= {"PATH": f"{directory.resolve() / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    for step in steps:
        typed = step.typed.replace("{server}", address)
        started = time.perf_counter()
        try:
            ran = subprocess.run(
                ["bash", "-c", typed],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_LIMIT,
            )
            code, printed = ran.returncode, ran.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as slow:
            code, printed = 124, (slow.stdout or b"").decode(errors="replace")
        flat = " ".join(printed.split())
        missing = tuple(text for text in step.says if text not in flat)
        yield Outcome(step, typed, code, time.perf_counter() - started, printed, missing)


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """What was typed, the promised exit code, the one that came, seconds, and whether it is well, as Markdown."""
    lines = ["| # | typed | promised | came | seconds | |", "|--:|---|--:|--:|--:|---|"]
    for number, one in enumerate(outcomes, 1):
        verdict = "ok" if ok(one) else "**differs**"
        typed = one.typed.replace("|", "\\|")
        lines.append(f"| {number} | `{typed}` | {one.step.code} | {one.code} | {one.seconds:.1f} | {verdict} |")
    return lines


def last_lines(outcome: Outcome) -> list[str]:
    """The last lines that a step printed."""
    return [line.rstrip() for line in outcome.printed.splitlines() if line.strip()][-_TAIL:]
