"""Scripted players of the small world: the opponents that a target learns from, weaker ones, and human demonstrations.

A player knows each family more or less well. Where it errs it writes what someone who half knows the task would write,
so wrong answers have graded utility and look like answers. The same player gives the same text to the same prompt and
sample index, whatever the order of calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from arenaloop.errors import ConfigError, nearest
from arenaloop.sandbox.tasks import FAMILIES, Task, draw, parse
from arenaloop.types import Prompt, Request, derive_seed

__all__ = ["OPPONENTS", "SKILLS", "Player", "demonstrations", "habit", "slip"]


def _skills(default: float, **by_family: float) -> dict[str, float]:
    return {name: by_family.get(name, default) for name in FAMILIES}


SKILLS: Mapping[str, Mapping[str, float]] = {
    "oracle": _skills(1.0),
    "scholar": _skills(0.85, reverse=0.97, spell=0.97, double=0.95, vowels=0.95, larger=0.6, next=0.6, plural=0.7),
    "clerk": _skills(0.8, larger=0.97, next=0.97, swap=0.95, initials=0.95, reverse=0.6, double=0.6, vowels=0.65),
    "poet": _skills(0.75, plural=0.97, uppercase=0.95, consonants=0.95, repeat=0.95, spell=0.6, next=0.5, swap=0.65),
    "novice": _skills(0.4, repeat=0.8, uppercase=0.7, larger=0.5),
    "parrot": _skills(0.0, repeat=1.0),
}
"""Share of prompts that a player answers with top utility, by player and family."""

OPPONENTS = ("scholar", "clerk", "poet")
"""The opponents of the demo: each is the best of the three in some families and poor in others."""

DEMONSTRATION_SKILL = 0.85
"""Share of demonstrations that are right: conversations found in the wild are of mixed quality."""

DEMONSTRATION_WEIGHTS: Mapping[str, float] = dict(zip(FAMILIES, (8, 2, 4, 1, 1, 1, 1, 2, 3, 1, 4, 1), strict=True))
"""How often each family is demonstrated: conversations found in the wild are skewed to what people like to ask, so a
model trained on them is poor in the rest, and has something to lose battles in."""

HABIT_SHARES: Mapping[str, float] = dict(
    zip(FAMILIES, (0.6, 1.4, 1.0, 0.7, 1.3, 0.9, 1.1, 0.8, 1.2, 0.5, 1.5, 1.0), strict=True)
)
"""How much more or less often than on average a family is demonstrated out of habit; the mean is 1."""


def _typo(text: str, alphabet: str, rng: random.Random) -> str:
    """One slip of the pen: a letter lost, written wrong, written twice, or exchanged with its neighbour."""
    if not text:
        return rng.choice(alphabet)
    at = rng.randrange(len(text))
    kind = rng.randrange(4)
    if kind == 0 and len(text) > 1:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    if kind == 2 and at + 1 < len(text):
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + rng.choice(alphabet) + text[at + 1 :]


def _misread(task: Task, rng: random.Random) -> str:
    """What comes out when the task itself is misunderstood."""
    words = task.argument.split()
    by_family: dict[str, Callable[[], str]] = {
        "repeat": lambda: words[0][:-1],
        "reverse": lambda: task.argument[-1] + task.argument[:-1],
        "uppercase": lambda: task.argument.capitalize(),
        "spell": lambda: " ".join(task.argument),
        "double": lambda: task.argument * 2,
        "vowels": lambda: task.answer[:-1],
        "consonants": lambda: task.argument[0] + task.argument[-1],
        "plural": lambda: task.argument + ("es" if task.answer == task.argument + "s" else "s"),
        "swap": lambda: task.argument,
        "initials": lambda: "".join(word[-1] for word in words),
        "larger": lambda: min(words, key=int),
        "next": lambda: str(int(task.argument) + rng.choice((-1, 2, 10, 11))),
    }
    return by_family[task.family]()


def slip(task: Task, rng: random.Random) -> str:
    """A plausible wrong answer: the task misread, or one to three slips of the pen; never the right answer or empty."""
    if rng.random() < 0.4:
        text = _misread(task, rng)
    else:
        alphabet = (task.argument + task.answer).replace(" ", "")
        text = task.answer
        for _ in range(rng.choice((1, 1, 2, 3))):
            text = _typo(text, alphabet, rng)
    text = text.strip()
    while text == task.answer or not text:
        text += rng.choice(task.argument).strip()
    return text


def _small_talk(text: str, rng: random.Random) -> str:
    """An answer to a prompt from outside the world: some of its words, as someone out of his depth would say them."""
    words = text.split() or ["that"]
    picked = " ".join(rng.choice(words) for _ in range(rng.randint(3, 12)))
    return rng.choice(("I think it is about {}.", "Perhaps {}?", "You could say: {}.")).format(picked)


class Player:
    """A scripted contestant; call it with a request to get its text (see `arenaloop.models.scripted.ScriptedModel`).

    Args:
        name: a name in `SKILLS`, or any name when `skills` are given.
        skills: share of prompts answered with top utility, by family; families left out count as 0.
        closing: what it writes after every answer: something that a judge loves, and nobody has asked for.

    Raises:
        ConfigError: an unknown player or family, or a skill outside [0, 1].
    """

    def __init__(self, name: str, skills: Mapping[str, float] | None = None, closing: str = "") -> None:
        if skills is None:
            if name not in SKILLS:
                raise ConfigError(f"unknown sandbox player {name!r}{nearest(name, list(SKILLS))}")
            skills = SKILLS[name]
        for family, skill in skills.items():
            if family not in FAMILIES:
                raise ConfigError(f"unknown family {family!r}{nearest(family, list(FAMILIES))}")
            if not 0 <= skill <= 1:
                raise ConfigError(f"the skill in {family!r} must lie in [0, 1], got {skill}")
        self.name = name
        self.skills = dict(skills)
        self.closing = closing

    def __call__(self, request: Request) -> str:
        """Answer the last user turn."""
        return self.answer(request.messages[-1]["content"], request.sample) + self.closing

    def answer(self, prompt: str, sample: int = 0) -> str:
        """Answer one prompt's text; `sample` numbers the answers to the same prompt."""
        rng = random.Random(derive_seed("sandbox.player", self.name, prompt, sample))
        task = parse(prompt)
        if task is None:
            return _small_talk(prompt, rng)
        if self.name == "parrot":
            return task.argument
        return task.answer if rng.random() < self.skills.get(task.family, 0.0) else slip(task, rng)


