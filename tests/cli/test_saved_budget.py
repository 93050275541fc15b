"""A budget that is saved with a run: it holds in `rejudge` and `battle --add`, can be dropped, and its advice works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Command = Callable[..., Any]
TEXTS = [f"question {n}" for n in range(3)]


@pytest.fixture
def run(arenaloop: Command, tmp_path: Path, served: Any) -> Path:
    """A battle whose judge has a price and whose budget is saved."""
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in TEXTS))
    for name in "abc":
        rows = [{"instruction": t, "output": f"{name} answers {t}"} for t in TEXTS]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "cheap.yaml").write_text("prices: {cheap: {input: 1.0, output: 1.0}}\n")
    (tmp_path / "both.yaml").write_text("prices: {cheap: {input: 1, output: 1}, dear: {input: 100, output: 100}}\n")
    models = ("--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl")
    judge = ("--judge", f"{served.url}#cheap", "--prices", "cheap.yaml")
    done = arenaloop("battle", *models, *judge, "--budget-usd", 0.01, "--out", "out")
    assert done.code == 0
    served.heard.clear()
    return tmp_path / "out"


@pytest.mark.parametrize("rehearse", [(), ("--dry-run",)])
def test_rejudging_keeps_the_budget_of_its_run(
    arenaloop: Command, run: Path, served: Any, rehearse: tuple[str, ...]
) -> None:
    again = ("rejudge", "out", "--judge", f"{served.url}#dear")
    refused = arenaloop(*again, *rehearse)
    assert refused.code == 2
    assert "price of 'dear'" in refused.lines[-1]
    assert "--budget-usd none" in refused.lines[-1]
    assert not served.heard
    held = arenaloop(*again, "--prices", "both.yaml", "--dry-run")
    assert held.code == 0
    assert any("the budget of out holds here, too: $" in line for line in held.lines)
    assert arenaloop("rejudge", "out").code == 0  # asks nothing, so that no price is needed


def test_a_saved_budget_stops_a_rejudging(arenaloop: Command, run: Path, served: Any) -> None:
    again = ("rejudge", "out", "--judge", f"{served.url}#dear", "--prices", "both.yaml")
    stopped = arenaloop(*again)
    assert stopped.code == 4
    assert "the budget is spent" in stopped.lines[-1]
    assert len(served.heard) < 6
    assert arenaloop(*again, "--budget-usd", 1).code == 0
    saved = yaml.safe_load(next(run.glob("rejudged/*/config.yaml")).read_text())
    assert saved["budget_usd"] == 1.0


def test_each_way_out_that_is_told_works(arenaloop: Command, run: Path, served: Any) -> None:
    freely = arenaloop(
        *("rejudge", "out", "--judge", f"{served.url}#dear", "--budget-usd", "none", "--budget-calls", 20)
    )
    assert freely.code == 0
    more = ("battle", "--add", "--model", "c=file:c.json", "--out", "out")
    told = [arenaloop(*more, *rehearse) for rehearse in ((), ("--dry-run",), ("--budget-usd", 9, "--budget-calls", 99))]
    for one in told:
        assert one.code == 2
        assert "price of some earlier calls here is not known (6 of dear)" in one.lines[-1]
        assert "--prices FILE" in one.lines[-1]
        assert "--budget-usd none" in one.lines[-1]
    assert arenaloop(*more, "--prices", "both.yaml", "--budget-usd", 9, "--dry-run").code == 0
    assert arenaloop(*more, "--prices", "both.yaml", "--budget-usd", 9).code == 0
    assert arenaloop(*more).code == 0  # what was counted by is kept


def test_without_the_budget_calls_alone_are_limited(arenaloop: Command, run: Path, served: Any) -> None:
    assert arenaloop("rejudge", "out", "--judge", f"{served.url}#dear", "--budget-usd", "none").code == 0
    more = ("battle", "--add", "--model", "c=file:c.json", "--out", "out")
    assert arenaloop(*more, "--budget-usd", "none", "--budget-calls", 99).code == 0
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["budget_usd"], saved["budget_calls"]) == (None, 99)
