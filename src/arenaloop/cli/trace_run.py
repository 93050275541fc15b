"""What `arenaloop trace` answers, as JSON documents: a training row, a stage, or what came of a key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arenaloop.cli.battled import (
    answer_document,
    failed_target,
    gap_of,
    how_asked,
    meeting_document,
    names_by_text,
    points_of,
    score_rows,
    verdict_document,
    why_not,
)
from arenaloop.cli.looked_up import Looked, Named
from arenaloop.data.lineage import (
    Meeting,
    Place,
    count_lines,
    dropped_files,
    meetings,
    prompt_id_of,
    row_prompt,
    row_texts,
)
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.recipes.adopted import adopted_line
from arenaloop.recipes.lineage import selected, selected_again, target_among, trained_on
from arenaloop.terminal import counted
from arenaloop.types import Prompt

__all__ = ["battle_document", "meetings_on", "prompt_document", "trace"]

Document = dict[str, Any]
_LISTED = 20
"""candidates and uses that are listed"""
_TOLERANCE = 1e-6


def trace(run: Looked, what: str | None, text: str | None, stdin: str | None) -> Document:
    """The document of what a user asked for.

    Args:
        what: ``STAGE:LINE``, ``FILE:LINE``, a stage, a key or the start of one, or ``-``.
        text: of a row, in place of `what`.
        stdin: a row as JSON, for ``-``.

    Raises:
        InputError: nothing of that kind is there, or several things are.
    """
    if text is not None:
        return _one_of(run, run.rows_with([text]), f"no training row holds the text {text[:60]!r}")
    assert what is not None
    if stdin is not None:
        row = _read(stdin)
        return _one_of(run, run.rows_like(row), "no training row of this run teaches what the row on stdin does")
    if (place := run.place(what)) is not None:
        return _of_place(run, place)
    if what in run.rows or what in run.done:
        return stage_document(run, what)
    return _came_of(run, run.named(what))


def _read(text: str) -> JsonRow:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("stdin: not JSON") from None
    if not isinstance(row, dict):
        raise InputError("stdin: one training row is expected, a JSON object")
    return row


def _one_of(run: Looked, places: Sequence[Place], none: str) -> Document:
    if not places:
        raise InputError(f"{run.home}: {none}")
    if len(places) == 1:
        return _of_place(run, places[0])
    rows = [{"row": one.name, "prompt": prompt_id_of(one.row)} for one in places[:_LISTED]]
    return {"kind": "rows", "count": len(places), "rows": rows}


# ---------------------------------------------------------------------- forward: from a row


def _of_place(run: Looked, place: Place) -> Document:
    row = place.row
    battle, known = row.get("model_a") is not None and row.get("model_b") is not None, "prompt_id" in row
    if battle and known:
        return battle_document(run, place)
    if known and "reason" in row and place.path.stem.endswith(".dropped"):
        return _dropped_row(run, place)
    if isinstance(row.get("dropped"), Mapping):
        return _cleaned_row(run, place)
    if battle or not (known or row_texts(row) or row_prompt(row)):
        raise InputError(f"{place.path}, line {place.line}: no training row, and no battle with a prompt_id")
    return row_document(run, place)


def row_document(run: Looked, place: Place) -> Document:
    """A training row: its texts, who battled for it, why it was selected, and who trained on it."""
    row, stage, notes = place.row, place.stage, list(run.notes)
    who, found, missing = run.met(row)
    if missing:
        notes.append(f"{counted(len(missing), 'verdict')} of the row not in {run.store.path.name}: {missing[0]} …")
    why = selected(run.recipe, stage, row)
    prompt_id = prompt_id_of(row)
    prompt = run.store.prompt(prompt_id)
    target = target_among(run.recipe, list(who))
    # between answers of its own, or where several stages answered, nobody is missing
    failed = (
        why.threshold is not None and bool(found) and not any("#" in n or target_among(run.recipe, [n]) for n in who)
    )
    margin, told = row.get("margin"), [one for one in row_texts(row) if one.texts]
    points, gap = points_of(run, who, found, target), None
    least: float | None = None
    if failed:
        notes.append("the target failed by itself and counts as the least score")
        if len(told) == 1 and told[0].model in points and margin is not None:
            least = points[told[0].model][0] - margin
    if points and told and all(one.model in points for one in told) and not (failed and len(told) == 1):
        gap = gap_of([one.model for one in told], points, target)
    if (
        gap is not None
        and margin is not None
        and found
        and abs(gap - margin) > _TOLERANCE
        and why.threshold is not None
    ):
        notes.append(f"the verdicts give a gap of {gap:.4g} where the row says {float(margin):.4g}")
    result = run.done.get(stage)
    if result is not None and (unfit := sum((result.get("rows_dropped") or {}).values())):
        notes.append(f"{stage} left out {counted(unfit, 'row')} that did not fit its training; this may be one")
    rows = count_lines(place.path) if not row.get("verdicts") else 0
    learned = trained_on(run.recipe, stage, row, run.done, line=place.line, rows=rows)
    table = score_rows(run, prompt, who, points, told, target)
    if failed and prompt is not None:
        table.append(failed_target(run, prompt, least))
        target = table[-1]["model"]
    if [one.role for one in told] == ["sampled"] and (about := run.rows_naming(prompt_id)):
        notes.append(f"rows that battles on its prompt gave: {', '.join(one.name for one in about)}")
    return {
        "kind": "row",
        "row": place.name,
        "file": str(place.path),
        "stage": stage,
        "prompt": {"id": prompt_id, "messages": row_prompt(row), "stored": prompt is not None},
        "texts": [{"role": one.role, "model": one.model, "texts": list(one.texts)} for one in told],
        "selected": {"rule": why.rule, "gap": margin, "name": why.name, "threshold": why.threshold, "target": target},
        "scores": table,
        "battles": [meeting_document(run, one, names_by_text(who)) for one in found],
        "trained": [one._asdict() for one in learned],
        "notes": notes,
    }


def _dropped_row(run: Looked, place: Place) -> Document:
    row = place.row
    who, found, _ = run.met(row)
    stage = place.path.stem.removesuffix(".dropped")
    return {
        "kind": "dropped",
        "stage": stage,
        "prompt": prompt_document(run, str(row["prompt_id"])),
        "reason": row["reason"],
        "gap": row.get("gap"),
        "scores": row.get("scores") or {},
        "threshold": _k(run, stage),
        "again": [one._asdict() for one in selected_again(run.recipe, stage, row, run.done)],
        "battles": [meeting_document(run, one, names_by_text(who)) for one in found],
        "notes": run.notes,
    }


def _cleaned_row(run: Looked, place: Place) -> Document:
    """A prompt that the cleaning of the pool dropped: by which step, why, and what it is like."""
    told = place.row["dropped"]
    prompt = run.store.prompt(str(told.get("id")))
    asked = row_prompt(place.row) if prompt is None else [dict(turn) for turn in prompt.messages]
    like = told.get("partner") or {}
    return {
        "kind": "cleaned",
        "file": str(place.path),
        "line": place.line,
        "prompt": {"id": str(told.get("id")), "messages": asked},
        "step": told.get("step"),
        "reason": told.get("why"),
        "like": like,
        "similarity": told.get("similarity"),
        "notes": run.notes,
    }


def _k(run: Looked, stage: str) -> Document | None:
    why = selected(run.recipe, stage, {"chosen": [], "rejected": []})
    return None if why.name is None else {"name": why.name, "value": why.threshold}


def battle_document(run: Looked, place: Place) -> Document:
    """A line of ``battles.jsonl`` or ``undecided.jsonl``, with its verdicts."""
    row = place.row
    document = {"kind": "battle", "file": str(place.path), "line": place.line} | row
    who, found, missing = run.met({"prompt_id": row["prompt_id"], "verdicts": row.get("verdicts") or ()})
    return document | {
        "prompt": prompt_document(run, str(row["prompt_id"])),
        "answers": _players(run, row, found),
        "meetings": [meeting_document(run, one, names_by_text(_both(run, row, found, who))) for one in found],
        "missing": missing,
        "notes": run.notes,
    }


def _players(run: Looked, row: Mapping[str, Any], found: Sequence[Meeting]) -> list[Document]:
    """Both contestants' answers; where a model answered under several settings, those that were judged."""
    answers = run.answers(run.prompt(str(row["prompt_id"])))
    judged = {text for one in found for text in (one.one, one.two)}
    seated: dict[str, str] = {}
    for name in (row["model_a"], row["model_b"]):
        own = [one.text_hash for one in answers.values() if one.model == name]
        if text := next((text for text in own if text in judged), own[-1] if own else ""):
            seated[name] = text
    for name in (row["model_a"], row["model_b"]):
        # one answer of two contestants (the same text, or the same model twice) is stored under the first's name
        left = judged - set(seated.values()) or judged
        if name not in seated and left:
            seated[name] = min(left)
    players = []
    for name in (row["model_a"], row["model_b"]):
        key = next((key for key, one in answers.items() if one.text_hash == seated.get(name)), None)
        players.append({"model": name} if key is None else answer_document(answers[key], key) | {"model": name})
    return players


