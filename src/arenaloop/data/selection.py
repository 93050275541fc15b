"""Battles to training rows: what the target lost becomes what it learns (arXiv 2407.10627, section 3.2).

Pure functions. Every row carries its lineage: the keys of the verdicts behind the scores that chose it. What is dropped
is counted by reason, never silently skipped.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, TypeGuard, TypeVar

from arenaloop.data.export.described import told_of
from arenaloop.jsonl import JsonRow
from arenaloop.normal_form import is_blank
from arenaloop.types import Battle, Message, Preference, Prompt, Response, Status, derive_seed

__all__ = [
    "PromptScores",
    "RejectedRule",
    "Selection",
    "mean_difficulty",
    "preference_pairs",
    "preference_row",
    "random_rows",
    "response_scores",
    "sft_row",
    "sft_rows",
]

T = TypeVar("T")

RejectedRule = Literal["worst", "target", "all_pairs_over_k"]
_TOLERANCE = 1e-9  # thresholds compare with >=; means of halves and thirds carry rounding


@dataclass(frozen=True, slots=True)
class PromptScores:
    """What all battles on one prompt say about its responses.

    Attributes:
        responses: one per contestant.
        scores: mean merged score of each contestant over its battles, in the judge's units.
        verdicts: keys of all judge calls behind the scores.
        failed: contestants that lost every battle on the prompt by their own failure; they have the least score that
            the judge can give. Their texts, where there are any, are never learned from, neither as good nor as bad.
    """

    prompt: Prompt
    responses: Mapping[str, Response]
    scores: Mapping[str, float]
    verdicts: tuple[str, ...]
    failed: frozenset[str] = frozenset()


@dataclass(slots=True)
class Selection:
    """Rows that were selected, and how many prompts were dropped for which reason.

    Attributes:
        rows: JSON objects, one training row each.
        preferences: what rows of pairs are made of, in their order.
        dropped: prompts without a row, by reason; `left` says of each which it was.
        chosen_by, rejected_by: how many rows took their text from which model.
        credit: rows by whose response was best; where several were, each has an equal share of the row.
        gaps: histogram of score gaps over all prompts considered, by whole points (floor).
        tied_best: prompts whose best response shares its score with another usable one.
    """

    rows: list[JsonRow] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    left: list[JsonRow] = field(default_factory=list)
    chosen_by: Counter[str] = field(default_factory=Counter)
    rejected_by: Counter[str] = field(default_factory=Counter)
    credit: dict[str, float] = field(default_factory=dict)
    gaps: Counter[int] = field(default_factory=Counter)
    tied_best: int = 0

    def learn_from(self, best: Sequence[str], chosen: str) -> None:
        """Count a row whose text is `chosen`'s; `best` are all whose responses were as good."""
        self.chosen_by[chosen] += 1
        for name in best:
            self.credit[name] = self.credit.get(name, 0.0) + 1.0 / len(best)

    def drop(self, item: PromptScores, reason: str, gap: float | None = None) -> None:
        """Count a prompt that gives no row, and note why."""
        self.dropped[reason] += 1
        self.left.append(
            {"prompt_id": item.prompt.id, "reason": reason, "gap": gap}
            | {"scores": dict(item.scores), "verdicts": list(item.verdicts)}
        )

    def add(self, other: Selection) -> None:
        """Take in what another selection came to."""
        self.rows += other.rows
        self.left += other.left
        self.preferences += other.preferences
        for mine, theirs in (
            (self.dropped, other.dropped),
            (self.chosen_by, other.chosen_by),
            (self.rejected_by, other.rejected_by),
        ):
            mine.update(theirs)
        self.gaps.update(other.gaps)
        for name, share in other.credit.items():
            self.credit[name] = self.credit.get(name, 0.0) + share
        self.tied_best += other.tied_best

    def to_json(self) -> dict[str, object]:
        """The accounting, without the rows."""
        return {
            "rows": len(self.rows),
            "dropped": dict(self.dropped),
            "chosen_by": dict(self.chosen_by),
            "rejected_by": dict(self.rejected_by),
            "credit": dict(self.credit),
            "tied_best": self.tied_best,
            "gap_histogram": {str(gap): self.gaps[gap] for gap in sorted(self.gaps)},
        }


