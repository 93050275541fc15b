"""Options made from settings: their names, help and limits, and that only what is given is passed on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from arenaloop.cli.options import Fields, Given, add_verb
from arenaloop.config import AuditSettings, BatchSettings, BattleSettings, JudgeSettings

JUDGING = Fields("JudgeSettings", "verdict", "reask", template={"metavar": "NAME|FILE"})
BATCHES = Fields("BatchSettings", wait={"flag": "--wait/--no-wait", "help": "Wait."}, rest={"flag": "--batch-rest"})
heard: list[tuple[Any, ...]] = []


def ask(
    *,
    name: Annotated[str, typer.Option(help="Who.")],
    judging: Annotated[Given, JUDGING],
    loud: Annotated[bool, typer.Option("--loud", help="Shout.")] = False,
    batches: Annotated[Given, BATCHES],
) -> None:
    """Ask somebody."""
    heard.append((name, judging, loud, batches))


def other() -> None:
    """Do something else."""


app = typer.Typer()
add_verb(app, ask)
app.command()(other)


def run(*arguments: str, code: int = 0) -> Any:
    heard.clear()
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return heard[0] if heard else result.output


@pytest.mark.parametrize(
    ("arguments", "judging", "batches"),
    [
        ([], {}, {}),
        (["--reask", "0", "--template", "labels"], {"reask": 0, "template": "labels"}, {}),
        (["--no-wait"], {}, {"wait": False}),
        (
            ["--wait", "--batch-rest", "never"],
            {},
            {"wait": True, "rest": "never"},
        ),
    ],
)
def test_what_is_not_given_is_not_passed_on(arguments: list[str], judging: Given, batches: Given) -> None:
    assert run("ask", "--name", "x", *arguments) == ("x", judging, False, batches)


def test_none_takes_a_limit_away() -> None:
    told: list[Given] = []

    def spend(*, allowed: Annotated[Given, Fields("RunSettings", "budget_usd", "budget_calls", "seed")]) -> None:
        """Spend."""
        told.append(allowed)

    spending = typer.Typer()
    add_verb(spending, spend)
    spending.command()(other)
    for arguments, found in (
        (["--budget-usd", "none"], {"budget_usd": None}),
        (["--budget-usd", "1.5", "--budget-calls", "None"], {"budget_usd": 1.5, "budget_calls": None}),
        ([], {}),
    ):
        assert CliRunner().invoke(spending, ["spend", *arguments], catch_exceptions=False).exit_code == 0
        assert told.pop() == found
    for arguments in (["--budget-calls", "0"], ["--budget-calls", "1.5"], ["--budget-usd", "much"], ["--seed", "none"]):
        assert CliRunner().invoke(spending, ["spend", *arguments]).exit_code == 2


def test_limits_are_those_of_the_fields() -> None:
    assert "greater than or equal to 0" in run("ask", "--name", "x", "--reask", "-1", code=2)
    assert "--name" in run("ask", code=2)


def test_the_list_of_verbs_says_what_each_is_for() -> None:
    shown = run("--help")
    assert "Ask somebody." in shown
    assert "--reask" not in shown


def helps(fields: Fields) -> dict[str, str]:
    return {one.name: get_args(one.annotation)[1].help for one in fields.parameters()}


def test_help_is_the_docstring_with_choices_and_default() -> None:
    assert helps(Fields("BattleSettings", "merge", "seed", "allow_missing")) == {
        "merge": "How two seats become a battle: mean, agree_or_tie or two_battles. Default: mean.",
        "seed": "Seed of everything that is drawn. Default: 0.",
        "allow_missing": "Go on where a recorded model lacks answers.",
    }
    assert helps(Fields("AuditSettings", "seeds"))["seeds"].endswith(
        "pair. Default: one, and with recorded labels all that are recorded."
    )
    assert helps(JUDGING)["verdict"].count("logprob") == 1  # choices that the words name are not told twice
    assert helps(BATCHES)["wait"] == "Wait."


@pytest.mark.parametrize("kind", [AuditSettings, BatchSettings, BattleSettings, JudgeSettings])
def test_every_field_can_be_said_in_a_sentence(kind: Any) -> None:
    fields = Fields(kind.__name__, *(name for name, field in kind.model_fields.items() if not field.is_required()))
    for text in helps(fields).values():
        assert text[0].isupper() or not text[0].isalpha()
        assert text.endswith(".")
        assert "null" not in text.split("Default")[0]


def test_a_list_of_verbs_needs_no_settings(tmp_path: Path) -> None:
    code = (
        "import sys; from arenaloop.cli import main; sys.argv = ['arenaloop', '--help']\n"
        "try: main()\nexcept SystemExit: assert 'pydantic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "battle" in done.stdout
