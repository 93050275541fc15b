from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parsed_page import HOSTILE, Page, assert_only_ours

from arenaloop.report import all_battles, page, write_report
from arenaloop.report.all_battles import AllBattles, Beside, script_json
from arenaloop.report.cards import Card, Turn
from arenaloop.report.texts import clip
from arenaloop.types import Prompt, Winner

TEXT = "**bold** " + " ".join(HOSTILE)


def card(i: int, **more: Any) -> Card:
    turns = [Turn(clip(f"question {i // 3}", 1000), clip(f"{TEXT} {i}", 9000), clip("same", 1000))]
    values: dict[str, Any] = {"kind": "", "prompt_id": f"p{i}", "model_a": "a", "model_b": "b", "snippet": f"q {i}"}
    values |= {"winner": Winner.TIE, "score_a": 5.0, "score_b": 4.5, "turns": turns, "tags": {"category": "math"}}
    return Card(**values | more)


def test_json_for_a_script_ends_no_element_and_no_line() -> None:
    value = ["</script><!--", "a & b", "\u2028\u2029", 'quote " \\']
    text = script_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == value


def test_the_index_tells_what_filters_need(tmp_path: Path) -> None:
    every = AllBattles(["b"], Beside(tmp_path / "r.html"), 10**6)
    every.add(card(0, kind="suspicious", flipped=True), prompt_id="p", in_page=True)
    every.add(card(1, winner=None, score_a=None, score_b=None), prompt_id="p")
    every.add(card(2, winner=Winner.MODEL_B), prompt_id="p2", own_failure=True)
    data = json.loads(str(every.embedded()))
    index = data["index"]
    assert index["models"] == ["b", "a"]
    assert index["rows"] == {
        "a": [1, 1, 1], "b": [0, 0, 0], "w": [1, 3, 2], "x": [5.0, None, 5.0], "y": [4.5, None, 4.5],
        "f": [1, 0, 2], "p": [0, 0, 1], "k": [2, 0, 0],
    }  # fmt: skip
    assert index["tags"] == ["category: math"]
    assert index["prompts"] == [["q 0", 0], ["q 2", 0]]
    assert index["parts"] == [[1]]  # the first battle stands in the page
    [[texts, cards]] = data["texts"]
    assert len(cards) == 2
    question, answer, same = cards[0][1][0]
    assert (texts[question], texts[same]) == ("question 0", "same")
    head, left_out, tail, html, _ = texts[answer]
    assert (left_out, tail) == (0, "")
    assert "⟨U+202E⟩" in head
    assert html.startswith("<p><strong>bold</strong> &lt;script&gt;")
    assert cards[1][1][0][2] == same  # the same text is there once


def test_what_does_not_fit_goes_beside_and_comes_back_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Beside(tmp_path / "r.html")
    monkeypatch.setattr(all_battles, "_PART", 50_000)
    every = AllBattles([], beside, 1000)
    whole = AllBattles([], Beside(tmp_path / "w.html"), 10**9)
    for i in range(60):
        for one in (every, whole):
            one.add(card(i), prompt_id=f"p{i}")
    data = json.loads(str(whole.embedded()))
    assert every.embedded() is None
    address = every.write()
    files = sorted(path.name for path in (tmp_path / "r.battles").iterdir())
    assert len(files) == len(data["texts"]) + 1 > 2
    text = (tmp_path / address).read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("arenaloopIndex(").removesuffix(");\n"))
    for at, (first, name) in enumerate(index["parts"]):
        part = (tmp_path / "r.battles" / name).read_text(encoding="utf-8")
        assert not re.search("[<>&\u2028\u2029]", part)
        inside = part.removeprefix("arenaloopPart(").removesuffix(");\n")
        assert json.loads(f"[{inside}]") == [at, data["texts"][at]]
        assert first == data["index"]["parts"][at][0]
    beside.tidy()
    assert sorted(path.name for path in (tmp_path / "r.battles").iterdir()) == files
    (tmp_path / "r.battles" / "mine.js").write_text("mine")
    Beside(tmp_path / "r.html").tidy()  # of a later page that needs none: what is not ours stays
    assert [path.name for path in (tmp_path / "r.battles").iterdir()] == ["mine.js"]


@pytest.mark.parametrize("room", [10_000_000, 2_000])
def test_all_battles_of_a_run_are_there(
    tmp_path: Path, play: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(page, "_BATTLES", 10)
    monkeypatch.setattr(page, "MAX_BYTES", room)
    prompts = [Prompt.of(f"question {i}", category="odd" if i % 2 else "even") for i in range(40)]
    players = {"x": lambda r: TEXT, "y": lambda r: "plain " + r.messages[-1]["content"] * 20}
    out = play(tmp_path / "run", players, lambda r: "Scores: 6 4", prompts)
    html = write_report(out).read_text(encoding="utf-8")
    parsed = Page(html)
    assert_only_ours(parsed)
    assert "All 40 battles. The first 10 are worth a look" in parsed.text
    beside = list(out.glob("report.battles/*.js"))
    policy = next(str(attrs["content"]) for _, attrs in parsed.elements if attrs.get("http-equiv"))
    if room > 10**6:
        data = json.loads(parsed.inside_of("data"))
        assert len(data["index"]["rows"]["a"]) == 40
        assert sum(len(cards) for _, cards in data["texts"]) == 30
        assert (beside, "file:" in policy) == ([], False)
    else:
        assert "file:" in policy
        assert "http" not in policy
        assert {path.name[:5] for path in beside} == {"00000", "index"}
        assert "keep the two together" in parsed.text
        monkeypatch.setattr(page, "MAX_BYTES", 10_000_000)
        write_report(out)
        assert not (out / "report.battles").exists()
