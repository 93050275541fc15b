"""Where a judge gives probabilities, win rates and AlpacaEval's annotations are made of them; ratings count winners."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.probabilities import gives_probabilities, judged_share

ANNOTATED = "annotated/annotations.json"
Command = Callable[..., Any]

BATTLE = [
    "battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=12",
    "--judge", "sandbox:judge", "--out", "run",
]  # fmt: skip


def battles(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "battles.jsonl").read_text().splitlines()]


def rate(arenaloop: Command, source: str, *more: str) -> tuple[dict[str, Any], list[str]]:
    document = json.loads(arenaloop("winrate", source, "--baseline", "a", "--json", *more).out)
    return document["leaderboard"][0], document["notes"]


def test_win_rates_and_annotations_are_of_the_probabilities(arenaloop: Command, tmp_path: Path) -> None:
    assert arenaloop(*BATTLE).code == 0
    graded, notes = rate(arenaloop, "run")
    winners = [{"model_a": 0.0, "tie": 50.0, "model_b": 100.0}[row["winner"]] for row in battles(tmp_path / "run")]
    assert graded["win_rate"] == pytest.approx(sum(winners) / 12)  # grades of 1 to 10 are no preferences
    assert not any("probabilities" in note for note in notes)
    assert arenaloop("rejudge", "run", "--verdict", "logprob").code == 0
    again = "run/rejudged/pairwise-logprob-sandbox-judge"
    rows = battles(tmp_path / again)
    soft = [row["score_b"] for row in rows]
    assert {*soft} - {0.0, 0.5, 1.0}
    row, notes = rate(arenaloop, again, "--control", "length")
    assert row["win_rate"] == pytest.approx(100 * sum(soft) / 12)
    assert any(note.startswith("rates are means of the judge's probabilities") for note in notes)
    assert arenaloop("export", again, "--to", "alpaca-eval", "--baseline", "a", "--out", "annotated").code == 0
    written = json.loads((tmp_path / "annotated/annotations.json").read_text())
    assert [one["preference"] for one in written] == pytest.approx([1 + score for score in soft])
    exported, _ = rate(arenaloop, "annotated/annotations.json", "--control", "length")
    assert (exported["win_rate"], exported["lc_win_rate"]) == pytest.approx((row["win_rate"], row["lc_win_rate"]))
    hard = [{"instruction": one["instruction"], "difficulty": n % 5 - 2.0} for n, one in enumerate(written)]
    (tmp_path / "gamma.json").write_text(json.dumps(hard))  # by instruction, for a run as for a file
    of = [rate(arenaloop, one, "--control", "length", "--difficulty", "gamma.json")[0] for one in (again, ANNOTATED)]
    assert of[0]["lc_win_rate"] == pytest.approx(of[1]["lc_win_rate"])
    assert "no_difficulty" in row["flags"]
    assert "no_difficulty" not in of[0]["flags"]
    assert arenaloop("export", again, "--to", "alpaca-eval", "--baseline", "b", "--out", "turned").code == 0
    turned = json.loads((tmp_path / "turned/annotations.json").read_text())
    assert [one["preference"] for one in turned] == pytest.approx([2 - score for score in soft])
    board = json.loads((tmp_path / again / "leaderboard.json").read_text())["leaderboard"]
    wins = sum({"model_a": 1.0, "tie": 0.5, "model_b": 0.0}[row["winner"]] for row in rows)
    assert {one["model"]: one["win_rate"] for one in board}["a"] == pytest.approx(wins / 12)  # ratings count winners
    # beside the share of winners stands what winrate says, wherever the board is shown
    share = sum(soft) / 12
    assert {one["model"]: one["weighted_win_rate"] for one in board} == pytest.approx({"a": 1 - share, "b": share})
    ranked = arenaloop("rank", again)
    assert "weighted is the mean of the judge's probabilities" in " ".join(ranked.out.split())
    assert f"{100 * share:.1f} %" in ranked.out
    assert "weighted" not in arenaloop("rank", "run").out
    for to, name in (("csv", "weighted_win_rate"), ("markdown", "weighted")):
        assert arenaloop("export", again, "--to", to, "--out", f"board.{to}").code == 0
        assert name in (tmp_path / f"board.{to}").read_text()
        assert arenaloop("export", "run", "--to", to, "--out", f"hard.{to}").code == 0
        assert "weighted" not in (tmp_path / f"hard.{to}").read_text()
    # a file of battles says nothing of its scores: the settings beside it do
    told, notes = rate(arenaloop, f"{again}/battles.jsonl")
    assert told["win_rate"] == pytest.approx(row["win_rate"])
    assert notes[0].startswith("rates are means of the judge's probabilities")
    (tmp_path / "alone.jsonl").write_text((tmp_path / again / "battles.jsonl").read_text())
    for name, file in (
        ("alone.jsonl", "if score_a is a judge's probability"),
        ("both/*/battles.jsonl", "1 of 2 files"),
    ):
        for at, lines in enumerate((tmp_path / "alone.jsonl").read_text().splitlines(True)[n::2] for n in (0, 1)):
            (tmp_path / f"both/{at}").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"both/{at}/battles.jsonl").write_text("".join(lines))
        (tmp_path / "both/0/config.yaml").write_text("judge: {spec: j, verdict: logprob}")
        told, notes = rate(arenaloop, name)
        assert told["win_rate"] == pytest.approx(100 * (1 - wins / 12))
        assert file in notes[0]
    (tmp_path / "both/1/config.yaml").write_text("judge: {spec: j, verdict: logprob}")
    assert rate(arenaloop, "both/*/battles.jsonl")[0]["win_rate"] == pytest.approx(row["win_rate"])
    assert "winners are counted, as streaming does" in rate(arenaloop, "both/*/battles.jsonl", "--stream")[1][-1]


@pytest.mark.parametrize(
    ("config", "soft"),
    [
        ("judge: {spec: j, verdict: logprob}", True),
        ("judge: {spec: j, verdict: text}", False),
        ("judge: {spec: j, verdict: logprob}\nmerge: agree_or_tie", False),
        ("judge: {rule: mean, jury: [{spec: j, verdict: logprob}, {spec: k, verdict: logprob}]}", True),
        ("judge: {rule: mean, jury: [{spec: j, verdict: logprob}, {spec: k}]}", False),
        ("judge: {rule: majority, jury: [{spec: j, verdict: logprob}, {spec: k, verdict: logprob}]}", False),
        ("judge: builtin:longest", False),
        ("judge: [", False),
        (None, False),
    ],
)
def test_whose_scores_are_probabilities(tmp_path: Path, config: str | None, soft: bool) -> None:
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    assert gives_probabilities(tmp_path) is soft


def test_a_row_without_probabilities_counts_by_its_winner() -> None:
    assert judged_share({"winner": "model_a", "score_a": 0.625, "score_b": 0.375}) == 0.625
    assert judged_share({"winner": "model_a", "score_a": 7.0, "score_b": 5.0}) == 1.0
    assert judged_share({"winner": "model_b", "score_a": None, "score_b": None, "own_failure": "a"}) == 0.0
    assert judged_share({"winner": "modle_a"}) == "modle_a"  # which the reader of scores names
