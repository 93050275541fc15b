"""Self-Rewarding (Yuan et al. 2024, arXiv 2401.10020) and Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594).

    M0             where replies are given that people have ranked: fine-tuned on demonstrations, it judges them
    M1             fine-tuned on demonstrations and on judgements, M0's as far as they agree with people (or the target
                   as it is)
    M2, M3, …      the newest model answers fresh prompts several times, and judges each answer several times; from its
                   best answers against its worst the next model learns by DPO. In Meta-Rewarding it also compares
                   pairs of its own judgements, and the next model learns from the best against the worst, too
    leaderboard    every model and the opponents on held-out prompts, by a judge that has no part in training

Stages are resumable: answers, judgements and meta-verdicts are rows of the arena file, trainings continue from their
last checkpoint, and a stage that has finished with these very inputs is not repeated. A judgement that cannot be read
is no score: an answer without one is in no pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.config import OptimSettings
from arenaloop.data.ranked_replies import agreeing, thinned
from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Compared, Scored, actor_rows, distinct, judge_rows, limited, perfect_rows
from arenaloop.errors import StoppedError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.ratings.judge_drift import Limits, gold_agreement, score_drift, stopped, warnings
from arenaloop.ratings.meta_rewards import most_varied
from arenaloop.recipes.account import finish
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer, judged, test, train
from arenaloop.recipes.self_rewarding_meta import Comparison, compare
from arenaloop.recipes.self_rewarding_plan import (
    SelfRewarding,
    check,
    cut_slices,
    inputs_key,
    learns_perfect,
    meta_of,
    of_iteration,
    stage_names,
)
from arenaloop.recipes.self_rewarding_tables import drift_curves, drift_tables
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Judgement, Prompt, Response, Status, derive_seed

__all__ = ["NoPairsError", "run"]

_WARN_SHARE = 0.15
"""of judgements among the rows, above which NeMo-Aligner saw judges collapse to one score"""


class NoPairsError(StoppedError):
    """An iteration gave nothing to learn from, or a stop rule ended it; the message names the rule or the reasons."""


@dataclass
class _Run:
    """One invocation: the recipe, where its models answer, and what its stages came to so far."""

    recipe: SelfRewarding
    arena: Arena
    stages: Stages
    slices: list[list[Prompt]]
    inputs: str
    done: dict[str, StageResult] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """The weights of a model by its stage's name."""
        learned = {"M0": bool(self.recipe.material.demonstrations), "M1": self.recipe.fine_tuned}
        trained = learned.get(name, True)
        return self.stages.checkpoint(name) if trained else Path(self.recipe.start)

    def model(self, name: str) -> Contestant:
        return self.recipe.target(name, self.path(name))


def run(recipe: SelfRewarding, store: Store, out: Path, observer: Observer | None = None) -> Result:
    """Run or resume the whole recipe in a run directory.

    Raises:
        ConfigError, InputError: as in `check`.
        NoPairsError: an iteration gave no row, or a stop rule ended it.
        StoppedError: the budget is spent, a server is down or the disk is full; the same call resumes.
    """
    check(recipe)
    s, stages = recipe.settings, Stages(store, out, observer or Observer())
    arena = Arena(store, recipe.judge, s, recipe.recorded, Budget(s.budget_usd, s.budget_calls), stages.observer)
    store.add_prompts([*recipe.material.pool, *(one.prompt for one in recipe.material.ranked)])
    arena.admit(recipe.test, recipe.opponents)
    r = _Run(recipe, arena, stages, cut_slices(recipe), inputs_key(recipe))
    recipe.prepare()
    seeds = {"M0": _baseline, "M1": _first}
    for name in stage_names(s):
        work = partial(seeds[name], r) if name in seeds else partial(_iterate, r, int(name[1:]) - 1, name)
        r.done[name] = stages.once(name, r.inputs, work)
    material = recipe.material
    return finish(
        arena,
        stages,
        r.done,
        [*map(r.model, r.done), *recipe.opponents],
        recipe.test,
        left_out=material.left_out,
        tables=drift_tables(r.done),
        curves=drift_curves(r.done),
    )