def _both(run: Looked, row: Mapping[str, Any], found: Sequence[Meeting], who: Mapping[str, str]) -> dict[str, str]:
    return {one["model"]: one.get("text_hash", who.get(one["model"], "")) for one in _players(run, row, found)}


def prompt_document(run: Looked, prompt_id: str) -> Document:
    """A prompt of the arena file."""
    prompt = run.prompt(prompt_id)
    return {
        "id": prompt.id,
        "messages": [dict(turn) for turn in prompt.messages],
        "follow_ups": list(prompt.follow_ups),
        "tags": dict(prompt.tags),
    }


def stage_document(run: Looked, stage: str) -> Document:
    """A stage: how many rows it selected and trained on, by which threshold, and what gave no row."""
    result, path = run.done.get(stage), run.rows.get(stage)
    dropped = dropped_files(run.home).get(stage)
    selection, notes = run.selection(stage), list(run.notes)
    warning = run.warning(stage)
    notes += [warning] if warning else []
    notes += [adopted_line(told)] if (told := (result or {}).get("adopted")) else []
    return {
        "kind": "stage",
        "stage": stage,
        "finished": result is not None,
        "file": None if path is None else str(path),
        "rows": None if path is None else count_lines(path),
        "trained_on": None if result is None else result.get("rows"),
        "start": None if result is None else result.get("start"),
        "threshold": _k(run, stage),
        "dropped": run.dropped(stage) or {},
        "dropped_file": None if dropped is None else str(dropped),
        "chosen_by": selection.get("chosen_by") or {},
        "rejected_by": selection.get("rejected_by") or {},
        "credit": selection.get("credit") or {},
        "notes": notes,
    }


