"""What battled on a prompt, as JSON documents: who scored what, the verdicts behind it, and the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arenaloop.cli.looked_up import Looked
from arenaloop.data.lineage import Meeting, scores
from arenaloop.recipes.lineage import target_among
from arenaloop.types import Prompt, Response, Verdict

__all__ = [
    "answer_document",
    "failed_target",
    "gap_of",
    "how_asked",
    "meeting_document",
    "names_by_text",
    "points_of",
    "score_rows",
    "verdict_document",
    "why_not",
]

Document = dict[str, Any]


def points_of(
    run: Looked, who: Mapping[str, str], found: Sequence[Meeting], target: str | None
) -> dict[str, tuple[float, int]]:
    """Scores of all who battled; of a jury's verdicts none, since how they are merged is the jury's rule."""
    if len({(v.judge_hash, v.template_hash) for one in found for v in one.verdicts}) > 1:
        return {}
    only_target = getattr(run.settings, "battle_mode", "all_pairs") == "target_vs_each" and target is not None
    pairs = [(target, name) for name in who if name != target] if only_target and target is not None else None
    return scores(who, found, pairs)


def gap_of(names: Sequence[str], points: Mapping[str, tuple[float, int]], target: str | None) -> float | None:
    """Between chosen and rejected; of a single answer, from it to the target, or to the best of the others."""
    if len(names) == 2:
        return points[names[0]][0] - points[names[1]][0]
    at = points.get(target or "")
    rivals = [at[0]] if at is not None else [p for name, (p, _) in points.items() if name != names[0]]
    return points[names[0]][0] - max(rivals) if rivals else None


def score_rows(
    run: Looked,
    prompt: Prompt | None,
    who: Mapping[str, str],
    points: Mapping[str, tuple[float, int]],
    told: Sequence[Any],
    target: str | None,
) -> list[Document]:
    """A row for each who battled, the best score first: its part in the training row, and its answer."""
    if prompt is None:
        return []
    answers = run.answers(prompt)
    roles = {one.model: one.role for one in told}
    rows = []
    for name, text_hash in who.items():
        key = next((k for k, one in answers.items() if (one.model, one.text_hash) == (name, text_hash)), None)
        key = key or next((k for k, one in answers.items() if one.text_hash == text_hash), None)
        score, battles = points.get(name, (None, 0))
        rows.append(
            {"model": name, "score": score, "battles": battles, "role": roles.get(name), "target": name == target}
            | {"response": key, "text": list(answers[key].texts) if key else None}
        )
    return sorted(rows, key=lambda one: (-(one["score"] if one["score"] is not None else -1.0), one["model"]))


def failed_target(run: Looked, prompt: Prompt, least: float | None) -> Document:
    """The row of scores of a target that failed by itself; called by the stage's name where that is known."""
    answers = {key: one for key, one in run.answers(prompt).items() if "#" not in one.model}
    name = target_among(run.recipe, sorted({one.model for one in answers.values()}))
    key = next((key for key, one in answers.items() if one.model == name), None)
    return {
        "model": name or "the target",
        "score": least,
        "battles": 0,
        "role": "failed",
        "target": True,
        "response": key,
        "text": list(answers[key].texts) if key else None,
    }


def names_by_text(who: Mapping[str, str]) -> dict[str, list[str]]:
    """Whose text has which hash; equal texts have several names."""
    found: dict[str, list[str]] = {}
    for name, text_hash in who.items():
        found.setdefault(text_hash, []).append(name)
    return found


def meeting_document(run: Looked, one: Meeting, names: Mapping[str, Sequence[str]]) -> Document:
    """All verdicts over two texts, and what they come to."""
    battle = one.battles[0] if one.battles else None
    sides = (list(names.get(one.one, ())), list(names.get(one.two, ())))
    attempts = run.store.attempts([v.key for v in one.verdicts])
    return {
        "judge": one.verdicts[0].judge,
        "one": sides[0],
        "two": sides[1],
        "texts": [one.one, one.two],
        "winner": None if battle is None else {"model_a": "one", "model_b": "two", "tie": "tie"}[battle.winner.value],
        "score_one": None if battle is None else battle.score_a,
        "score_two": None if battle is None else battle.score_b,
        "flipped": None if battle is None else battle.flipped,
        "verdicts": [
            verdict_document(v, names)
            | {"attempts": attempts[v.key], "counts": v.key in one.decisive, "why_not": why_not(v, one)}
            for v in one.verdicts
        ],
    }


def verdict_document(v: Verdict, names: Mapping[str, Sequence[str]]) -> Document:
    """A verdict, with the models in its seats."""
    return {
        "key": v.key,
        "judge": v.judge,
        "first": list(names.get(v.first_hash, ())),
        "second": list(names.get(v.second_hash, ())),
        "status": v.status.value,
        "outcome": None if v.outcome is None else v.outcome.value,
        "score_first": v.score_first,
        "score_second": v.score_second,
        "sample": v.sample,
        "raw": v.raw,
        "error": v.error,
    }


def why_not(verdict: Verdict, meeting: Meeting) -> str | None:
    """Why a verdict is part of no battle; None where it is."""
    if verdict.key in meeting.decisive:
        return None
    same = [v for v in meeting.verdicts if (v.first_hash, v.second_hash) == (verdict.first_hash, verdict.second_hash)]
    decided = next((v for v in same if v.outcome is not None), None)
    if verdict.outcome is None:
        again = "; nobody decided this seat" if decided is None else f"; asked again, {decided.key} decided"
        return f"no outcome: {verdict.status.value}{again}"
    if decided is not None and decided.key != verdict.key:
        return f"{decided.key} decided this seat"
    other = [v for v in meeting.verdicts if v not in same]
    return "the other seat has no outcome" if other else "the other seat was not asked"


def how_asked(verdict: Verdict) -> Document:
    """How a verdict was asked for, and what it cost."""
    names = ("judge_hash", "template_hash", "parser")
    return {name: getattr(verdict, name) for name in names} | {"seats_hold": verdict.kind} | verdict.cost()


def answer_document(response: Response, key: str) -> Document:
    """An answer of a contestant."""
    return {
        "key": key,
        "model": response.model,
        "status": response.status.value,
        "texts": list(response.texts),
        "text_hash": response.text_hash,
    }
