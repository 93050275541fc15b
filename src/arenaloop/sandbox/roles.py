"""What the small world's target learns its roles from: judgements of answers, and verdicts on judgements, by the truth.

A judgement pairs the letters of the judge's own answer with those of the response, and ends with a score:

    gg=bb=yd!
    Score: 2

The own letter comes first, then the response's, then whether they are the same; a dot stands where one of the two has
ended. A verdict on two judgements is a judgement of its own, the two scores with how far they are off, and the better:

    gg=bb=yd!
    2 2:0 5:3
    Winner: A

The prompts are those that `judges.pointwise` and `judges.meta` ask with the templates here, and their parsers read the
answers: nothing about a model that learns from these rows is special but what it has learned.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import zip_longest

from arenaloop.judges.filling import Material
from arenaloop.judges.parsers import parser_for
from arenaloop.judges.templates import JudgeTemplate, fill, load_template
from arenaloop.sandbox.players import habit, slip
from arenaloop.sandbox.tasks import Task, draw, edit_distance, utility
from arenaloop.types import Completion, Prompt, Response, derive_seed

__all__ = ["TEMPLATES", "better", "comparisons", "evaluations", "judgement", "misjudgement", "score", "verdict"]

TEMPLATES: Mapping[str, str] = {
    role: str(resources.files("arenaloop.sandbox") / "templates" / f"{role}.jinja") for role in ("score", "winner")
}
"""Files of the templates that the target is asked with: to score one answer, and to compare two judgements of one."""

_SCORE = parser_for("score")
_UNREAD = 10.0
"""What a judgement without a score is taken to say: it is further off than any score."""
_MOST_BEYOND = 2
"""Letters of a response beyond the end of the own answer that a judgement goes through."""


def score(prompt: str, answer: str) -> int | None:
    """The points from 0 to 5 that an answer is truly worth, five times its utility; 5 is given to the top one alone."""
    worth = utility(prompt, answer)
    return None if worth is None else math.floor(5.0 * worth + 0.5)


def judgement(own: str, answer: str, points: int) -> str:
    """The words of a judge whose own answer is `own`."""
    return f"{_paired(own, answer)}\nScore: {points}"


def verdict(own: str, answer: str, points: int, judgements: Sequence[str], winner: str) -> str:
    """The words of a judge of two judgements whose own answer is `own`, and who gives the response `points`."""
    given = " ".join(f"{said:g}:{abs(said - points):g}" for said in map(_points_of, judgements))
    return f"{_paired(own, answer)}\n{points} {given}\nWinner: {winner}"


def better(prompt: str, answer: str, first: str, second: str) -> str | None:
    """Which of two judgements of an answer is truly the better one, A or B; None where neither is.

    It is the one whose score is nearer to what the answer is worth; one without a score is further off than any other.
    """
    worth = score(prompt, answer)
    if worth is None:
        return None
    of_first, of_second = (abs(_points_of(text) - worth) for text in (first, second))
    return None if of_first == of_second else "A" if of_first < of_second else "B"


def misjudgement(task: Task, answer: str, rng: random.Random) -> str:
    """A plausible wrong judgement: by a wrong answer of its own, of a response misread, or a point or two off.

    Misread is what a hasty reader misreads: the response is taken for the right one, or for one letter more or less.
    """
    kind = rng.random()
    if kind < 0.35:
        own = habit(task) if rng.random() < 0.3 else slip(task, rng)
        return judgement(own, answer, _likeness(own, answer))
    if kind < 0.7:
        seen = rng.choice([text for text in (task.answer, answer[:-1], answer + answer[-1:]) if text != answer])
        return judgement(task.answer, seen, _likeness(task.answer, seen))
    worth = score(task.prompt.last_user, answer)
    assert worth is not None
    off = rng.choice([points for points in range(6) if 1 <= abs(points - worth) <= 2])
    return judgement(task.answer, answer, off)


def evaluations(n: int, seed: int, wrong: float = 0.0) -> Iterator[tuple[Prompt, str]]:
    """Judge prompts and judgements of answers good and bad, to learn to judge from.

    Args:
        n: how many; each is about another prompt of the train split.
        seed: draws prompts of its own, which those of demonstrations and of a run meet by chance alone.
        wrong: share of wrong judgements.
    """
    asked = load_template(TEMPLATES["score"], layout="answer")
    for task, answer, rng in _answered(n, "evaluations", seed):
        worth = score(task.prompt.last_user, answer)
        assert worth is not None
        said = misjudgement(task, answer, rng) if rng.random() < wrong else judgement(task.answer, answer, worth)
        yield _filled(asked, seed, task.prompt, answer), said


def comparisons(n: int, seed: int) -> Iterator[tuple[Prompt, str]]:
    """Meta-judge prompts and right verdicts on two judgements, of which at most one is right."""
    asked = load_template(TEMPLATES["winner"], layout="judgements")
    for task, answer, rng in _answered(n, "comparisons", seed):
        prompt, worth = task.prompt.last_user, score(task.prompt.last_user, answer)
        assert worth is not None
        winner = None
        while winner is None:
            both = [
                judgement(task.answer, answer, worth) if rng.random() < 0.4 else misjudgement(task, answer, rng)
                for _ in range(2)
            ]
            winner = better(prompt, answer, *both)
        said = verdict(task.answer, answer, worth, both, winner)
        yield _filled(asked, seed, task.prompt, answer, *both), said


def _paired(own: str, answer: str) -> str:
    pairs = zip_longest(own, answer[: len(own) + _MOST_BEYOND], fillvalue=".")
    return "".join(a + b + ("=" if a == b else "!") for a, b in pairs)


def _points_of(text: str) -> float:
    points: float | None = _SCORE.read(Completion(text))
    return _UNREAD if points is None else points


def _likeness(own: str, answer: str) -> int:
    """The points of an answer if `own` were the right one."""
    if own == answer:
        return 5
    similarity = 1.0 - edit_distance(own, answer) / max(len(own), len(answer), 1)
    return math.floor(5.0 * (0.1 + 0.75 * max(0.0, (similarity - 0.3) / 0.7)) + 0.5)


def _answered(n: int, what: str, seed: int) -> Iterator[tuple[Task, str, random.Random]]:
    """Tasks with answers of which about a third is right, a third has a habit's fault and a third is a slip."""
    for task in draw(n, derive_seed("sandbox.roles", what, seed), "train"):
        rng = random.Random(derive_seed("sandbox.roles", what, seed, task.prompt.last_user))
        yield task, rng.choice((task.answer, habit(task), slip(task, rng))), rng


def _filled(asked: JudgeTemplate, seed: int, prompt: Prompt, *texts: str) -> Prompt:
    shown = [Response(prompt.id, "", (text,)) for text in texts]
    return Prompt.of(fill(asked, Material.of(asked.layout, prompt, *shown), secret=str(seed)))
