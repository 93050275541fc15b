"""The additions of docs/extending.md, made in a copy of the package exactly as they stand there, pass their tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "extending.md").read_text()


class Block(NamedTuple):
    """A code block, and the file that the line before it names (or that of the block before)."""

    path: str
    language: str
    text: str


def blocks() -> list[Block]:
    """All but the commands."""
    found: list[Block] = []
    fence = r"(?:^`((?:src|tests)/\S+)`\n\n)?^```(\w+)\n(.*?)^```"
    for path, language, text in re.findall(fence, DOCUMENT, re.M | re.S):
        if language != "console":
            found.append(Block(path or found[-1].path, language, text))
    return found


BLOCKS = blocks()
NEW = [block for block in BLOCKS if block.language != "diff"]


def changed(text: str, block: Block) -> str:
    """A file's text with a block's change made: the line without a plus stands there once."""
    lines = block.text.splitlines(keepends=True)
    before, after = "".join(line[1:] for line in lines if line[0] == " "), "".join(line[1:] for line in lines)
    times = text.count(before)
    assert times == 1, (
        f"docs/extending.md adds to {block.path} beside this, which stands there {times} times:\n{before}"
    )
    return text.replace(before, after)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests with everything added."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for block in BLOCKS:
        file, change = root / block.path, block.language == "diff"
        assert file.exists() == change, f"docs/extending.md takes {block.path} for {'a' if change else 'no'} file"
        file.write_text(changed(file.read_text(), block) if change else block.text)
    # where other additions are imported beside the document's, the page does not tell the order
    files = sorted({block.path for block in BLOCKS if block.path.endswith(".py")})
    done = ran(root, "-m", "ruff", "check", "--no-cache", "--quiet", "--select", "I", "--fix", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def ran(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=240)


def test_an_addition_changes_one_file_of_the_package() -> None:
    """In two lines at most, an import and the name, beside the settings of a method."""
    added: dict[str, list[str]] = {}
    for path, language, text in BLOCKS:
        if language == "diff" and path.startswith("src/"):
            added.setdefault(path, []).extend(line[1:] for line in text.splitlines() if line.startswith("+"))
    tables = ("config/training.py", "specs/judges.py", "specs/recipes/__init__.py")
    assert list(added) == [f"src/arenaloop/{path}" for path in tables]
    methods, judges, recipes = added.values()
    assert methods[0] == "class RewardHeadSettings(RowSettings):"
    assert methods[-1] == '    "reward_head": RewardHeadSettings,'
    assert (len(judges), len(recipes)) == (2, 2)


def test_other_additions_may_stand_beside_them() -> None:
    """Each has its place by what stays when the package grows; here it grows by the same."""
    for block in BLOCKS:
        if block.language == "diff":
            assert sorted({line[0] for line in block.text.splitlines()}) == [" ", "+"]
            changed(changed((ROOT / block.path).read_text(), block), block)


@pytest.mark.slow
def test_the_additions_pass_their_tests(copy: Path) -> None:
    """Their own, and those that every method, template, recipe and module has to pass."""
    own = [block.path for block in NEW if block.path.startswith("tests/")]
    names = "reward_head or substance or apprentice or shipped_templates"
    everyones = ["tests/train/test_methods.py", "tests/judges/test_templates.py", "tests/specs/test_recipes.py"]
    everyones.append("tests/test_layers.py")
    done = ran(copy, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA", "-k", names, *own, *everyones)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^PASSED (\S+)", done.stdout, re.M)
    assert {test.partition("::")[0] for test in passed} == {*own, *everyones}


def test_the_command_knows_them(copy: Path) -> None:
    """The method in the help, which needs no torch, and the recipe by a plan of its demo, and by what it refuses."""
    program = "from arenaloop.cli import main; main()"
    light = program.replace("; ", "; import sys; sys.modules['torch'] = None; ")
    assert "reward_head on preference pairs" in ran(copy, "-c", light, "train", "--help").stdout
    planned = ran(copy, "-c", program, "demo", "apprentice", "--dry-run")
    assert "2 stages (lesson-1, lesson-2)" in planned.stderr
    demo, change = "src/arenaloop/sandbox/demos/apprentice.yaml", "opponents.0.name=lesson-1"
    refused = ran(copy, "-c", program, "run", demo, "--dry-run", "--set", change)
    assert refused.returncode == 2
    assert "an opponent may not be called lesson-1" in refused.stderr


def test_the_code_is_in_the_style_of_the_house(copy: Path) -> None:
    files = [block.path for block in BLOCKS if block.path.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        done = ran(copy, "-m", "ruff", *check, "--no-cache", *files)
        assert done.returncode == 0, done.stdout + done.stderr
