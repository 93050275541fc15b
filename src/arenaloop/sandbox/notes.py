"""Short notes under a constraint: real instructions to a language model, whose answers a program can check.

A prompt asks for a note on a topic and constrains its form in one of twelve ways: ``Write a short note about rain. Use
only lower-case letters.`` Splits share the kinds of constraint and no topic; half of the prompts of ``dev`` and
``test`` word theirs as no prompt of ``train`` does. All functions are pure, and `parse` and `utility` need only texts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from arenaloop.errors import ConfigError, nearest
from arenaloop.sandbox.topics import TOPICS
from arenaloop.types import Prompt, derive_seed

__all__ = ["KINDS", "OPENINGS", "Kind", "Note", "draw", "holds", "parse", "says_something", "utility"]

OPENINGS = ("Write a short note about {}.", "Tell me something about {}.", "Say a few words about {}.")
"""How a prompt begins; a demonstration's prompt is no longer than that."""

_END = re.compile(r"[.!?]+[\"'”’)]*(?=\s|$)")
_WORDS = re.compile(r"\w+(?:['’-]\w+)*")
_BULLET = re.compile(r"[-*•]\s+\S")
_QUOTES = '"“”'


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of constraint.

    Attributes:
        arguments: what may be asked for, where the constraint names something: words, a number.
        wordings: how prompts of every split say it; ``{}`` is the argument.
        new_wordings: how only half of the prompts of ``dev`` and ``test`` say it.
        holds: whether a text without space around it keeps to it, given the argument.
    """

    wordings: tuple[str, str]
    new_wordings: tuple[str, str]
    holds: Callable[[str, str], bool]
    arguments: tuple[str, ...] = ("",)


def _bare(text: str) -> str:
    """Without case, and without signs around."""
    return re.sub(r"^\W+|\W+$", "", text.casefold())


def _is_listed(text: str, number: str) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return len(lines) == int(number) and all(map(_BULLET.match, lines))


KINDS: Mapping[str, Kind] = {
    "lower_case": Kind(
        ("Use only lower-case letters.", "Write everything in lower case."),
        ("No capital letters, please.", "Every letter must be small."),
        lambda text, _: text == text.lower() and text != text.upper(),
    ),
    "capitals": Kind(
        ("Use only capital letters.", "Write everything in capitals."),
        ("Answer in upper case throughout.", "Every letter must be a capital."),
        lambda text, _: text == text.upper() and text != text.lower(),
    ),
    "no_comma": Kind(
        ("Do not use any commas.", "Write it without a comma."),
        ("Commas are forbidden.", "Leave out every comma."),
        lambda text, _: "," not in text,
    ),
    "quoted": Kind(
        ("Put the whole note in quotation marks.", "Wrap your answer in double quotes."),
        ("The answer must stand between quotation marks.", "Begin and end with a double quotation mark."),
        lambda text, _: len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES,
    ),
    "begins": Kind(
        ('Begin with the words "{}".', 'Start your answer with "{}".'),
        ('The first words must be "{}".', 'Open with "{}".'),
        lambda text, words: re.match(rf"{re.escape(_bare(words))}\b", _bare(text)) is not None,
        ("In the morning", "To be honest", "Every year", "As a child", "On quiet days", "Long ago"),
    ),
    "ends": Kind(
        ('End with the words "{}".', 'Finish your answer with "{}".'),
        ('The last words must be "{}".', 'Close with "{}".'),
        lambda text, words: re.search(rf"\b{re.escape(_bare(words))}$", _bare(text)) is not None,
        ("That is all.", "Try it and see.", "Good night.", "So it goes.", "Tell your friends.", "Enough for today."),
    ),
    "uses": Kind(
        ('Use the word "{}".', 'Include the word "{}".'),
        ('The word "{}" must appear.', 'Work in the word "{}".'),
        lambda text, word: word in _words(text),
        ("gentle", "quiet", "bright", "ancient", "simple", "curious", "golden", "patient"),
    ),
    "avoids": Kind(
        ('Do not use the word "{}".', 'Avoid the word "{}".'),
        ('The word "{}" is forbidden.', 'Leave out the word "{}".'),
        lambda text, word: word not in _words(text),
        ("the", "and", "of", "a", "is"),
    ),
    "bullets": Kind(
        ("Answer with exactly {} bullet points.", "Make it a list of exactly {} bullets."),
        ("Give {} lines, each starting with a dash.", "Use {} bullet lines and nothing else."),
        _is_listed,
        ("2", "3"),
    ),
    "one_sentence": Kind(
        ("Write exactly one sentence.", "Use a single sentence."),
        ("One sentence and no more.", "Keep it to one sentence."),
        lambda text, _: len(_END.findall(text)) == 1 and "\n" not in text,
    ),
    "question": Kind(
        ("Phrase it as a question.", "Your answer must be a question."),
        ("Turn it into a question.", "Reply with a question."),
        lambda text, _: text.rstrip(_QUOTES).endswith("?"),
    ),
    "at_most": Kind(
        ("Use at most {} words.", "Do not use more than {} words."),
        ("Stay within {} words.", "The limit is {} words."),
        lambda text, most: len(text.split()) <= int(most),
        ("8", "10", "12"),
    ),
}
"""The kinds of constraint by name, in the order in which tables list them."""


@dataclass(frozen=True, slots=True)
class Note:
    """A prompt and what is known about it.

    Attributes:
        prompt: a single user turn with the tags ``family`` (the kind), ``split``, ``topic``, and ``wording``: ``seen``
            or ``new``.
        topic: what the note is to be about.
        kind: the kind of constraint; None of a plain prompt.
        argument: the words or the number that it names; empty where it names none.
    """

    prompt: Prompt
    topic: str
    kind: str | None
    argument: str = ""


def _pattern(wording: str) -> re.Pattern[str]:
    before, named, after = wording.partition("{}")
    return re.compile(re.escape(before) + ("(.+)" if named else "()") + re.escape(after))


_OPENED = [re.compile(re.escape(opening).replace(r"\{\}", "([a-z]+)") + "(?: (.+))?") for opening in OPENINGS]
_WORDED = [
    (name, kind, new, _pattern(wording))
    for name, kind in KINDS.items()
    for new, wordings in ((False, kind.wordings), (True, kind.new_wordings))
    for wording in wordings
]
_SPLIT = {topic: split for split, topics in TOPICS.items() for topic in topics}


@lru_cache(maxsize=1 << 14)
def parse(text: str) -> Note | None:
    """Read a prompt's text back, or None where it is none of these; space around the text does not matter."""
    text = text.strip()
    opened = next((match for pattern in _OPENED if (match := pattern.fullmatch(text))), None)
    if opened is None or opened[1] not in _SPLIT:
        return None
    topic, constraint = opened.groups()
    tags = {"split": _SPLIT[topic], "topic": topic}
    if constraint is None:
        return Note(Prompt.of(text, family="plain", wording="seen", **tags), topic, None)
    for name, kind, new, pattern in _WORDED:
        worded = pattern.fullmatch(constraint)
        if worded is not None and worded[1] in kind.arguments:
            prompt = Prompt.of(text, family=name, wording="new" if new else "seen", **tags)
            return Note(prompt, topic, name, worded[1])
    return None


