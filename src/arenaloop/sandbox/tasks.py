"""The tasks of the small world: short words and numbers, with a utility in [0, 1] that is known for every answer.

A prompt is one line, ``reverse: kalom``, whose first word names the family. Words are made of syllables, so that there
are as many as a run asks for and none that a model could have met elsewhere. All functions are pure; `parse` and
`utility` need only texts, so whoever holds a prompt and an answer can look up the truth.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate

from arenaloop.errors import ConfigError, nearest
from arenaloop.types import Prompt, derive_seed

__all__ = ["FAMILIES", "SPLITS", "Family", "Task", "draw", "parse", "split_of", "utility"]

SPLITS = ("train", "dev", "test")

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
# Families that write a lot get shorter words: a batch is padded to its longest row, and training time goes with it.
_SHORT = ("CV", "VC", "CVC")
_MEDIUM = ("CVC", "VCV", "CVCV", "VCVC")
_LONG = (*_MEDIUM, "CVCVC", "VCVCV")


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of task.

    Attributes:
        name: the word that a prompt starts with.
        instruction: what is asked, in words.
        make: draws the argument of a new task.
        solve: the top-utility answer to an argument.
        argument: what an argument looks like; a prompt whose argument does not match is outside the world.
        form: what an answer looks like, right or wrong.
        numeric: wrong answers are graded by distance on the number line instead of by edits.
    """

    name: str
    instruction: str
    make: Callable[[random.Random], str]
    solve: Callable[[str], str]
    argument: re.Pattern[str]
    form: re.Pattern[str]
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt of the world and what is known about it.

    Attributes:
        prompt: a single user turn with the tags ``family`` and ``split``.
        family: name of the family.
        argument: what the family is applied to.
        answer: the top-utility text.
    """

    prompt: Prompt
    family: str
    argument: str
    answer: str


def _word(rng: random.Random, shapes: Sequence[str] = _LONG) -> str:
    return "".join(rng.choice(_CONSONANTS if c == "C" else _VOWELS) for c in rng.choice(shapes))


def _medium_word(rng: random.Random) -> str:
    return _word(rng, _MEDIUM)


def _two_words(rng: random.Random) -> str:
    return " ".join(_word(rng, _SHORT) for _ in range(2))


def _three_words(rng: random.Random) -> str:
    return " ".join(_word(rng, _SHORT) for _ in range(3))


def _two_numbers(rng: random.Random) -> str:
    first = rng.randint(100, 999)
    return f"{first} {(first - 100 + rng.randint(1, 899)) % 900 + 100}"


def _noun(rng: random.Random) -> str:
    # the endings that have a rule of their own must be common enough to be learnt
    stem = _word(rng)
    return stem[:-1] + rng.choice("sxzy") if stem[-1] not in _VOWELS and rng.random() < 0.5 else stem


def _plural(word: str) -> str:
    if word[-1] == "y":
        return word[:-1] + "ies"
    return word + ("es" if word[-1] in "sxz" else "s")


_WORD = r"[a-z]{1,12}"
_LETTERS = re.compile(r"[a-z]+")
_ONE = re.compile(_WORD)
_TWO = re.compile(rf"{_WORD} {_WORD}")
_THREE = re.compile(rf"{_WORD} {_WORD} {_WORD}")
_NUMBER = re.compile(r"[0-9]{1,6}")

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("repeat", "write the word again", _word, lambda a: a, _ONE, _LETTERS),
        Family("reverse", "write the word backwards", _word, lambda a: a[::-1], _ONE, _LETTERS),
        Family("uppercase", "write the word in capitals", _word, str.upper, _ONE, re.compile(r"[A-Z]+")),
        Family("spell", "put a dash between the letters", _word, "-".join, _ONE, re.compile(r"[a-z](-[a-z])*")),
        Family(
            "double",
            "write every letter twice",
            _medium_word,
            lambda a: "".join(c + c for c in a),
            _ONE,
            re.compile(r"[a-z]+"),
        ),
        Family("vowels", "write only the vowels", _word, lambda a: re.sub("[^aeiou]", "", a), _ONE, _LETTERS),
        Family("consonants", "leave out the vowels", _word, lambda a: re.sub("[aeiou]", "", a), _ONE, _LETTERS),
        Family("plural", "write the plural: -s, -es after s, x, z, and -ies for -y", _noun, _plural, _ONE, _LETTERS),
        Family("swap", "exchange the two words", _two_words, lambda a: " ".join(a.split()[::-1]), _TWO, _TWO),
        Family(
            "initials",
            "write the first letters",
            _three_words,
            lambda a: "".join(w[0] for w in a.split()),
            _THREE,
            _LETTERS,
        ),
        Family(
            "larger",
            "write the larger of two numbers",
            _two_numbers,
            lambda a: max(a.split(), key=int),
            re.compile(r"[0-9]{1,6} [0-9]{1,6}"),
            _NUMBER,
            numeric=True,
        ),
        Family(
            "next",
            "write the number that comes next",
            lambda rng: str(rng.randint(100, 9999)),
            lambda a: str(int(a) + 1),
            _NUMBER,
            _NUMBER,
            numeric=True,
        ),
    )
}
"""The families by name, in the order in which settings and reports list them."""


def split_of(text: str) -> str:
    """The split that a prompt's text belongs to: 80 % train, 10 % dev, 10 % test, by hash, whatever the seed."""
    bucket = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    share = int.from_bytes(bucket, "big") % 10
    return "test" if share == 0 else "dev" if share == 1 else "train"


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Task | None:
    """Read a prompt's text back into its task, or None where the text is no prompt of this world.

    Space around the text does not matter; everything else does.
    """
    name, colon, argument = text.strip().partition(": ")
    family = FAMILIES.get(name)
    if not colon or family is None or not family.argument.fullmatch(argument):
        return None
    return Task(Prompt.of(text, family=name, split=split_of(text.strip())), name, argument, family.solve(argument))


