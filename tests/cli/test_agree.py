from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from arenaloop.cli.agree import agree
from arenaloop.errors import InputError

app = typer.Typer()
app.command()(agree)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def boards(tmp_path: Path) -> tuple[str, str]:
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.json"
    ours.write_text("model,rating,lower,upper\na,30,25,35\nb,20,15,24\nc,26,21,31\nd,1,0,2\n")
    rows = [
        {"model": m, "rating": r, "lower": r - 2, "upper": r + 2}
        for m, r in (("a", 30), ("b", 20), ("c", 10), ("x", 1))
    ]
    theirs.write_text(json.dumps({"leaderboard": rows}))
    return str(ours), str(theirs)


def test_the_document_has_exactly_the_promised_fields(boards: tuple[str, str]) -> None:
    document = json.loads(run(*boards, "--json"))
    assert document == {
        "models": 3,
        "pairs": 3,
        "reference_separated": 3,
        "spearman": pytest.approx(50.0),
        "human_agreement": pytest.approx(100 / 3),  # a above b; a and c, b and c overlap
        "differentiation": pytest.approx(100 / 3),
        "average": pytest.approx((50 + 200 / 3) / 3),
    }
    assert list(document) == [
        "models", "pairs", "reference_separated", "spearman", "human_agreement", "differentiation", "average",
    ]  # fmt: skip


def test_the_text_names_opposite_and_open_pairs(boards: tuple[str, str]) -> None:
    shown = run(*boards)
    assert "3 models in both" in shown
    assert "0 the other way and leaves 2 open" in shown


def test_no_common_model_is_an_error(boards: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("model,rating,lower,upper\nq,1,0,2\n")
    with pytest.raises(InputError, match="no model in common"):
        run(boards[0], str(other))


def test_models_of_one_list_and_names_that_only_look_alike_are_told(boards: tuple[str, str], tmp_path: Path) -> None:
    assert "note: in A alone, not compared (1): d\nnote: in B alone, not compared (1): x\n" in run(*boards)
    other = tmp_path / "other.csv"
    other.write_text("model,rating,lower,upper\nA,3,2,4\nb ,2,1,3\nc,1,0,2\n")
    shown = run(str(other), boards[1])
    assert "1 model in both" in shown
    assert "'A' (A) and 'a' (B) look alike and are compared as different models" in shown
    assert "'b ' (A) and 'b' (B) look alike" in shown
    json.loads(run(str(other), boards[1], "--json"))  # notes are not in the way
    other.write_text("model,rating,lower,upper\nA,3,2,4\n")
    with pytest.raises(InputError, match=r"no model in common; 'A' \(A\) and 'a' \(B\) look alike"):
        run(str(other), boards[1])
    assert "note" not in run(boards[1], boards[1])