def _baseline(r: _Run) -> StageResult:
    """M0: the target, fine-tuned on demonstrations alone."""
    recipe, rows = r.recipe, r.recipe.material.demonstrations
    if not rows:
        return _measured(r, "M0", StageResult(Path(recipe.start).name, 0, 0))
    return _train(r, "M0", "sft", recipe.settings.sft, recipe.start, rows)


def _first(r: _Run) -> StageResult:
    """M1: the target, fine-tuned where there is something to learn from."""
    recipe, material = r.recipe, r.recipe.material
    if not recipe.fine_tuned:
        return _measured(r, "M1", StageResult(Path(recipe.start).name, 0, 0))
    own = _agreeing(r) if material.ranked else []
    rows = [*material.demonstrations, *recipe.filled([*material.judgements, *own], _shown(r))]
    if not rows:
        raise NoPairsError("M1: no judgement agrees with people, and there is nothing else to learn from")
    return _train(r, "M1", "sft", recipe.settings.sft, recipe.start, rows)


def _agreeing(r: _Run) -> list[JsonRow]:
    """M0's judgements of ranked replies that put them in people's order."""
    r.arena.observer.phase("M1", "ranked replies judged")
    s, ranked = r.recipe.settings, r.recipe.material.ranked
    replies = [(one.prompt, Response(one.prompt.id, "people", (text,))) for one in ranked for text in one.replies]
    found = (
        next(iter(said), None)
        for said in judged(r.arena, r.recipe.rubric("M0", r.path("M0")), replies, 1, s.self_judge.reask)
    )
    kept = agreeing(ranked, [[next(found) for _ in one.replies] for one in ranked])
    rows = thinned(kept.rows, s.data.most_of_score, derive_seed("ranked", s.seed))
    write_jsonl(r.stages.rows_file("M1.judgements"), rows)
    told = ", ".join(f"{n:,} prompts: {why}" for why, n in sorted(kept.dropped.items()))
    r.arena.observer.note(
        f"M1: of {counted(len(ranked), 'ranked prompt')} {len(kept.rows):,} judgements agree with people"
        f"{f' ({told})' if told else ''}; {len(kept.rows) - len(rows):,} of the commonest scores left out"
    )
    return rows


def _train(
    r: _Run, name: str, method: str, settings: OptimSettings, start: str, rows: Sequence[JsonRow]
) -> StageResult:
    r.arena.observer.phase(name, "training")
    s = r.recipe.settings
    trained = train(
        method,
        start,
        rows,
        r.stages.checkpoint(name),
        settings,
        seed=derive_seed("train", s.seed, name),
        observer=r.arena.observer,
        revision=s.target.revision if start == r.recipe.start else None,
    )
    return _measured(r, name, trained)


def _measured(r: _Run, name: str, result: StageResult) -> StageResult:
    r.arena.observer.phase(name, "test answers")
    return replace(result, figures=test(r.arena, r.model(name), r.recipe.test, r.recipe.utility))


# ---------------------------------------------------------------------- one iteration


