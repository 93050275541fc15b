"""The judgements that a model learns from beside its answers, in the iterations that learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arenaloop.data.self_pairs import Scored, limited
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.judge_drift import warnings
from arenaloop.recipes.self_rewarding_gates import closed, meta_gate, meta_gate_labelled, tell
from arenaloop.recipes.self_rewarding_meta import compare, meta_rows, own_judgements
from arenaloop.recipes.self_rewarding_plan import meta_of
from arenaloop.recipes.self_rewarding_run import Run
from arenaloop.recipes.self_rewarding_scores import Judged
from arenaloop.types import derive_seed

__all__ = ["judge_rows_of"]

_WARN_SHARE = 0.15
"""of judgements among the rows, above which NeMo-Aligner saw judges collapse to one score"""


def judge_rows_of(
    r: Run,
    number: int,
    name: str,
    scored: Judged,
    labelled: Sequence[Scored],
    actor: Sequence[JsonRow],
    refused: dict[str, str],
    drift: dict[str, Any],
) -> list[JsonRow]:
    """Pairs of judgements to learn from, beside those of answers: what rules, gates and limits leave of them.

    Where a labelled set tells that the model cannot compare judgements, it is not asked to.

    Args:
        r: the run.
        number, name: of the iteration, from 1, and of the model that it makes.
        scored: its answers. `labelled`: the scores of labelled answers, where there are some.
        actor: the pairs of answers.
        refused: the stop rules that the iteration's scores meet, with why.
        drift: is told what comes of it.
    """
    s, before, observer = r.recipe.settings, f"M{number}", r.arena.observer
    meta = meta_of(s)
    assert meta is not None
    assert r.recipe.meta is not None
    observer.phase(name, "judgements compared")
    found = meta_gate_labelled(r, before, labelled)
    rows: Sequence[JsonRow] = ()
    if not closed(s.gates, found):
        items, unvaried = own_judgements(r, before, scored)
        met = compare(r.arena, r.recipe.meta(before, r.path(before)), meta, items)
        selection = meta_rows(r, number, before, met, unvaried)
        drift |= {"meta": met.drift.to_json(), "judge_dropped": dict(selection.dropped)}
        r.note(name, warnings(r.limits, met.drift, None))
        rows = selection.rows
        found = meta_gate(r, before, met) if found is None else found
    tell(drift, found)
    if found is not None and closed(s.gates, found):
        refused = refused | {"gates.meta": found.why}
    stopping = {rule: why for rule, why in refused.items() if rule in ("one_score", "gates.meta")}
    for rule, why in stopping.items():
        told = "stop rule" if rule == "one_score" else "gate"
        observer.note(f"{name}: {told} {rule}: {why}; judgements are not learned from")
    if stopping:
        drift["stopped"], drift["judge_rows_refused"], rows = stopping, len(rows), ()
    kept, left_out = limited(actor, rows, meta.max_share, derive_seed("share", s.seed, name))
    share = len(kept) / (len(kept) + len(actor)) if kept else 0.0
    drift |= {"judge_rows": len(kept), "judge_rows_left_out": left_out, "judge_share": share}
    if share > _WARN_SHARE and meta.max_share is None:
        observer.note(
            f"{name}: {share:.0%} of the rows are judgements; above 15 % judges were seen to give one score always "
            "(meta.max_share)"
        )
    return kept
