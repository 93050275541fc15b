"""Every verb that asks models says beforehand what it would ask and cost: no key, no call, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

PROMPTS = ["--prompts", "sandbox:prompts?n=20"]
PRICES = "prices:\n  gpt-x: {input: 2.0, output: 8.0}\n"


@pytest.fixture
def battle(arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A battle's directory, a price file and labels, where no key is set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "prices.yaml").write_text(PRICES)
    two = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice"]
    assert arenaloop("battle", *two, *PROMPTS, "--judge", "sandbox:judge", "--out", "out").code == 0
    rows = [{"prompt": f"q{n}", "output_1": "yes", "output_2": "no", "preference": 1 + n % 2} for n in range(8)]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def files(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.mark.parametrize(
    ("verb", "calls"),
    [
        (["battle", "--model", "a=openai:gpt-x", "--model", "b=sandbox:novice", *PROMPTS, "--judge", "openai:gpt-x",
          "--out", "new"], 60),
        (["rejudge", "out", "--judge", "openai:gpt-x"], 40),
        (["sample", "--model", "openai:gpt-x", *PROMPTS, "--samples", "3", "--out", "new.jsonl"], 60),
        (["audit", "--judge", "openai:gpt-x", "--labels", "labels.jsonl", "--out", "new"], 16),
        (["self-instruct", *PROMPTS, "--model", "openai:gpt-x", "--count", "10", "--out", "new.jsonl"], None),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else None,
)  # fmt: skip
def test_a_dry_run_tells_calls_and_dollars(
    arenaloop: Command, battle: Path, verb: list[str], calls: int | None
) -> None:
    before = files(battle)
    result = arenaloop(*verb, "--prices", "prices.yaml", "--dry-run", "--json")
    assert result.code == 0, result.lines
    told = json.loads(result.out)["estimate"]
    assert told["usd"] > 0
    assert told["calls"] > 0
    # one answer of the sandbox's novice costs a call, too; equal answers are judged once
    assert calls is None or 0.5 * calls <= told["calls"] <= 1.4 * calls
    assert any("$" in line for line in result.lines)
    assert files(battle) == before


def test_without_the_key_only_the_dry_run_goes(arenaloop: Command, battle: Path) -> None:
    result = arenaloop("sample", "--model", "openai:gpt-x", *PROMPTS, "--out", "new.jsonl")
    assert result.code == 2
    assert "OPENAI_API_KEY is not set" in result.lines[-1]


def test_samples_that_are_stored_are_not_counted(arenaloop: Command, battle: Path) -> None:
    verb = ["sample", "--model", "sandbox:novice", *PROMPTS, "--out", "s.jsonl"]
    done = json.loads(arenaloop(*verb, "--samples", "2", "--json").out)
    assert (done["rows"], done["missing"], done["calls"]) == (40, 0, 40)
    told = json.loads(arenaloop(*verb, "--samples", "3", "--dry-run", "--json").out)
    assert told["estimate"]["calls"] == 20


def test_a_rejudging_that_asks_nothing_has_no_dry_run(arenaloop: Command, battle: Path) -> None:
    result = arenaloop("rejudge", "out", "--dry-run")
    assert result.code == 2
    assert "nothing would be asked" in result.lines[-1]
