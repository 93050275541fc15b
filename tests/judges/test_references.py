"""Reference answers reach the judge between marker lines of their own; only verdicts with one have other keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.data.prompts import read_prompt
from arenaloop.errors import ConfigError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Prompt, Response

ASKED = {"question_id": 111, "turns": ["What is 2 + 2?", "And times 3?"]}
PLAIN = read_prompt(ASKED)
REFERRED = read_prompt({**ASKED, "reference": ["4", "12"]})
SEATS = (
    Response(PLAIN.id, "one", ("one 1", "one 2")),
    Response(PLAIN.id, "two", ("two 1", "two 2")),
)
MODEL = ScriptedModel("j", lambda _: "")


def text(judge: PairwiseJudge, prompt: Prompt) -> str:
    return judge.request(prompt, *SEATS, secret="s", seed=0).messages[-1]["content"]


@pytest.mark.parametrize("column", ["reference", "reference_answer", "references", "reference_answers"])
def test_columns_of_references(column: str) -> None:
    assert read_prompt({"prompt": "q", column: "a"}).references == ("a",)
    assert read_prompt({"prompt": "q", column: ["a", "", None, "b"]}).references == ("a", "b")
    assert read_prompt({"prompt": "q", column: "  "}).references == ()
    assert read_prompt({"prompt": "q", "answer": "gold"}).references == ()
    assert read_prompt({"prompt": "q", column: {"url": "x"}}).references == ()


@pytest.mark.parametrize("name", ["pairwise", "short", "score_first", "labels", "fastchat", "alpaca_eval"])
def test_every_template_of_pairs_shows_them_behind_the_code(name: str) -> None:
    judge = PairwiseJudge(MODEL, template=name)
    shown = text(judge, REFERRED)
    tag = shown.partition("\nMarker: ")[2].partition("\n")[0]
    assert f"\n=== {tag} reference 1 ===\n4\n=== {tag} reference 2 ===\n12\n=== {tag} answer 1 ===\n" in shown
    assert "reference 1" not in text(judge, PLAIN)
    assert read_judge_prompt(shown) == (ASKED["turns"], ["one 1", "one 2"], ["two 1", "two 2"])
    assert judge.template.plain  # joined, not filled anew


def test_only_where_a_reference_is_shown_the_key_is_another() -> None:
    assert PLAIN.id == REFERRED.id
    judge, blind = PairwiseJudge(MODEL), PairwiseJudge(MODEL, reference=False)
    other = read_prompt({**ASKED, "reference": ["4", "13"]})
    keys = [judge.key(prompt, *SEATS) for prompt in (PLAIN, REFERRED, other)]
    assert len(set(keys)) == 3
    assert {blind.key(prompt, *SEATS) for prompt in (PLAIN, REFERRED, other)} == {keys[0]}
    assert text(blind, REFERRED) == text(judge, PLAIN)
    rubric = RubricJudge(MODEL)
    one = Response(PLAIN.id, "m", ("a", "b"))
    assert rubric.key(PLAIN, one) != rubric.key(REFERRED, one)
    asked = rubric.request(REFERRED, one, secret="s", seed=0).messages[-1]["content"]
    assert "reference 2 ===\n12\n" in asked


def test_a_template_of_ones_own_shows_them_by_a_variable(tmp_path: Path) -> None:
    head = "{# parser: labels #}{% for c in criteria %}{{ c }}{% endfor %}"
    path = tmp_path / "own.jinja"
    path.write_text(head + "{% for r in reference %}{{ tag }} {{ r }}{% endfor %}" + '{% include "material" %}')
    assert load_template(str(path)).reference_hash is not None
    path.write_text(head + "{% for r in reference %}{{ r }}{% endfor %}" + '{% include "material" %}')
    with pytest.raises(ConfigError, match="the reference 1 has no tag before it"):
        load_template(str(path))
    own = "{{ tag }} {{ user }}{% for seat in seats %}{% for a in seat %} {{ tag }} {{ a }}{% endfor %}{% endfor %}"
    path.write_text(f"{head}{own} {{{{ tag }}}}")
    judge = PairwiseJudge(MODEL, template=str(path))
    assert judge.key(REFERRED, *SEATS) == judge.key(PLAIN, *SEATS)  # it shows none


def test_an_arena_file_takes_a_reference_that_comes_later(tmp_path: Path) -> None:
    with Store(tmp_path / "arena.db") as store:
        for prompt in (PLAIN, REFERRED, PLAIN):  # and keeps it
            store.add_prompts([prompt])
            store.flush()
        (found,) = [stored[0] for stored in store.on_prompts([PLAIN.id])]
        assert found.references == ("4", "12")
