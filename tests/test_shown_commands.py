"""Each command that the documents, the verbs' help and the scripts show is one that parses; nothing is executed."""

from __future__ import annotations

import argparse
import ast
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from arenaloop.cli import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = sorted(path for folder in ("experiments", "benchmarks") for path in (ROOT / folder).glob("*.py"))
NUMBERS = {"N": "1", "X": "1.5"}  # as a synopsis writes them

UsageError: Any = typer.BadParameter.__bases__[0]  # typer's own click, or the installed one


def commands(text: str) -> list[str]:
    """The commands of a text, a line each: prompts, continuations, comments and what is beside the words removed."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"\n *(?=\[?--)", " ", text)  # a synopsis and a verb's help go on in the next line
    before = r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )?(?:(?:torchrun|accelerate launch) .*? -m )?"
    found = re.findall(before + r"((?:arenaloop|python|make) .*)$", text, re.M)
    return [re.split(r"\s+#|\s+&$|\s+> |\s{3,}(?=[a-z])", line)[0].strip() for line in found]


def words(line: str) -> list[str]:
    """A command's words, with every optional one, the first of alternatives, and numbers for N and X."""
    plain = shlex.split(re.sub(r"\[(?=-)|\](?=\s|$)", "", line))
    kept = (word.rstrip("…").split("|")[0] for word in plain)
    return [NUMBERS.get(word, word) for word in kept if word]


def parse(line: str) -> None:
    """Fail if the command would be refused for how it is spelled."""
    program, *rest = words(line)
    if program == "arenaloop":
        parse_verb(rest)
    elif program == "python":
        parse_script(*rest)
    else:
        assert set(rest) <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)), line


def parse_verb(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    with pytest.MonkeyPatch.context() as patch:  # other tests have the same command
        for verb in verbs(command):
            patch.setattr(verb, "callback", lambda **_: None)
        command.main(arguments, standalone_mode=False)


def parse_script(script: str, *arguments: str) -> None:
    class ParsedError(Exception):
        """The script has read its arguments, and would begin."""

    read: Callable[..., Any] = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *args: Any) -> None:
        read(parser, *args)
        raise ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(ParsedError):
            runpy.run_path(str(ROOT / script), run_name="__main__")


def verbs(command: Any) -> Iterator[Any]:
    command.get_params(command.context_class(command))  # some make their options when they are asked for
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from verbs(inner)


def shown() -> Iterator[tuple[str, str]]:
    """(where, command)."""
    for path in DOCUMENTS:
        for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.M | re.S):
            for line in commands(block):
                yield path.name, line
    for verb in verbs(typer.main.get_command(app)):
        for line in commands(verb.help or ""):
            yield f"--help of {verb.name}", line
    for path in SCRIPTS:
        for line in commands(ast.get_docstring(ast.parse(path.read_text())) or ""):
            yield path.name, line


SHOWN = list(dict.fromkeys(shown()))


@pytest.mark.parametrize(("where", "line"), SHOWN)
def test_it_parses(where: str, line: str) -> None:
    parse(line)


def test_they_are_all_found() -> None:
    assert {where for where, _ in SHOWN} >= {"README.md", "CONTRIBUTING.md", "costs.md", "audit.md", "red_team.md"}
    assert {path.name for path in SCRIPTS} - {where for where, _ in SHOWN} == {
        "board_worlds.py",
        "consistency_arena.py",
        "consistency_sandbox.py",
        "consistency_world.py",
        "gold.py",
        "killing.py",
        "over_seeds.py",
        "own_samples.py",
        "figures.py",
        "training_scale.py",
    }
    assert sum(line.startswith("arenaloop ") for _, line in SHOWN) > 30
    assert ("README.md", "arenaloop rejudge runs/old-new --template labels") in SHOWN


def test_what_the_text_names_is_there() -> None:
    """Beside code blocks: verbs and their options, scripts, and what make makes."""
    known = {verb.name: {o for p in verb.params for o in p.opts} for verb in verbs(typer.main.get_command(app))}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for path in DOCUMENTS:
        text = path.read_text()
        for verb, rest in re.findall(r"`arenaloop ([a-z-]+)([^`]*)`", text):
            assert verb in known, (path.name, verb)
            assert set(re.findall(r"(--[a-z-]+)", rest)) <= known[verb], (path.name, verb, rest)
        for script in re.findall(r"\b((?:experiments|benchmarks)/\w+\.py)", text):
            assert (ROOT / script).exists(), (path.name, script)
        assert set(re.findall(r"`make (\w+)`", text)) <= set(targets), path.name
        for script in re.findall(r"`(python [^`]*)`", text):
            parse(script)


def test_how_a_text_is_read() -> None:
    text = """
$ arenaloop battle --model a=b \\
    --judge c > out.json
arenaloop audit --judge SPEC… --labels FILE [--limit N]
                [--merge mean|agree_or_tie]
arenaloop rank     FILE|DIR       a leaderboard
python experiments/chaos.py  # much ado
no arenaloop here
"""
    assert [words(line) for line in commands(text)] == [
        ["arenaloop", "battle", "--model", "a=b", "--judge", "c"],
        ["arenaloop", "audit", "--judge", "SPEC", "--labels", "FILE", "--limit", "1", "--merge", "mean"],
        ["arenaloop", "rank", "FILE"],
        ["python", "experiments/chaos.py"],
    ]


@pytest.mark.parametrize(
    "line",
    ["arenaloop rnak runs/try", "arenaloop battle --modle a=b", "arenaloop audit --judge x --labels",
     "arenaloop rejudge runs/try --verdict", "arenaloop sandbox serve --port eight", "arenaloop sandbox promts"],
)  # fmt: skip
def test_a_wrong_verb_is_refused(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line)


def test_a_wrong_script_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse("python experiments/chaos.py --battels 3")
    assert "--battels" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        parse("python experiments/order.py")
    with pytest.raises(AssertionError):
        parse("make love")
