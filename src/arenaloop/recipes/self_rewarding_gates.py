"""The gates before a training on one's own judgements, measured on a run: by the truth, or on a labelled set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from arenaloop.config import GateSettings, MetaGateSettings
from arenaloop.data.labelled_answers import LabelledAnswers
from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Scored
from arenaloop.ratings.judge_gates import Gate, Source, gate, meta_accuracy, order_accuracy, whole_points
from arenaloop.ratings.rates import UNKNOWN
from arenaloop.recipes.self_rewarding_meta import Met, compare, to_compare
from arenaloop.recipes.self_rewarding_plan import meta_of
from arenaloop.recipes.self_rewarding_run import Run
from arenaloop.recipes.self_rewarding_scores import Judged, scores_of

__all__ = ["closed", "labelled_scores", "meta_gate", "meta_gate_labelled", "order_gate", "tell"]

_ORDER, _META = "pairs of answers", "verdicts on two judgements"


def closed(settings: GateSettings, found: Gate | None) -> bool:
    """Whether a gate keeps out what is behind it; one that is off, None, does not."""
    if found is None:
        return False
    return settings.unmeasured == "fail" if found.passed is None else not found.passed


def tell(drift: dict[str, Any], found: Gate | None) -> None:
    """Add what a gate found to the figures of an iteration."""
    if found is not None:
        drift.setdefault("gates", []).append(found.to_json())


def labelled_scores(r: Run, before: str, labelled: LabelledAnswers) -> list[Scored]:
    """Scores of the labelled answers by who scores answers in the iteration from this model."""
    return scores_of(r, before, labelled.answers)[0]


def order_gate(r: Run, scored: Judged, selection: Selection, own: Sequence[Scored]) -> Gate | None:
    """Whether pairs of answers are in the true order; None where the gate is off.

    Args:
        r: the run.
        scored: the iteration's answers.
        selection: the pairs that are to be learned from.
        own: the scores of the labelled answers, where there are some.
    """
    s, worth, labelled = r.recipe.settings, r.recipe.truth, r.recipe.labelled
    limit, least = s.gates.order, 1 if r.recipe.reward is not None else s.self_judge.min_scores
    if limit is None:
        return None
    rate, source = UNKNOWN, cast("Source | None", None)
    if labelled is not None:
        pairs = [(a, b) for a, b in labelled.better if min(len(own[a].scores), len(own[b].scores)) >= least]
        ids = [labelled.answers[a][0].id for a, _ in pairs]
        rate = order_accuracy([own[a].mean for a, _ in pairs], [own[b].mean for _, b in pairs], ids)
        source = "labelled"
    elif worth is not None:
        responses = {(p.id, one.response.texts): one.response for p, some in scored for one in some}
        known: list[tuple[float, float, str]] = []
        for pair in selection.preferences:
            one, other = (
                worth(pair.prompt, responses[pair.prompt.id, texts]) for texts in (pair.chosen, pair.rejected)
            )
            if one is not None and other is not None:
                known.append((one, other, pair.prompt.id))
        rate = order_accuracy([one for one, _, _ in known], [other for _, other, _ in known], [p for _, _, p in known])
        source = "truth"
    return gate("order", _ORDER, rate, limit, source)


def _limit(r: Run) -> float | None:
    gates = r.recipe.settings.gates
    return gates.meta if isinstance(gates, MetaGateSettings) else None


def meta_gate_labelled(r: Run, before: str, own: Sequence[Scored]) -> Gate | None:
    """Whether the model's verdicts on its judgements of labelled answers are right; None where that is not measured.

    Args:
        r: the run.
        before: the model that judges.
        own: its scores of the labelled answers.
    """
    limit, labelled, meta = _limit(r), r.recipe.labelled, meta_of(r.recipe.settings)
    if limit is None or labelled is None or meta is None:
        return None
    there = _unlike(labelled, own)
    items = [to_compare(r, before, labelled.answers[at][0], own[at]) for at in there]
    assert r.recipe.meta is not None
    met = compare(r.arena, r.recipe.meta(before, r.path(before)), meta, items)
    return _verdicts(met, [labelled.scores[at] for at in there], limit, "labelled")


def _unlike(labelled: LabelledAnswers, own: Sequence[Scored]) -> list[int]:
    """Labelled answers with a score, and with judgements of which one is nearer to it than another one is."""
    return [
        at
        for at in labelled.scored
        if len({round(abs(score - (labelled.scores[at] or 0.0)), 9) for score in own[at].scores}) > 1
    ]


def meta_gate(r: Run, before: str, met: Met) -> Gate | None:
    """The same of the iteration's own verdicts, by the truth; None where the gate is off."""
    limit, worth = _limit(r), r.recipe.truth
    if limit is None:
        return None
    if worth is None:
        return gate("meta", _META, UNKNOWN, limit, None)
    scale = r.scorer(before).scale
    known = [worth(one.prompt, one.response) for one in met.items]
    deserved = [None if true is None else whole_points(true, scale) for true in known]
    return _verdicts(met, deserved, limit, "truth")


def _verdicts(met: Met, deserved: Sequence[float | None], limit: float, source: Source) -> Gate:
    truth = np.asarray([np.nan if one is None else one for one in deserved], dtype=np.float64)
    rate = meta_accuracy(met.outcomes, met.scores, truth, [one.prompt.id for one in met.items])
    return gate("meta", _META, rate, limit, source)