def mean_difficulty(prompts: Sequence[Prompt], chosen: Iterable[str]) -> dict[str, Any] | None:
    """Mean difficulty of some prompts, and of those of them that gave a row (by id); None where none has a difficulty.

    It is the number that a prompt file has in its column ``difficulty``, as `arenaloop testset` writes it; a prompt
    without one is left out of both means, and ``rated`` says of how many prompts the first is.
    """
    rated = ((prompt.id, prompt.tags.get("difficulty")) for prompt in prompts)
    known = {id_: float(value) for id_, value in rated if _number(value)}
    if not known:
        return None
    after = [known[id_] for id_ in dict.fromkeys(chosen) if id_ in known]
    before = sum(known.values()) / len(known)
    return {"rated": len(known), "before": before, "after": sum(after) / len(after) if after else None}


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def response_scores(
    battles: Iterable[Battle],
    models: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    min_battles: int = 2,
) -> dict[str, float] | None:
    """Mean merged score of each model over its battles on one prompt.

    Args:
        battles: the decided battles on one prompt; undecided ones are simply not there.
        models: who should have a score.
        pairs: who was to meet whom, decided or not; all pairs by default.
        min_battles: fewer decided battles than this for any model (or than it could have had) give no scores.

    Returns:
        Scores by model, or None if any model has too few battles.
    """
    sums: dict[str, list[float]] = {name: [] for name in models}
    met: dict[str, set[str]] = {name: set() for name in models}  # where both seats battle, a pair counts once
    for battle in battles:
        sums[battle.model_a].append(battle.score_a)
        sums[battle.model_b].append(battle.score_b)
        met[battle.model_a].add(battle.model_b)
        met[battle.model_b].add(battle.model_a)
    wanted = Counter(name for pair in (combinations(models, 2) if pairs is None else pairs) for name in pair)
    if any(len(met[name]) < max(1, min(min_battles, wanted[name])) for name in models):
        return None
    return {name: sum(scores) / len(scores) for name, scores in sums.items()}


def sft_rows(
    prompts: Iterable[PromptScores], *, target: str | None, k: float, allow_truncated: bool = False, seed: int = 0
) -> Selection:
    """SFT rows: the best response, where the target lost by at least `k`; without one, all others did.

    The best is the highest score; ties prefer a model that is not the target, then a hash of seed, prompt and name
    decides, so that no model is learned from for the sake of its name. A response that is empty, refused or (unless
    allowed) cut off is never chosen: the next best one is tried. With ``k = 0`` prompts where the target itself is best
    are kept too, as the paper's "K = 0 keeps all".
    """
    selection = Selection()
    for item in prompts:
        usable = _usable(item, allow_truncated)
        best = _best(item, usable, target, seed)
        if best is None:
            selection.drop(item, "no usable response")
            continue
        rivals = [target] if target else [name for name in item.scores if name != best]
        gap = item.scores[best] - max(item.scores[name] for name in rivals)
        as_good = [name for name in usable if _points(item, name) == _points(item, best)]
        selection.tied_best += len(as_good) > 1
        selection.gaps[math.floor(gap + _TOLERANCE)] += 1
        if target and (gap < -_TOLERANCE or (best == target and k > 0)):  # its own may be the best and unusable
            selection.drop(item, "target is best", gap)
        elif gap < k - _TOLERANCE:
            selection.drop(item, "gap below k", gap)
        else:
            row = sft_row(item.prompt, item.responses[best].texts)
            selection.rows.append(
                row
                | {"model": best, "margin": gap, "prompt_id": item.prompt.id, **told_of(item.prompt)}
                | {"verdicts": list(item.verdicts)}
            )
            selection.learn_from(_credited(as_good, target), best)
    return selection


def preference_pairs(
    prompts: Iterable[PromptScores],
    *,
    target: str,
    k: float,
    rejected: RejectedRule = "worst",
    allow_truncated: bool = False,
    seed: int = 0,
) -> Selection:
    """DPO and reward-model pairs: the best against the worst of all contestants, gap at least `k`.

    The target itself may be chosen. Pairs with equal scores or equal texts carry no signal and are dropped. A truncated
    or empty response may be rejected, never chosen. Ties are broken as in `sft_rows`, of the worst by the hash alone.

    Args:
        rejected: the ``"worst"`` response of all; always the ``"target"``'s; or ``"all_pairs_over_k"``: every response
            that may be learned from against every one at least `k` worse, so a prompt may give several rows. What was
            dropped, the gaps and ties count prompts in all three.
    """
    selection = Selection()
    for item in prompts:
        usable = _usable(item, allow_truncated)
        best = _best(item, usable, target, seed)
        if best is None:
            selection.drop(item, "no usable response")
            continue
        worst = target if rejected == "target" else _worst(item, seed)
        if worst in item.failed:
            selection.drop(item, "no usable response")
            continue
        gap = item.scores[best] - item.scores[worst]
        as_good = [name for name in usable if _points(item, name) == _points(item, best)]
        selection.tied_best += len(as_good) > 1
        selection.gaps[math.floor(gap + _TOLERANCE)] += 1
        if best == worst or abs(gap) <= _TOLERANCE:
            selection.drop(item, "equal scores", gap)
            continue
        pairs = [(best, worst)] if rejected != "all_pairs_over_k" else _ordered(item, usable)
        far = [(one, other) for one, other in pairs if item.scores[one] - item.scores[other] >= k - _TOLERANCE]
        kept = [pair for pair in far if item.responses[pair[0]].texts != item.responses[pair[1]].texts]
        if not kept:
            differ = item.responses[best].texts != item.responses[worst].texts
            selection.drop(item, "gap below k" if differ else "equal texts", gap)
        for one, other in kept:
            texts = item.responses[one].texts, item.responses[other].texts
            margin = item.scores[one] - item.scores[other]
            scores = item.scores[one], item.scores[other]
            pair = Preference(item.prompt, *texts, one, other, margin, item.verdicts, scores)
            selection.preferences.append(pair)
            selection.rows.append(preference_row(pair))
            selection.learn_from(_credited(as_good, target) if one in as_good else [one], one)
            selection.rejected_by[other] += 1
    return selection


