"""Answers of a model that judges itself, their scores, and the pairs that these come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Scored, actor_rows, perfect_rows
from arenaloop.ratings.judge_drift import ScoreDrift, gold_agreement, score_drift
from arenaloop.recipes.parts import answer, judged
from arenaloop.recipes.self_rewarding_plan import learns_perfect, of_iteration
from arenaloop.recipes.self_rewarding_run import Run
from arenaloop.types import Judgement, Prompt, Response, Status

__all__ = ["Answered", "Judged", "answers_of", "mean_length", "scores_of", "select", "with_scores"]

Answered = list[tuple[Prompt, list[Response]]]
"""Each prompt with the answers that are judged."""
Judged = list[tuple[Prompt, list[Scored]]]
"""Each prompt with its answers and their scores."""


def answers_of(r: Run, before: str, prompts: Sequence[Prompt]) -> tuple[Answered, dict[str, int]]:
    """Each prompt with the answers that are judged, and how many are not, by reason."""
    s = r.recipe.settings
    warm = replace(r.model(before), sampling=s.sampling.build())
    found = answer(r.arena, warm, prompts, samples=s.samples)
    wanted = {Status.OK, Status.TRUNCATED} if s.allow_truncated else {Status.OK}
    left_out = Counter("failed" if one is None else one.status.value for one in found)
    groups = [found[at * s.samples : (at + 1) * s.samples] for at in range(len(prompts))]
    kept = [
        (prompt, [one for one in group if one is not None and one.status in wanted])
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    return kept, {f"answers not judged: {why}": n for why, n in left_out.items() if why not in wanted}


def scores_of(
    r: Run, before: str, answers: Sequence[tuple[Prompt, Response]]
) -> tuple[list[Scored], ScoreDrift | None]:
    """The scores of answers by who scores them in the iteration from this model, and how a judge drifts in it."""
    recipe = r.recipe
    if recipe.reward is not None:
        values = recipe.reward.score(
            [list(prompt.messages) for prompt, _ in answers], [one.texts[0] for _, one in answers]
        )
        return [Scored(one, () if v is None else (v,)) for (_, one), v in zip(answers, values, strict=True)], None
    judge, own = r.scorer(before), recipe.settings.self_judge
    together = r.recipe.settings.target.votes_together
    said = list(judged(r.arena, judge, answers, own.votes, own.reask, together=together))
    each = [one for some in said for one in some]
    drift = score_drift(
        [one.score for one in each],
        [one.status.value for one in each],
        [len(one.raw) for one in each],
        most=judge.scale[1],
    )
    return [_of(one, some) for (_, one), some in zip(answers, said, strict=True)], drift


def with_scores(r: Run, before: str, answers: Answered) -> tuple[Judged, dict[str, Any]]:
    """Each prompt's answers with their scores, and how the judge drifts."""
    flat = [(prompt, one) for prompt, some in answers for one in some]
    each, read = scores_of(r, before, flat)
    drift: dict[str, Any] = {"answers": len(flat)} | ({} if read is None else {"scores": read.to_json()})
    found = iter(each)
    out = [(prompt, [next(found) for _ in some]) for prompt, some in answers]
    if (worth := r.recipe.truth) is not None:
        pairs = [(one, worth(prompt, one.response), prompt.id) for prompt, some in out for one in some if one.scores]
        known = [(one.mean, true, prompt) for one, true, prompt in pairs if true is not None]
        drift |= gold_agreement([mean for mean, _, _ in known], [t for _, t, _ in known], [p for _, _, p in known])
        if unknown := len(pairs) - len(known):
            drift["truth_unknown"] = unknown
    return out, drift


def _of(response: Response, said: Sequence[Judgement]) -> Scored:
    read = [one for one in said if one.score is not None]
    return Scored(response, tuple(one.score for one in read if one.score is not None), tuple(one.key for one in read))


def select(r: Run, number: int, before: str, scored: Judged) -> Selection:
    """The rows that an iteration, from 1, learns from, of answers of the model before."""
    s = r.recipe.settings
    if learns_perfect(s):
        most = r.scorer(before).scale[1]
        return perfect_rows(scored, model=before, most=most, min_scores=s.self_judge.min_scores)
    return actor_rows(
        scored,
        model=before,
        rho=of_iteration(s.rho, number),
        length=r.recipe.length,
        max_chosen=of_iteration(s.max_chosen, number),
        min_scores=1 if r.recipe.reward is not None else s.self_judge.min_scores,
        allow_overlap=s.allow_overlap,
        by_spread=s.equal_best == "spread",
    )


def mean_length(answers: Answered) -> float | None:
    """Of all answers, in characters; None without any."""
    lengths = [sum(map(len, one.texts)) for _, some in answers for one in some]
    return sum(lengths) / len(lengths) if lengths else None
