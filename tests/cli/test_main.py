"""The entry point: exit codes, one line for an error, help for people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from arenaloop import errors
from arenaloop.cli import app, battle, main  # type: ignore[attr-defined]  # noqa: F401 - the verb, see below
from arenaloop.errors import ArenaloopError
from arenaloop.train import processes

VERBS = ["demo", "run", "battle", "rank", "winrate", "agree", "train", "report", "sandbox"]

Command = Callable[..., Any]


def test_help_lists_the_verbs(arenaloop: Command) -> None:
    result = arenaloop("--help")
    assert result.code == 0
    assert all(verb in result.out for verb in VERBS)
    assert not result.lines


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(arenaloop: Command, verb: str) -> None:
    result = arenaloop(verb, "--help")
    assert result.code == 0
    if verb != "sandbox":
        assert f"arenaloop {verb}" in result.out


def test_version(arenaloop: Command) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        expected = version("arenaloop")
    except PackageNotFoundError:
        pytest.skip("the package is on the path, not installed")
    result = arenaloop("--version")
    assert (result.code, result.out.strip()) == (0, expected)


def test_no_arguments_say_what_to_do_first(arenaloop: Command) -> None:
    result = arenaloop()
    assert (result.code, result.out) == (2, "")  # as command lines have it that are not whole
    assert len(result.lines) < 24
    assert max(map(len, result.lines)) <= 80
    shown = [line.split()[1] for line in result.lines if line.startswith("  arenaloop ")]
    assert shown == ["demo", "battle", "rank", "report", "run"]
    part = arenaloop("sandbox")
    assert part.code == 2
    assert "Usage" in part.out + "\n".join(part.lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bttle"],
        ["battle"],
        ["battle", "--no-such-option"],
        ["rank"],
        ["rank", "x", "--samples", "many"],
        ["demo", "--rounds", "-1"],
    ],
)
def test_wrong_usage_is_one_line(arenaloop: Command, arguments: list[str]) -> None:
    result = arenaloop(*arguments)
    assert result.code == 2
    assert len(result.lines) == 1
    assert not result.out


KINDS = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, ArenaloopError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_error_becomes_its_code_and_one_line(
    arenaloop: Command, monkeypatch: pytest.MonkeyPatch, kind: type[ArenaloopError]
) -> None:
    arguments = ("training", "train") if kind is errors.MissingExtraError else ("two\nlines and \x1b[31mcolour",)

    def fail(*_: object, **__: object) -> None:
        raise kind(*arguments)

    monkeypatch.setattr("arenaloop.data.formats.read_battles", fail)
    result = arenaloop("rank", "x.jsonl")
    assert result.code == kind.exit_code
    assert len(result.lines) == 1
    assert result.lines[0].startswith("arenaloop: ")
    assert "\x1b" not in result.lines[0]
    assert not result.out


def test_a_bug_keeps_its_traceback() -> None:
    code = (
        "import sys, arenaloop.data.formats as f\n"
        "def fail(*a, **k): raise RuntimeError('a bug')\n"
        "f.read_battles = fail\nsys.argv = ['arenaloop', 'rank', 'x']\n"
        "from arenaloop.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a bug" in done.stderr


def test_an_interrupt_is_130(arenaloop: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("arenaloop.data.formats.read_battles", stop)
    result = arenaloop("rank", "x.jsonl")
    assert result.code == 130
    assert [line for line in result.lines if line] == ["arenaloop: interrupted; the same command resumes"]


def test_a_process_that_its_launcher_ends_says_so(arenaloop: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of several processes dies, the launcher ends the others: nobody has pressed Ctrl-C."""

    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("arenaloop.data.formats.read_battles", stop)
    monkeypatch.setattr("arenaloop.cli.signals._got", [])
    monkeypatch.setitem(sys.modules, "arenaloop.train.processes", processes)
    for world, said in (("1", "interrupted"), ("2", "another process of this training is gone")):
        monkeypatch.setenv("WORLD_SIZE", world)
        result = arenaloop("rank", "x.jsonl")
        assert result.code == 130
        assert [said in line for line in result.lines if line] == [True]


def test_a_reader_that_goes_away_is_no_failure() -> None:
    code = "import sys; from arenaloop.cli import main; sys.argv = ['', 'sandbox', 'prompts', '--n', '20000']; main()"
    done = subprocess.run(
        f"{sys.executable} -c \"{code}\" | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_sandbox_prompts(arenaloop: Command) -> None:
    import json

    result = arenaloop("sandbox", "prompts", "--n", "5", "--split", "dev")
    assert result.code == 0
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert len(rows) == 5
    assert all(list(row) == ["messages", "answer"] for row in rows)
    assert arenaloop("sandbox", "prompts", "--split", "tset").code == 2