def habit(task: Task) -> str:
    """The top answer, spoilt by what whoever demonstrates the family is in the habit of doing.

    In every other family of `FAMILIES` the last letter is left out, in the rest it is written twice. Unlike a slip it
    is the same fault each time: a model that imitates it makes it in earnest, and feedback can tell it not to.
    """
    short = list(FAMILIES).index(task.family) % 2 == 0 and len(task.answer) > 1
    return task.answer[:-1] if short else task.answer + task.answer[-1]


def demonstrations(n: int, seed: int, habits: float = 0.0) -> list[tuple[Prompt, str]]:
    """Conversations to train the first stage on ("D0"): prompts of the train split with answers of mixed quality.

    They are skewed to some families (`DEMONSTRATION_WEIGHTS`) and right with probability `DEMONSTRATION_SKILL`.

    Args:
        n: how many.
        seed: later draws of the same run keep clear of these prompts with ``draw(..., exclude=...)``.
        habits: share of right answers that are spoilt by a `habit`, on average; by family see `HABIT_SHARES`. The
            families are equally frequent then.

    Raises:
        ConfigError: `habits` outside [0, 1].
    """
    if not 0 <= habits <= 1:
        raise ConfigError(f"habits must lie in [0, 1], got {habits}")
    rows: list[tuple[Prompt, str]] = []
    for task in draw(n, seed, "train", weights=None if habits else DEMONSTRATION_WEIGHTS):
        rng = random.Random(derive_seed("sandbox.demonstration", seed, task.prompt.last_user))
        text = task.answer if rng.random() < DEMONSTRATION_SKILL else slip(task, rng)
        if text == task.answer and rng.random() < habits * HABIT_SHARES[task.family]:
            text = habit(task)
        rows.append((task.prompt, text))
    return rows
