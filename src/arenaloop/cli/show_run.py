"""What `arenaloop show` answers, as JSON documents: a battle, a key, a training row, or what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.cli.battled import meeting_document
from arenaloop.cli.earlier import earlier_boards
from arenaloop.cli.looked_up import Looked
from arenaloop.cli.trace_run import battle_document, meetings_on, prompt_document, trace
from arenaloop.data.lineage import Place, count_lines, dropped_files, prompt_id_of, row_prompt, row_texts
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.recipes.adopted import adopted_line
from arenaloop.recipes.kept import kept_checkpoints, words

__all__ = ["overview", "show"]

Document = dict[str, Any]


def show(run: Looked, words: list[str]) -> Document:
    """The document of what the words name: nothing, a row, a line of battles, a key, or a prompt and two models.

    Raises:
        ConfigError: more words, or a prompt with one model.
        InputError: nothing of that kind is there.
    """
    if not words:
        return overview(run)
    if len(words) == 3:
        return _battle(run, *words)
    if len(words) != 1:
        raise ConfigError(f"show wants one thing, or a prompt and two models: {' '.join(words)!r} is neither")
    place = run.place(words[0])
    if place is not None and row_texts(place.row):
        return _row(run, place)
    document = trace(run, words[0], None, None)
    if document["kind"] == "response":
        document["turns"] = _turns(run, document["key"])
    return document


def _row(run: Looked, place: Place) -> Document:
    """A training row as it stands: its texts, and the columns beside them."""
    texts = row_texts(place.row)
    said = {"messages", "prompt", "completion", "chosen", "rejected"}
    return {
        "kind": "row",
        "row": place.name,
        "file": str(place.path),
        "prompt": {"id": prompt_id_of(place.row), "messages": row_prompt(place.row)},
        "texts": [{"role": one.role, "model": one.model, "texts": list(one.texts)} for one in texts],
        "lineage": {name: value for name, value in place.row.items() if name not in said},
        "notes": [],
    }


def _battle(run: Looked, prompt: str, one: str, two: str) -> Document:
    """The battle of two models on a prompt, as its line has it, or one that was trained on from its verdicts."""
    prompt_id = run.named(prompt, ("prompt",)).key
    for place in run.battles_naming(prompt_id):
        if place.path.parent == run.directory and {place.row.get("model_a"), place.row.get("model_b")} == {one, two}:
            return battle_document(run, place)
    found = run.prompt(prompt_id)
    answers = run.answers(found)
    names = sorted({a.model for a in answers.values()})
    for name in (one, two):
        if name not in names:
            raise InputError(
                f"{name!r} did not answer prompt {prompt_id}{nearest(name, names)}; {', '.join(names)} did"
            )
    by_name: dict[str, list[str]] = {
        name: [a.text_hash for a in answers.values() if a.model == name] for name in (one, two)
    }
    met = [
        m
        for m in meetings_on(run, found)
        if (m.one in by_name[one] and m.two in by_name[two]) or (m.two in by_name[one] and m.one in by_name[two])
    ]
    judged = {text for m in met for text in (m.one, m.two)}
    seated = {name: next((h for h in hashes if h in judged), hashes[-1]) for name, hashes in by_name.items()}
    players = [next(a for a in answers.values() if (a.model, a.text_hash) == pair) for pair in seated.items()]
    shown: dict[str, list[str]] = {}
    for name, text_hash in seated.items():
        shown.setdefault(text_hash, []).append(name)
    judges = {(v.judge, v.judge_hash, v.template_hash): v.judge for m in met for v in m.verdicts[:1]}
    battle = met[0].battles[0] if len(judges) == 1 and met[0].battles else None
    turned = battle is not None and battle.model_a != seated[one]
    document: Document = {"kind": "battle", "model_a": one, "model_b": two}
    if battle is not None:
        winner = battle.winner.value
        if turned:
            winner = {"model_a": "model_b", "model_b": "model_a"}.get(winner, winner)
        points = (battle.score_b, battle.score_a) if turned else (battle.score_a, battle.score_b)
        document |= {"winner": winner, "score_a": points[0], "score_b": points[1], "flipped": battle.flipped}
    notes = [*run.notes] + ([] if met else [f"{one} and {two} did not meet on this prompt: no verdict is stored"])
    if len(judges) > 1:
        notes.append(f"several judges were asked, who each decide it: {', '.join(judges.values())}")
    return document | {
        "prompt": prompt_document(run, prompt_id),
        "answers": [
            {"model": a.model, "status": a.status.value, "texts": list(a.texts), "text_hash": a.text_hash}
            for a in players
        ],
        "meetings": [meeting_document(run, m, shown) for m in met],
        "missing": [],
        "notes": notes,
    }


def _turns(run: Looked, key: str) -> list[str]:
    """Each attempt at each turn of an answer in a few words."""
    lines = []
    for one in run.store.answer_turns(key):
        tokens = f"{one.tokens_in} tokens in, {one.tokens_out} out" if one.tokens_out is not None else "tokens unknown"
        price = "" if one.usd is None else f", ${one.usd:.6f}"
        why = f": {one.error}" if one.error else ""
        lines.append(f"turn {one.turn + 1}, attempt {one.attempt + 1}: {one.status}{why} ({tokens}{price})")
    return lines


def overview(run: Looked) -> Document:
    """What there is to look at."""
    rows, dropped = run.rows, dropped_files(run.home)
    stages = [
        {
            "stage": name,
            "rows": count_lines(rows[name]) if name in rows else None,
            "dropped": count_lines(dropped[name]) if name in dropped else _total(run.dropped(name)),
            "trained_on": (run.done.get(name) or {}).get("rows"),
        }
        for name in dict.fromkeys([*run.done, *rows])
    ]
    names = ("battles.jsonl", "undecided.jsonl")
    files = [run.directory / name for name in names if (run.directory / name).is_file()]
    filled = [one for one in stages if one["rows"]]
    first = next((one["stage"] for one in [*(one for one in filled if one["dropped"] is not None), *filled]), None)
    hints = [f"arenaloop trace {run.directory} {first}:1"] if first else []
    hints += [f"arenaloop show {run.directory} battles.jsonl:1"] if files and files[0].name == names[0] else []
    models: Mapping[str, int] = run.store.answers_by_model()
    return {
        "kind": "overview",
        "directory": str(run.directory),
        "sizes": run.store.sizes(),
        "models": dict(models),
        "stages": stages,
        "kept": [
            {"stage": one.stage, "path": str(one.path), "finished": one.finished, "settings": words(one.differs)}
            for one in kept_checkpoints(run.home)
        ],
        "earlier": [
            {"path": str(one), "battles": count_lines(one / "battles.jsonl")} for one in earlier_boards(run.home)
        ],
        "battles": [{"file": one.name, "lines": count_lines(one)} for one in files],
        "try": hints,
        "notes": [
            *run.notes,
            *(f"{name}: {told}" for name in rows if (told := run.warning(name))),
            *(f"{name}: {adopted_line(told)}" for name, one in run.done.items() if (told := one.get("adopted"))),
        ],
    }


def _total(counts: Mapping[str, int] | None) -> int | None:
    return None if counts is None else sum(counts.values())
