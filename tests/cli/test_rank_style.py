"""`arenaloop rank`: at equal style, and with a jury whose members are fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rank_command import run

from arenaloop.cli.rank import rank
from arenaloop.errors import ConfigError, InputError


@pytest.fixture
def styled(tmp_path: Path) -> Path:
    """A baseline that everybody met, who write more headers than it does; headers win."""
    rng = np.random.default_rng(1)
    rows = []
    for t in range(300):
        own, base = int(rng.integers(0, 6)), int(rng.integers(0, 3))
        won = rng.random() < 1 / (1 + np.exp(-(own - base) / 2))
        text = "words " * int(rng.integers(5, 50))
        rows.append(
            {"model_a": f"m{t % 3}", "model_b": "base", "winner": "model_a" if won else "model_b", "prompt_id": t // 3,
             "response_a": "# h\n" * own + text, "response_b": "# h\n" * base + "words " * 20}
        )  # fmt: skip
    path = tmp_path / "styled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_style_is_counted_in_the_texts_and_told_in_a_table(styled: Path) -> None:
    document = json.loads(run(str(styled), "--control", "style", "--json"))
    assert document["style"] == "style"
    assert document["coefficients"]["headers"]["lower"] > 0
    shown = run(str(styled), "--control", "style")
    for words in ("at equal style", "nats per deviation", "headers", "no difference in lists and bold"):
        assert words in shown
    frozen = document["coefficients"]["headers"]
    freeze = f"headers={frozen['value']}:{frozen['scale']}"
    again = json.loads(run(str(styled), "--control", "style", "--control", freeze, "--json"))
    assert again["coefficients"]["headers"]["frozen"]
    assert [row["rating"] for row in again["leaderboard"]] == pytest.approx(
        [row["rating"] for row in document["leaderboard"]], abs=1e-3
    )


def test_arena_hard_s_procedure_puts_the_others_further_from_the_baseline(styled: Path, battles: Path) -> None:
    def below(*control: str) -> float:
        rows = json.loads(run(str(styled), *control, "--json"))["leaderboard"]
        rating = {row["model"]: row["rating"] for row in rows}
        return float(np.mean([rating[f"m{n}"] for n in range(3)]) - rating["base"])

    assert below("--control", "arena_hard") > below("--control", "style") + 50
    assert "at the mean style difference" in run(str(styled), "--control", "arena_hard")
    with pytest.raises(ConfigError, match="no model is in every battle"):
        rank([styles(battles)], control=["arena_hard"])


def test_win_rates_of_the_controlled_fit_stand_beside_the_raw_ones(styled: Path) -> None:
    document = json.loads(run(str(styled), "--control", "arena_hard", "--json"))
    rows = {row["model"]: row for row in document["leaderboard"]}
    for name in ("m0", "m1", "m2"):
        apart = rows[name]["rating"] - rows["base"]["rating"]
        rate = rows[name]["controlled_win_rate"]
        assert rate == pytest.approx(1 / (1 + 10 ** (-apart / 400)), abs=1e-6)
        assert rows[name]["controlled_lower"] < rate < rows[name]["controlled_upper"]
    assert rows["base"]["controlled_lower"] is None
    assert "style-controlled" in run(str(styled), "--control", "arena_hard")
    assert "controlled_win_rate" not in run(str(styled), "--json")


def test_each_part_has_its_own_baseline(styled: Path) -> None:
    """As Arena-Hard v2 has it: no model is in every battle, and each category's board is that of its file alone."""
    rows = [json.loads(line) for line in styled.read_text().splitlines()]
    both = [row | {"category": "hard"} for row in rows]
    both += [row | {"category": "writing", "model_b": "other", "prompt_id": 900} for row in rows[:60]]
    path = styled.with_name("both.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in both))
    document = json.loads(run(str(path), "--control", "arena_hard", "--by", "category", "--least", "20", "--json"))
    hard, writing = document["by"]["boards"]
    alone = json.loads(run(str(styled), "--control", "arena_hard", "--json"))
    assert [row["controlled_win_rate"] for row in hard["leaderboard"]] == pytest.approx(
        [row["controlled_win_rate"] for row in alone["leaderboard"]], abs=1e-6
    )
    assert {row["model"] for row in writing["leaderboard"]} == {"m0", "m1", "m2", "other"}
    assert "style" not in document
    assert any("rated as judged" in note for note in document["notes"])


def styles(battles: Path) -> Path:
    """The battles, each with two texts."""
    rows = [json.loads(line) | {"output_a": "x", "output_b": "y z"} for line in battles.read_text().splitlines()]
    path = battles.with_name("texts.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_without_style_are_refused(battles: Path) -> None:
    with pytest.raises(ConfigError, match="--answers goes with"):
        rank([battles], answers=battles)


def test_answers_of_others_are_named(battles: Path) -> None:
    answers = battles.with_name("answers.jsonl")
    answers.write_text('{"model_id": "gpt", "question_id": 1, "choices": [{"turns": ["x"]}]}\n')
    with pytest.raises(InputError, match="no answer here is by a model that battled: these are answers of gpt, and"):
        rank([battles], answers=answers, control=["style"])


def test_a_jury_s_votes_by_fitted_reliability(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"model_a": a, "model_b": b, "prompt_id": prompt, "judge": judge,
         "winner": "model_a" if rng.random() < 1 / (1 + np.exp(-slope * (b > a) + slope * (a > b))) else "model_b"}
        for prompt in range(40)
        for a, b in (("x", "y"), ("y", "x"), ("x", "z"), ("z", "x"), ("y", "z"), ("z", "y"))
        for judge, slope in (("sharp", 2.0), ("fair", 1.0), ("coin", 0.0))
    ]  # fmt: skip
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = json.loads(run(str(path), "--rule", "reliability", "--json"))
    weights = {one["name"]: one["weight"] for one in document["judges"]}
    assert weights["sharp"] == 1.0
    assert 0.2 < weights["fair"] < 0.9
    assert weights["coin"] < 0.2
    assert document["votes"] == len(rows)
    shown = run(str(path), "--rule", "reliability")
    for words in ("1st seat", "3 fitted judges", "coin: no better than a coin"):
        assert words in shown
    anchored = json.loads(run(str(path), "--rule", "reliability", "--anchor", "z=1000", "--json"))
    assert next(row for row in anchored["leaderboard"] if row["model"] == "z")["rating"] == pytest.approx(1000)
    for bad in ({"rule": "majority"}, {"rule": "reliability", "control": ["length"]}):
        with pytest.raises(ConfigError, match="--rule"):
            rank([path], **bad)
