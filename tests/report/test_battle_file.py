from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from parsed_page import EVERYTHING, Page, assert_only_ours

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.data.formats import read_battles
from arenaloop.data.formats.where import parse_where
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.report import write_report


def talk(user: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]


def vote(i: int, winner: str) -> dict[str, Any]:
    return {
        "question_id": i // 2, "model_a": "m1", "model_b": ["m2", "m3"][i % 2], "winner": winner, "language": "en",
        "conversation_a": talk(f"ask {i // 2}", "# yes"), "conversation_b": talk(f"ask {i // 2}", f"no {EVERYTHING}"),
    }  # fmt: skip


def shown(path: Path) -> tuple[Page, dict[str, Any]]:
    page = Page(write_report(path).read_text(encoding="utf-8"))
    assert_only_ours(page)
    return page, json.loads(page.inside_of("data"))


def test_votes_are_rated_as_rank_does_and_shown_with_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    write_jsonl(path, [vote(i, ["model_a", "model_b", "tie", "model_a"][i % 4]) for i in range(60)])
    page, data = shown(path)
    assert (tmp_path / "votes.report.html").is_file()
    text = " ".join(page.text.split())
    for row in leaderboard(read_battles(path)).rows:
        assert f"{row.model} {row.rating:.0f}" in text
    assert "What the order is worth" in text
    assert "60 battles in the order of the file" in text
    index = data["index"]
    assert index["rows"]["w"][:4] == [0, 2, 1, 0]
    assert index["tags"] == ["language: en"]
    assert index["prompts"][1][0] == "ask 1"
    [[texts, cards]] = data["texts"]
    user, answer, other = cards[0][1][0]
    assert (texts[user], texts[answer]) == ("ask 0", ["# yes", 0, "", "<h4>yes</h4>", None])
    assert "⟨U+202E⟩" in texts[other]


def test_a_table_without_texts_is_listed_too(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["model_a", "model_b", "winner"], *[["x", "y", "model_b"]] * 3, ["x", "y", "tie"]])
    page, data = shown(path)
    assert "The file holds no texts of theirs." in page.text
    assert data["index"]["rows"]["w"] == [2, 2, 2, 1]
    assert data["index"]["rows"]["x"] == [0.0, 0.0, 0.0, 0.5]


def test_rows_are_chosen_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    write_jsonl(path, [vote(i, ["model_a", "model_b"][i % 2]) | {"anony": i % 3 > 0} for i in range(60)])
    page = Page(write_report(path, where=parse_where(["anony=true"])).read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert "40 battles in the order of the file" in text
    assert "--where anony=true: 40 of 60 rows" in text


def test_a_directory_of_judgments_is_reported_beside_it(tmp_path: Path) -> None:
    for judge in ("gpt", "gemini"):
        (tmp_path / "judged" / judge).mkdir(parents=True)
        rows = [
            {
                "uid": f"u{n}",
                "model": "m",
                "baseline": "b",
                "judge": judge,
                "games": [{"score": "A>B"}, {"score": "A>B"}],
            }
            for n in range(10)
        ]
        write_jsonl(tmp_path / "judged" / judge / "judgments.jsonl", rows)
    page, data = shown(tmp_path / "judged")
    assert (tmp_path / "judged.report.html").is_file()
    assert "40 battles in the order of the file" in " ".join(page.text.split())
    assert sorted(data["index"]["tags"]) == ["judge: gemini", "judge: gpt"]


def test_what_is_no_file_of_battles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n', encoding="utf-8")
    with pytest.raises(InputError, match="missing column"):
        write_report(path)
    assert [one.name for one in tmp_path.iterdir()] == ["x.jsonl"]


def test_one_of_several_judges_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "model_judgment"
    folder.mkdir()
    for judge, wins in (("gpt-4", ["model_1"] * 4), ("claude", ["model_2", "tie", "model_2"])):
        rows = [
            {"question_id": n, "model_1": "x", "model_2": "y", "g1_winner": won, "g2_winner": won,
             "judge": [judge, "pair-v2"], "turn": 1}
            for n, won in enumerate(wins)
        ]  # fmt: skip
        write_jsonl(folder / f"{judge}_pair.jsonl", rows)
    assert write_report(folder) == tmp_path / "model_judgment.report.html"
    assert "judgments of 2 judges are pooled" in (tmp_path / "model_judgment.report.html").read_text()
    page = Page(write_report(folder, tmp_path / "one.html", judges=["claude"]).read_text(encoding="utf-8"))
    assert json.loads(page.inside_of("data"))["index"]["rows"]["w"] == [2, 1, 2]
    assert "pooled" not in page.text
    with pytest.raises(InputError, match=r"no judge 'gpt-5' \(did you mean 'gpt-4'\?\)"):
        write_report(folder, judges=["gpt-5"])
    (folder / "arena.db").touch()
    with pytest.raises(ConfigError, match="is a run, merged by its rule"):
        write_report(folder, judges=["claude"])
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "model_judgment",
        "model_judgment.report.html",
        "one.html",
    ]