def draw(
    n: int,
    seed: int,
    split: str = "train",
    *,
    exclude: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
) -> list[Task]:
    """Draw `n` different tasks of one split.

    A longer draw starts with the shorter one, so disjoint slices of one seed are slices of one list. `exclude` keeps
    out what was used elsewhere, e.g. in the demonstrations.

    Args:
        n: how many tasks.
        seed: draws of different seeds overlap only by chance, those of different splits never.
        split: ``train``, ``dev`` or ``test``.
        exclude: texts of prompts that must not be drawn.
        weights: relative frequency by family; all equal by default, 0 for a family left out.

    Raises:
        ConfigError: an unknown split or family, a negative number, or weights that leave nothing to draw.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}{nearest(split, list(SPLITS))}; known: {', '.join(SPLITS)}")
    if n < 0:
        raise ConfigError(f"the number of prompts must not be negative, got {n}")
    weights = weights or dict.fromkeys(FAMILIES, 1.0)
    for name, weight in weights.items():
        if name not in FAMILIES:
            raise ConfigError(f"unknown family {name!r}{nearest(name, list(FAMILIES))}")
        if weight < 0:
            raise ConfigError(f"the weight of family {name!r} must not be negative, got {weight}")
    names = [name for name in FAMILIES if weights.get(name, 0.0) > 0]
    if not names:
        raise ConfigError("the family weights leave nothing to draw")
    cumulative = list(accumulate(weights[name] for name in names))
    rng = random.Random(derive_seed("sandbox.tasks", seed, split))
    seen = set(exclude)
    tasks: list[Task] = []
    misses = 0
    while len(tasks) < n:
        family = FAMILIES[rng.choices(names, cum_weights=cumulative)[0]]
        argument = family.make(rng)
        text = f"{family.name}: {argument}"
        if text in seen or split_of(text) != split:
            misses += 1
            if misses > 1000 + 100 * n:  # the smallest family has a few thousand prompts in a small split
                raise ConfigError(f"the world has too few {split} prompts left for a draw of {n}")
            continue
        seen.add(text)
        prompt = Prompt.of(text, family=family.name, split=split)
        tasks.append(Task(prompt, family.name, argument, family.solve(argument)))
    return tasks


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: the fewest insertions, deletions and replacements that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            cost = diagonal if x == y else 1 + min(diagonal, row[j], row[j - 1])
            diagonal, row[j] = row[j], cost
    return row[-1]


@lru_cache(maxsize=1 << 17)
def utility(prompt: str, answer: str) -> float | None:
    """The gold utility of an answer, in [0, 1]; None where the prompt is outside the world.

    1 is the top answer (space around it does not matter). Other answers get 0.1 for the form that the family asks for
    and up to 0.75 for closeness: ``0.75 · max(0, (similarity - 0.3) / 0.7)``, where similarity is one minus the edit
    distance over the longer length. Unrelated text of the right letters has a similarity near 0.2 and so earns nothing
    for it. In families of numbers the distance on the number line counts half.
    """
    task = parse(prompt)
    if task is None:
        return None
    text = answer.strip()
    if text == task.answer:
        return 1.0
    if not text:
        return 0.0
    family = FAMILIES[task.family]
    well_formed = family.form.fullmatch(text) is not None
    longer = max(len(text), len(task.answer))
    # beyond three times the length nothing can be similar enough to count, and long texts would be slow
    similarity = 0.0 if longer > 3 * len(task.answer) + 3 else 1.0 - edit_distance(text, task.answer) / longer
    closeness = max(0.0, (similarity - 0.3) / 0.7)
    if family.numeric and well_formed:
        wanted = int(task.answer)
        closeness = 0.5 * closeness + 0.5 * max(0.0, 1.0 - abs(int(text) - wanted) / wanted)
    return 0.75 * closeness + (0.1 if well_formed else 0.0)