def _usable(item: PromptScores, allow_truncated: bool) -> list[str]:
    """Who wrote a response that may be learned from."""
    statuses = {Status.OK, Status.TRUNCATED} if allow_truncated else {Status.OK}
    return [
        name
        for name in item.scores
        if name not in item.failed
        and item.responses[name].status in statuses
        and not all(map(is_blank, item.responses[name].texts))  # a cut answer may be so, too
    ]


def _best(item: PromptScores, usable: Iterable[str], target: str | None, seed: int) -> str | None:
    return min(usable, key=lambda name: (-_points(item, name), name == target, _lot(item, name, seed)), default=None)


def _ordered(item: PromptScores, usable: Iterable[str]) -> list[tuple[str, str]]:
    """Every response that may be learned from, and every worse one of a contestant that did not fail."""
    return [
        (one, other)
        for one in usable
        for other in item.scores
        if other not in item.failed and _points(item, one) > _points(item, other)
    ]


def _worst(item: PromptScores, seed: int) -> str:
    """Of those that said something; a model that failed comes last."""
    return min(item.scores, key=lambda name: (name in item.failed, _points(item, name), _lot(item, name, seed)))


def _points(item: PromptScores, name: str) -> float:
    return round(item.scores[name], 9)  # means of halves and thirds carry rounding, which is to break no tie


def _lot(item: PromptScores, name: str, seed: int) -> int:
    return derive_seed("tie", seed, item.prompt.id, name)


def _credited(as_good: Sequence[str], target: str | None) -> Sequence[str]:
    """Who shares the credit for a row: whose text could have been learned as well, the target's only if no other's."""
    return [name for name in as_good if name != target] or as_good


# ---------------------------------------------------------------------- rows as trainers read them


def sft_row(prompt: Prompt, texts: Sequence[str]) -> dict[str, Any]:
    """A conversation whose answer is to be learned, in the form that TRL and our own trainer load.

    ``messages``, of which the last turn is the answer; where follow-ups were answered too, ``prompt`` and
    ``completion``, since all the turns of the completion are.
    """
    conversation = prompt.conversation(texts)
    if not prompt.follow_ups:
        return {"messages": conversation}
    given = len(prompt.messages)
    return {"prompt": conversation[:given], "completion": conversation[given:]}


def preference_row(pair: Preference) -> dict[str, Any]:
    """A conversational preference row with an explicit prompt.

    Extra columns hold its lineage and, where they are known, the answers' scores, under UltraFeedback's names.

    The prompt is the shared part of both conversations: later turns follow in chosen and rejected.
    """
    prompt: list[Message] = [dict(m) for m in pair.prompt.messages]
    return {
        "prompt": prompt,
        "chosen": pair.prompt.conversation(pair.chosen)[len(prompt) :],
        "rejected": pair.prompt.conversation(pair.rejected)[len(prompt) :],
        "chosen_model": pair.chosen_model,
        "rejected_model": pair.rejected_model,
        "margin": pair.margin,
        **({} if pair.scores is None else dict(zip(("score_chosen", "score_rejected"), pair.scores, strict=True))),
        "prompt_id": pair.prompt.id,
        **told_of(pair.prompt),
        "verdicts": list(pair.verdicts),
    }


def random_rows(rows: Sequence[T], n: int, seed: int) -> list[T]:
    """`n` rows drawn without repetition, for controls and for mixing earlier data in."""
    return random.Random(derive_seed("random rows", seed)).sample(list(rows), min(n, len(rows)))
