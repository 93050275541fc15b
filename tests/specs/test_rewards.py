"""SPEC → reward: each kind answers, and what cannot is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.errors import ArenaloopError
from arenaloop.specs.rewards import tried as reward

ASK = [{"role": "user", "content": "reverse: abc"}]


def test_the_small_worlds_utility() -> None:
    gold = reward("sandbox:gold")
    good, bad = gold.score([ASK, ASK], ["cba", "zzz"])
    assert good == 1.0
    assert bad is not None
    assert bad < 0.5


def test_a_function_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def by_length(prompts, answers):\n    return [len(a) if a else None for a in answers]\n")
    mine = reward(f"python:{file}:by_length")
    assert mine.score([ASK, ASK], ["abc", ""]) == [3.0, None]
    before = mine.identity
    file.write_text(file.read_text().replace("len(a)", "2 * len(a)"))
    assert reward(f"python:{file}:by_length").identity != before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("rewards:x", "expected one of .*did you mean 'reward'"),
        ("reward:", "expected reward:PATH"),
        ("reward:nowhere", "nowhere does not hold a model"),
        ("sandbox:silver", "sandbox:gold"),
        ("python:mine.py", "python:FILE.py:FUNCTION"),
        ("python:none.py:f", "none.py: no such file"),
        ("python:mine.py:absent", "has no function 'absent'"),
        ("python:mine.py:two", "2 scores for 1 answers"),
        ("python:mine.py:words", "gave 'good', which is neither a number nor None"),
        ("python:mine.py:fails", "ZeroDivisionError"),
        ("python:broken.py:f", "broken.py cannot be run: SyntaxError"),
    ],
)
def test_what_does_not_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def two(prompts, answers):\n    return [1, 2]\n\n"
        "def words(prompts, answers):\n    return ['good' for _ in answers]\n\n"
        "def fails(prompts, answers):\n    return [1 / 0]\n"
    )
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ArenaloopError, match=says):
        reward(spec)


def test_a_file_of_dataclasses_is_run_and_one_that_exits_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "classes.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\n"
        "class One:\n    x: int\n"
        "\n\ndef ones(prompts, answers):\n    return [One(1).x for _ in answers]\n"
    )
    assert reward(f"python:{file}:ones").score([ASK], ["abc"]) == [1]
    file.write_text("import sys\n\nsys.exit('no')\n")
    with pytest.raises(ArenaloopError, match="cannot be run: SystemExit: no"):
        reward(f"python:{file}:ones")