def _iterate(r: _Run, number: int, name: str) -> StageResult:
    """Answer, judge, compare judgements where that is wanted, and learn."""
    s, before = r.recipe.settings, f"M{number}"
    r.arena.observer.phase(name, "answers")
    answers, left_out = _answers(r, before, r.slices[number - 1])
    r.arena.observer.phase(name, "scores")
    scored, drift = _scored(r, before, answers)
    selection = _select(r, number, before, scored)
    selection.dropped.update(left_out)
    drift |= {"prompts": len(scored), "kept": len(selection.rows), "answer_length": _mean_length(answers)}
    rules = _stop_rules(r, number, name, drift, selection)
    compared: Comparison | None = None
    meta = meta_of(s)
    if meta is not None and number <= meta.iterations:
        r.arena.observer.phase(name, "judgements compared")
        compared = _compared(r, number, before, scored)
        drift |= {"meta": compared.drift.to_json(), "judge_dropped": dict(compared.selection.dropped)}
        _warn(r, name, warnings(_limits(r), compared.drift, None))
    rows = _mixed(r, name, selection.rows, compared, rules, drift)
    if not rows:
        why = ", ".join(f"{told}: {n:,}" for told, n in sorted(selection.dropped.items())) or "no prompts"
        raise NoPairsError(f"{name}: no pair of answers to learn from ({why})")
    write_jsonl(r.stages.rows_file(name), rows)
    perfect = learns_perfect(s)
    dpo = s.dpo if s.reference == "round_init" else s.dpo.model_copy(update={"reference": str(r.path("M1"))})
    trained = _train(r, name, "sft" if perfect else "dpo", s.sft if perfect else dpo, str(r.path(before)), rows)
    told = selection.to_json() | {"rows": len(rows), "judged_by": before, "judging": drift}
    return replace(trained, selection=told)


def _answers(
    r: _Run, before: str, prompts: Sequence[Prompt]
) -> tuple[list[tuple[Prompt, list[Response]]], dict[str, int]]:
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


Judged = list[tuple[Prompt, list[Scored]]]


def _scored(r: _Run, before: str, answers: Sequence[tuple[Prompt, list[Response]]]) -> tuple[Judged, dict[str, Any]]:
    """Each prompt's answers with their scores, and how the judge drifts."""
    recipe, flat = r.recipe, [(prompt, one) for prompt, some in answers for one in some]
    drift: dict[str, Any] = {"answers": len(flat)}
    if recipe.reward is not None:
        values = recipe.reward.score([list(prompt.messages) for prompt, _ in flat], [one.texts[0] for _, one in flat])
        found = iter([Scored(one, () if v is None else (v,)) for (_, one), v in zip(flat, values, strict=True)])
    else:
        judge = recipe.scorer or recipe.rubric(before, r.path(before))
        own = recipe.settings.self_judge
        scores: list[float | None] = []
        statuses: list[str] = []
        lengths: list[int] = []
        each: list[Scored] = []
        together = recipe.settings.target.votes_together
        found_each = judged(r.arena, judge, flat, own.votes, own.reask, together=together)
        for (_, one), said in zip(flat, found_each, strict=True):
            each.append(_of(one, said))
            scores += [judgement.score for judgement in said]
            statuses += [judgement.status.value for judgement in said]
            lengths += [len(judgement.raw) for judgement in said]
        drift["scores"] = score_drift(scores, statuses, lengths, most=judge.scale[1]).to_json()
        found = iter(each)
    out = [(prompt, [next(found) for _ in some]) for prompt, some in answers]
    if (worth := recipe.utility) is not None:
        pairs = [
            (one.mean, worth(prompt, one.response), prompt.id) for prompt, some in out for one in some if one.scores
        ]
        means, truth, ids = ([pair[i] for pair in pairs] for i in range(3))
        drift |= gold_agreement(means, truth, ids)  # type: ignore[arg-type]
    return out, drift


def _of(response: Response, said: Sequence[Judgement]) -> Scored:
    read = [one for one in said if one.score is not None]
    return Scored(response, tuple(one.score for one in read if one.score is not None), tuple(one.key for one in read))


def _select(r: _Run, number: int, before: str, scored: Judged) -> Selection:
    s = r.recipe.settings
    if learns_perfect(s):
        most = (r.recipe.scorer or r.recipe.rubric(before, r.path(before))).scale[1]
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


def _mean_length(answers: Sequence[tuple[Prompt, list[Response]]]) -> float | None:
    lengths = [sum(map(len, one.texts)) for _, some in answers for one in some]
    return sum(lengths) / len(lengths) if lengths else None


