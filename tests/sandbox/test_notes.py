"""Notes under a constraint: what keeps to one, what says something, and that the splits share kinds but no topic."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.config import ModelSettings
from arenaloop.errors import ConfigError
from arenaloop.sandbox import gold
from arenaloop.sandbox.editors import EDITORS, Editor, note_demonstrations
from arenaloop.sandbox.notes import KINDS, OPENINGS, draw, holds, parse, says_something, utility
from arenaloop.sandbox.topics import FACTS, TOPICS
from arenaloop.specs import contestant
from arenaloop.specs.data import load_demonstrations, load_prompts, true_utility
from arenaloop.types import Prompt, Request, Response, Sampling, Status


def asked(constraint: str, topic: str = "rain") -> str:
    return f"Write a short note about {topic}. {constraint}"


# (constraint, an answer that keeps to it, one that does not)
CASES = [
    ("Use only lower-case letters.", "rain fills rivers and lakes.", "Rain fills rivers and lakes."),
    ("Every letter must be a capital.", "RAIN FILLS RIVERS AND LAKES.", "RAIN fills rivers and lakes."),
    ("Commas are forbidden.", "Rain fills rivers and lakes.", "Rain fills rivers, ponds and lakes."),
    ("Wrap your answer in double quotes.", '"Rain fills rivers and lakes."', 'Rain fills "rivers and lakes."'),
    ("Put the whole note in quotation marks.", "“Rain fills rivers.”", "'Rain fills rivers and lakes.'"),
    ('Begin with the words "Long ago".', "Long ago, rain filled rivers.", "Longagoish rain filled rivers."),
    ('Open with "To be honest".', "to be honest: rain fills rivers.", "Rain, to be honest, fills rivers."),
    ('Close with "Good night.".', "Rain fills rivers. Good night!", "Good night. Rain fills rivers."),
    ('Include the word "gentle".', "Gentle rain fills rivers.", "Rain gently fills rivers."),
    ('Leave out the word "the".', "Rain fills other rivers.", "Rain fills the rivers."),
    ("Answer with exactly 2 bullet points.", "- Rain fills rivers\n* Rain smells fresh", "- Rain fills rivers."),
    ("Give 2 lines, each starting with a dash.", "- Rain fills rivers.\n\n- It smells fresh.", "1. Rain.\n2. Fresh."),
    ("Use a single sentence.", "Rain fills rivers, lakes and ponds.", "Rain fills rivers. It smells fresh."),
    ("One sentence and no more.", "Rain falls at 3.5 metres per second!", "Rain fills rivers"),
    ("Reply with a question.", "Does rain fill rivers and lakes?", "Does rain fill rivers? Yes it does."),
    ("Use at most 8 words.", "Rain fills lakes on our own warm days.", "Rain fills lakes on our very own warm days."),
]  # fmt: skip


@pytest.mark.parametrize(("constraint", "kept", "broken"), CASES)
def test_constraints(constraint: str, kept: str, broken: str) -> None:
    note = parse(asked(constraint))
    assert note is not None
    assert (holds(note, kept), holds(note, broken)) == (True, False)
    assert holds(note, f" \n{kept}\n")  # space around an answer is none of it
    assert (utility(asked(constraint), kept), utility(asked(constraint), "")) == (1.0, 0.0)
    assert utility(asked(constraint), broken) in (0.0, 0.4)


def test_every_kind_is_tried() -> None:
    tried = {note.kind for constraint, _, _ in CASES if (note := parse(asked(constraint))) is not None}
    assert tried == set(KINDS)
    assert len(KINDS) == 12


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("the weather fills rivers and lakes.", "another topic"),
        ("rain fills", "two words"),
        ("rain fills rivers and then it", "unfinished"),
        ("rain rain rain rain fills rivers rain rain.", "the same words"),
        ("rain is what it is for us.", "hollow"),
        ("write a short note about rain in lower-case letters for everybody.", "the prompt's own words"),
    ],
)
def test_hollow_answers_earn_little(answer: str, why: str) -> None:
    prompt = asked("Use only lower-case letters.")
    note = parse(prompt)
    assert note is not None
    assert holds(note, answer)
    assert not says_something(note, answer), why
    assert utility(prompt, answer) == 0.2


def test_gold_knows_both_worlds() -> None:
    assert gold.utility(asked("Use a single sentence."), "Rain fills rivers.") == 1.0
    assert gold.utility("reverse: kalom", "molak") == 1.0
    assert gold.utility("Who are you?", "Nobody.") is None


def test_a_cut_note_is_worth_nothing() -> None:
    worth = true_utility("sandbox:prompts?world=notes")
    assert worth is not None
    prompt, text = Prompt.of(asked("Answer with exactly 2 bullet points.")), "- Rain fills rivers.\n- Rain smells fre"
    assert worth(prompt, Response(prompt.id, "m", (text,))) == 1.0
    assert worth(prompt, Response(prompt.id, "m", (text,), Status.TRUNCATED)) == 0.0
    other = Prompt.of("Who are you?")
    assert worth(other, Response(other.id, "m", ("Nobody.",))) is None


# ---------------------------------------------------------------------- prompts


@pytest.mark.parametrize("split", TOPICS)
def test_draws(split: str) -> None:
    notes = draw(240, 3, split)
    assert len({note.prompt.last_user for note in notes}) == 240
    assert [note.prompt for note in notes[:60]] == [note.prompt for note in draw(60, 3, split)]
    assert draw(60, 4, split) != notes[:60]
    assert set(Counter(note.kind for note in notes).values()) == {20}
    assert {note.topic for note in notes} <= set(TOPICS[split])
    wordings = Counter((note.kind, note.prompt.tags["wording"]) for note in notes)
    new = [wordings[kind, "new"] for kind in KINDS]
    assert new == ([0] * 12 if split == "train" else [10] * 12)
    assert all(parse(f" {note.prompt.last_user}\n") == note for note in notes)


def test_splits_share_no_topic() -> None:
    everything = [topic for topics in TOPICS.values() for topic in topics]
    assert len(set(everything)) == len(everything) == len(FACTS) == 80


def test_draws_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        draw(1, 0, "tset")
    with pytest.raises(ConfigError, match="negative"):
        draw(-1, 0)
    with pytest.raises(ConfigError, match="too few test prompts"):
        draw(100_000, 0, "test")
    with pytest.raises(ConfigError, match="the worlds are words and notes"):
        load_prompts("sandbox:prompts?world=note", 0)


@given(st.text(max_size=60))
def test_other_texts_are_none_of_them(text: str) -> None:
    assert parse(text) is None
    assert parse(asked(text)) is None or text.strip() == ""
    assert utility(text, "Rain fills rivers.") is None


# ---------------------------------------------------------------------- editors


@settings(deadline=None)
@given(name=st.sampled_from(sorted(EDITORS)), seed=st.integers(0, 50), split=st.sampled_from(sorted(TOPICS)))
def test_editors_keep_to_what_they_know(name: str, seed: int, split: str) -> None:
    editor = Editor(name)
    for note in draw(24, seed, split):
        prompt = note.prompt.last_user
        worth = utility(prompt, editor.answer(prompt))
        assert worth == 0.4 if note.kind not in EDITORS[name] else worth in (1.0, 0.4)
        assert editor.answer(prompt) == editor.answer(prompt)


def test_every_fact_makes_a_good_note() -> None:
    """Of each topic and kind there is a good answer by both editors who know the kind."""
    for topic in FACTS:
        for kind in KINDS.values():
            for argument in kind.arguments:
                prompt = asked(kind.wordings[0].format(argument), topic)
                knowing = [Editor(name) for name, known in EDITORS.items() if parse(prompt).kind in known]
                assert len(knowing) == 2
                for editor in knowing:
                    editor.skills = dict.fromkeys(KINDS, 1.0)  # without slips
                    assert utility(prompt, editor.answer(prompt)) == 1.0, (prompt, editor.answer(prompt))


def test_editors_slip_as_often_as_they_should() -> None:
    notes = [note for note in draw(1500, 0) if note.kind in EDITORS["reporter"]]
    good = sum(utility(n.prompt.last_user, Editor("reporter").answer(n.prompt.last_user)) == 1.0 for n in notes)
    assert len(notes) == 1000
    assert 0.93 < good / len(notes) < 0.97


def test_editors_are_models_of_the_sandbox() -> None:
    made: Any = contestant(ModelSettings(spec="sandbox:columnist"))
    prompt = asked("Use a single sentence.")
    request = Request(({"role": "user", "content": prompt},), Sampling())
    assert asyncio.run(made.model.complete(request)).text == Editor("columnist").answer(prompt)
    assert made.name == "columnist"
    assert "short notes" in Editor("columnist").answer("reverse: kalom")
    with pytest.raises(ConfigError, match="did you mean 'columnist'"):
        contestant(ModelSettings(spec="sandbox:colunist"))


def test_habits_of_demonstrators_are_named_in_the_spec() -> None:
    assert len(load_demonstrations("sandbox:demonstrations?n=5&habits=0.6", 0)) == 5
    with pytest.raises(ConfigError, match="habits must be a share from 0 to 1, not 'many'"):
        load_demonstrations("sandbox:demonstrations?habits=many", 0)
    with pytest.raises(ConfigError, match="only the world of words has habits"):
        load_demonstrations("sandbox:demonstrations?world=notes&habits=0.6", 0)


def test_demonstrations_name_no_constraint() -> None:
    rows = note_demonstrations(24, 0)
    assert rows != note_demonstrations(24, 1)
    plain = {opening.format(topic) for opening in OPENINGS for topic in TOPICS["train"]}
    for prompt, text in rows:
        note = parse(prompt.last_user)
        assert prompt.last_user in plain
        assert note is not None
        assert says_something(note, text)
    first = load_demonstrations("sandbox:demonstrations?world=notes&n=24", 0)[0]
    assert [turn["content"] for turn in first["messages"]] == [rows[0][0].last_user, rows[0][1]]