# ---------------------------------------------------------------------- back: what came of a key


def _came_of(run: Looked, named: Named) -> Document:
    """Which rows and battles came of a verdict, judgement, answer or prompt."""
    key = named.key
    if named.kind == "judgement":
        return _of_judgement(run, key)
    verdict = run.store.verdict(key) if named.kind == "verdict" else None
    turns = run.store.answer_turns(key) if named.kind == "response" else []
    prompt_id = verdict.prompt_id if verdict is not None else turns[0].prompt_id if turns else key
    prompt = run.prompt(prompt_id)
    answers = run.answers(prompt)
    names: dict[str, list[str]] = {}
    for one in answers.values():
        names.setdefault(one.text_hash, []).append(one.model)
    met = meetings_on(run, prompt)
    document: Document = {"kind": named.kind, "key": key, "prompt": prompt_document(run, prompt_id)}
    word = key if verdict is not None else prompt_id
    rows, dropped, battles = run.rows_naming(word), run.dropped_naming(word), run.battles_naming(word)
    if verdict is not None:
        own = next((one for one in met if key in {v.key for v in one.verdicts}), None)
        reason = why_not(verdict, own) if own is not None else None
        document["verdict"] = verdict_document(verdict, names) | {"why_not": reason} | how_asked(verdict)
        document["seats"] = [
            {"models": names.get(text_hash, []), "texts": list(run.store.texts(text_hash) or ())}
            for text_hash in (verdict.first_hash, verdict.second_hash)
        ]
        document["battle"] = None if own is None else meeting_document(run, own, names)
    elif turns:
        response = answers.get(key)
        model, texts = turns[-1].model, None if response is None else response.texts
        wrote = {model, *(names.get(answers[key].text_hash, ()) if key in answers else ())}
        battles = [p for p in battles if wrote & {p.row.get("model_a"), p.row.get("model_b")}]
        if response is not None:
            document["answer"] = answer_document(response, key)
            met = [one for one in met if response.text_hash in (one.one, one.two)]
        else:
            document["answer"] = {"key": key, "model": model, "status": turns[-1].status, "texts": [turns[-1].text]}
        document["battles"] = [meeting_document(run, one, names) for one in met]
        for_row = [{"row": p.name, "as": _part(p, texts, model)} for p in rows]
        return document | _uses(for_row, dropped, battles, run)
    else:
        document["answers"] = [answer_document(one, k) for k, one in answers.items()]
        document["battles"] = [meeting_document(run, one, names) for one in met]
    return document | _uses([{"row": p.name, "as": "its verdicts"} for p in rows], dropped, battles, run)