def _compared(r: _Run, number: int, before: str, scored: Judged) -> Comparison:
    """The judgements of each prompt's most varied answer, compared with each other."""
    s, recipe = r.recipe.settings, r.recipe
    meta = meta_of(s)
    assert meta is not None
    assert recipe.meta is not None
    rubric = recipe.rubric(before, r.path(before))
    store, votes, items, unvaried = r.arena.store, s.self_judge.votes, list[Compared](), 0
    for prompt, some in scored:
        unique = list({one.response.text_hash: one for one in some}.values())
        padded = [[*one.scores, *[float("nan")] * (votes - len(one.scores))] for one in unique]
        lots = [derive_seed("varied", s.seed, prompt.id, one.response.text_hash) for one in unique]
        at = most_varied(padded, lots) if unique else None
        if at is None:
            unvaried += 1
            continue
        one = unique[at]
        said = distinct(judgement for judgement in map(store.judgement, one.keys) if judgement is not None)
        asked = rubric.request(prompt, one.response, secret=_shown(r), seed=0).messages
        items.append(Compared(prompt, one.response, asked, said, ()))
    judge = recipe.meta(before, r.path(before))
    items, rewards, drift = compare(r.arena, judge, meta, items)
    selection = judge_rows(
        items,
        rewards,
        model=before,
        max_chosen=of_iteration(meta.max_chosen, number),
        require_score_diff=meta.require_score_diff,
    )
    if unvaried:
        selection.dropped["scores do not vary"] += unvaried
    return Comparison(selection, drift)


# ---------------------------------------------------------------------- limits


def _limits(r: _Run) -> Limits:
    return Limits(**r.recipe.settings.limits.model_dump())


def _warn(r: _Run, name: str, told: Any) -> None:
    for line in told:
        r.arena.observer.note(f"{name}: {line}")


def _stop_rules(r: _Run, number: int, name: str, drift: dict[str, Any], selection: Selection) -> dict[str, str]:
    """The stop rules that this iteration's answers meet; warns of what else there is."""
    if number > 1 and (first := r.done["M2"].selection) is not None and drift["answer_length"]:
        start = first["judging"]["answer_length"]
        _warn(r, name, warnings(_limits(r), None, drift["answer_length"] / start if start else None))
    scores = drift.get("scores")
    value = (None, None) if scores is None else (scores["commonest"], scores["commonest_share"])
    rules = stopped(_limits(r), *value, prompts=drift["prompts"], equal=selection.dropped["equal scores"])
    if why := rules.get("no_pair"):
        raise NoPairsError(f"{name}: stop rule no_pair (limits.no_pair): {why}")
    return rules


def _shown(r: _Run) -> str:
    """What delimiters of judge prompts that are learned from are made of: the seed, so that two runs learn the same.

    Those that judges are asked with hold the arena file's own secret. It is to be learned by nobody.
    """
    return f"rows of seed {r.recipe.settings.seed}"


def _mixed(
    r: _Run,
    name: str,
    actor: Sequence[JsonRow],
    compared: Comparison | None,
    rules: dict[str, str],
    drift: dict[str, Any],
) -> list[JsonRow]:
    """Pairs of answers and, unless a stop rule or a limit keeps them out, of judgements."""
    meta, observer = meta_of(r.recipe.settings), r.arena.observer
    if compared is None or meta is None:
        return list(actor)
    judge: Sequence[JsonRow] = compared.selection.rows
    if why := rules.get("one_score"):
        observer.note(f"{name}: stop rule one_score: {why}; judgements are not learned from")
        drift["stopped"] = {"one_score": why}
        judge = ()
    kept, left_out = limited(actor, judge, meta.max_share, derive_seed("share", r.recipe.settings.seed, name))
    share = len(kept) / (len(kept) + len(actor)) if kept else 0.0
    drift |= {"judge_rows": len(kept), "judge_rows_left_out": left_out, "judge_share": share}
    if share > _WARN_SHARE and meta.max_share is None:
        observer.note(
            f"{name}: {share:.0%} of the rows are judgements; above 15 % judges were seen to give one score always "
            "(meta.max_share)"
        )
    return [*actor, *kept]
