"""A run whose judge writes Arena-Hard's labels, strong ones too; the fourth prompt has equal answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.judges.jury import Decider
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Request

PROMPTS = [Prompt.of(text) for text in ("0", "1", "2", "3 same")]
LABELS = {  # with base first, and with new first
    "0": ("[[A>>B]]", "[[A>B]]"),
    "1": ("[[B>>A]]", "[[A>>B]]"),
    "2": ("[[A=B]]", "Words [[B>>A]]\n\n[[A>B]]"),
    "3": ("[[A>>B]]", "[[A>>B]]"),
}


def play(out: Path, judge: Decider | None = None, **options: Any) -> Path:
    out.mkdir()

    def contestant(name: str) -> Contestant:
        def answer(request: Request) -> str:
            asked = request.messages[-1]["content"]
            return asked if "same" in asked else f"{name} {asked}"

        return Contestant(name, ScriptedModel(name, answer))

    def label(request: Request) -> str:
        text = request.messages[-1]["content"]
        asked = next(one for one in LABELS if f"{one} same\n" in text or f"base {one}\n" in text)
        return f"Compared.\n{LABELS[asked][text.find('base') > text.find('new')]}"

    plan = BattlePlan(
        contestants=[contestant("base"), contestant("new")],
        judge=judge or PairwiseJudge(ScriptedModel("judge", label), template="labels"),
        prompt_ids=[p.id for p in PROMPTS],
        schedule=Schedule((("base", "new"),)),
        **options,
    )
    with Store(out / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        run_tournament(plan, store, out)
    return out