def meetings_on(run: Looked, prompt: Prompt) -> list[Meeting]:
    """All verdicts on a prompt, as battles of texts."""
    return meetings(run.verdicts_on(prompt).values(), run.merging)


def _part(place: Place, texts: Sequence[str] | None, model: str) -> str:
    """What an answer is in a row of its prompt."""
    own = [one for one in row_texts(place.row) if texts is not None and one.texts == tuple(texts)]
    exact = next((one for one in own if one.model == model), None)
    if exact is not None:
        return exact.role
    return f"{own[0].role}, as {own[0].model} wrote the same" if own else "one that battled for it"


def _uses(
    rows: Sequence[Document], dropped: Sequence[tuple[str, Place]], battles: Sequence[Place], run: Looked
) -> Document:
    left: list[Document] = [
        {"stage": stage, "reason": one.row.get("reason"), "gap": one.row.get("gap"), "threshold": _k(run, stage)}
        | {"line": one.name, "again": [t._asdict() for t in selected_again(run.recipe, stage, one.row, run.done)]}
        for stage, one in dropped
    ]
    fought = [
        {"file": _short(run, one.path), "line": one.line}
        | {name: one.row.get(name) for name in ("model_a", "model_b", "winner", "cause")}
        for one in battles[:_LISTED]
    ]
    notes = list(run.notes)
    if not rows and not left and not battles:
        notes.append(_nowhere(run))
    trained: Counter[str] = Counter()
    for row in rows:
        place = run.place(row["row"])
        assert place is not None
        for one in trained_on(run.recipe, place.stage, place.row, run.done):
            trained[one.stage] += one.finished
    trained.update(again["stage"] for one in left for again in one["again"] if again["finished"])
    return {
        "rows": list(rows),
        "dropped": left,
        "battle_rows": fought,
        "battle_rows_count": len(battles),
        "trained": [stage for stage, times in trained.items() if times],
        "notes": notes,
    }


def _nowhere(run: Looked) -> str:
    """Why nothing names what is stored, as far as the directory tells."""
    if run.recipe is not None:
        if stage := run.unwritten():
            return f"no row names it; data/{stage}.dropped.jsonl is missing; the command that began the run writes it"
        return (
            "no row or battle names it: it validated a stage, or it guarded one, its stage has not finished, or "
            "settings have changed"
        )
    if not (run.directory / "battles.jsonl").is_file():
        return "no battles.jsonl yet: the run has not finished; the command that began it resumes it"
    return "no battle names it: its pair is undecided, or settings have changed since"


def _short(run: Looked, path: Path) -> str:
    try:
        return str(path.relative_to(run.home))
    except ValueError:
        return str(path)


def _of_judgement(run: Looked, key: str) -> Document:
    found = run.store.judgement(key)
    assert found is not None
    answers = run.answers(run.prompt(found.prompt_id))
    authors = [one.model for one in answers.values() if one.text_hash == found.response_hash]
    return {
        "kind": "judgement",
        "key": key,
        "prompt": prompt_document(run, found.prompt_id),
        "judgement": {
            "judge": found.judge,
            "status": found.status.value,
            "score": found.score,
            "models": authors,
            "sample": found.sample,
            "raw": found.raw,
            "error": found.error,
        },
        **_uses(
            [{"row": p.name, "as": "its judgements"} for p in run.rows_naming(key)], [], run.battles_naming(key), run
        ),
    }