def draw(n: int, seed: int, split: str = "train", *, exclude: Collection[str] = ()) -> list[Note]:
    """Draw `n` different prompts of one split: every kind as often, and half of the wordings new beside ``train``.

    A longer draw starts with the shorter one. `exclude` keeps out what was used elsewhere.

    Raises:
        ConfigError: an unknown split, a negative number, or more prompts than there are.
    """
    if split not in TOPICS:
        raise ConfigError(f"unknown split {split!r}{nearest(split, list(TOPICS))}; known: {', '.join(TOPICS)}")
    if n < 0:
        raise ConfigError(f"the number of prompts must not be negative, got {n}")
    rng = random.Random(derive_seed("sandbox.notes", seed, split))
    notes: list[Note] = []
    seen, misses = set(exclude), 0
    while len(notes) < n:
        # kinds take turns, and two turns in a row one wording of each sort
        turn, at = divmod(len(notes), len(KINDS))
        kind = KINDS[list(KINDS)[at]]
        wordings = kind.new_wordings if split != "train" and (turn + at) % 2 else kind.wordings
        constraint = rng.choice(wordings).format(rng.choice(kind.arguments))
        text = f"{rng.choice(OPENINGS).format(rng.choice(TOPICS[split]))} {constraint}"
        if text in seen:
            misses += 1
            if misses > 1000 + 10 * n:
                raise ConfigError(f"there are too few {split} prompts for a draw of {n}")
            continue
        seen.add(text)
        note = parse(text)
        assert note is not None
        notes.append(note)
    return notes


def holds(note: Note, answer: str) -> bool:
    """Whether an answer keeps to its prompt's constraint; to none, of a plain prompt."""
    text = answer.strip()
    return note.kind is None or KINDS[note.kind].holds(text, note.argument)


def says_something(note: Note, answer: str) -> bool:
    """Whether an answer is a note at all, whatever its form.

    It names the topic, is finished, and is not hollow: at least three words, of which most differ, two of four or more
    letters that the prompt does not hold, and no five in a row as they stand in the prompt.
    """
    text, words = answer.strip(), _words(answer)
    asked = _words(note.prompt.last_user)
    topic = note.topic.removesuffix("s")  # one bee is on topic too
    finished = note.kind == "bullets" or re.search(r"[.!?][\"'”’)]*$", text) is not None
    if not finished or len(words) < 3 or not any(topic in word for word in words):
        return False
    runs = {tuple(asked[at : at + 5]) for at in range(len(asked) - 4)}
    return (
        len(set(words)) >= 0.6 * len(words)
        and len({word for word in words if len(word) > 3} - set(asked)) >= 2
        and not any(tuple(words[at : at + 5]) in runs for at in range(len(words) - 4))
    )


@lru_cache(maxsize=1 << 15)
def utility(prompt: str, answer: str) -> float | None:
    """The gold utility of an answer, in [0, 1]; None where the prompt is none of these.

    1 where the constraint holds and the note says something, 0.4 for a note alone, 0.2 for the form alone.
    """
    note = parse(prompt)
    if note is None:
        return None
    form, content = holds(note, answer), says_something(note, answer)
    return 1.0 if form and content else 0.4 if content else 0.2 if form and answer.strip() else 0.0
