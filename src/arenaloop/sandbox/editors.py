"""Editors: scripted writers of notes, each of whom keeps to two thirds of the kinds of constraint; and demonstrations.

Every kind is known by two of the three, so that battles can tell who to learn it from. Where an editor does not know
one, or slips, it writes on the topic as it always does. The same editor gives the same text to the same prompt and
sample index.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from arenaloop.sandbox.notes import KINDS, OPENINGS, Note, holds, parse
from arenaloop.sandbox.topics import FACTS, TOPICS
from arenaloop.types import Prompt, Request, derive_seed

__all__ = ["EDITORS", "SLIPS", "Editor", "good_note", "note_demonstrations"]

SLIPS = 0.05
"""Share of the prompts of kinds that it knows on which an editor forgets the constraint."""

_THIRDS = [set(list(KINDS)[at::3]) for at in range(3)]
EDITORS: Mapping[str, frozenset[str]] = {
    "reporter": frozenset(_THIRDS[0] | _THIRDS[1]),
    "columnist": frozenset(_THIRDS[1] | _THIRDS[2]),
    "copywriter": frozenset(_THIRDS[2] | _THIRDS[0]),
}
"""The editors, and the kinds of constraint that each keeps to."""


def _plain(note: Note, rng: random.Random) -> str:
    """A note that knows of no constraint."""
    topic, fact = note.topic, rng.choice(FACTS[note.topic])
    return f"{topic.capitalize()} {fact}. As most people will say, the story of {topic} is a long and happy one."


def _obedient(note: Note, rng: random.Random) -> str:
    """A note that keeps to its constraint."""
    topic, what = note.topic, note.argument
    facts = list(FACTS[topic])
    rng.shuffle(facts)
    sentence = f"{topic.capitalize()} {facts[0]}."
    match note.kind:
        case "lower_case":
            return sentence.lower()
        case "capitals":
            return sentence.upper()
        case "quoted":
            return f'"{sentence}"'
        case "begins":
            return f"{what}, {topic} {facts[0]}."
        case "ends":
            return f"{sentence} {what}"
        case "uses":
            return f"{topic.capitalize()} {facts[0]} in a{'n' if what[0] in 'aeiou' else ''} {what} way."
        case "bullets":
            return "\n".join(f"- {topic.capitalize()} {fact}." for fact in facts[: int(what)])
        case "question":
            return f"Did you know that {topic} {facts[0]}?"
        case "avoids" | "at_most":
            sentences = [f"{topic.capitalize()} {fact}." for fact in facts]
            return next(text for text in sentences if holds(note, text))
        case _:
            return sentence


class Editor:
    """Call it with a request; it answers the last user turn, as `players.Player` does.

    Args:
        name: one of `EDITORS`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.skills = {kind: (1.0 - SLIPS) * (kind in EDITORS[name]) for kind in KINDS}

    def __call__(self, request: Request) -> str:
        """Answer the last user turn."""
        return self.answer(request.messages[-1]["content"], request.sample)

    def answer(self, prompt: str, sample: int = 0) -> str:
        """Answer one prompt's text; `sample` numbers the answers to the same prompt."""
        note = parse(prompt)
        if note is None:
            return "I write short notes; ask me for one."
        rng = random.Random(derive_seed("sandbox.editor", self.name, prompt, sample))
        obeys = note.kind is not None and rng.random() < self.skills[note.kind]
        return _obedient(note, rng) if obeys else _plain(note, rng)


def good_note(prompt: str) -> str:
    """An answer of top utility to a prompt under a constraint."""
    note = parse(prompt)
    assert note is not None
    return _obedient(note, random.Random(derive_seed("sandbox.good_note", prompt)))


def note_demonstrations(n: int, seed: int) -> list[tuple[Prompt, str]]:
    """Conversations to train the first stage on ("D0"): plain prompts of the train split with two facts each."""
    rng = random.Random(derive_seed("sandbox.note_demonstrations", seed))
    rows: list[tuple[Prompt, str]] = []
    for _ in range(n):
        topic = rng.choice(TOPICS["train"])
        first, second = rng.sample(FACTS[topic], 2)
        prompt = Prompt.of(rng.choice(OPENINGS).format(topic), split="train")
        rows.append((prompt, f"{topic.capitalize()} {first}. {topic.capitalize()} also {second}."))
    return rows
