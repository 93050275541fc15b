"""Somebody who comes from Arena-Hard, FastChat or Chatbot Arena: questions, answers, judgments and votes."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from newcomers.steps import Step

_ANSWERS = "--model gpt-3.5-turbo-0125=file:data/arena_hard/model_answer_gpt-3.5-turbo-0125.jsonl.gz"
_ANSWERS += " --model gpt-4-0613=file:data/arena_hard/model_answer_gpt-4-0613.jsonl.gz"
_FIELD = f"{_ANSWERS} --prompts data/arena_hard/question.jsonl.gz"
_PLAYERS = "--model scholar={server}#scholar --model novice={server}#novice"
_TURNS = f"{_PLAYERS} --prompts data/mt_bench/question.jsonl.gz"
_NAMES = ("strong", "middle", "weak")
_VOTES = 600


def prepare(directory: Path) -> None:
    """What such a user has beside the data: FastChat's two kinds of judgments of made-up models, and made-up votes."""
    rng = random.Random(0)
    with gzip.open(directory / "data" / "mt_bench" / "question.jsonl.gz", "rt") as file:
        numbers = [row["question_id"] for row in map(json.loads, file)]
    judged = directory / "model_judgment"
    judged.mkdir()
    singles, pairs = [], []
    for number in numbers:
        for turn in (1, 2):
            scores = {name: max(1, min(10, round(rng.gauss(8 - 2 * i, 1.5)))) for i, name in enumerate(_NAMES)}
            shared = {"question_id": number, "turn": turn, "tstamp": 0.0}
            for name, score in scores.items():
                singles.append(shared | {"model": name, "judge": ["gpt-4", "single-v1"], "score": score})
            for one, other in (("strong", "middle"), ("middle", "weak")):
                games = [one if scores[one] + rng.gauss(0, 1) > scores[other] else other for _ in range(2)]
                words = {one: "model_1", other: "model_2"}
                won = {"g1_winner": words[games[0]], "g2_winner": words[games[1]]}
                pairs.append(shared | {"model_1": one, "model_2": other, "judge": ["gpt-4", "pair-v2"]} | won)
    for name, rows in (("gpt-4_single", singles), ("gpt-4_pair", pairs)):
        (judged / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    votes = []
    for number in range(_VOTES):
        first, second = rng.sample(range(len(_NAMES)), 2)
        lengths = [rng.randint(20, 200) for _ in range(2)]
        lead = 0.5 * (second - first) + 0.005 * (lengths[0] - lengths[1]) + rng.gauss(0, 1)
        votes.append(
            {
                "question_id": f"q{number}",
                "model_a": _NAMES[first],
                "model_b": _NAMES[second],
                "winner": "model_a" if lead > 0.2 else "model_b" if lead < -0.2 else "tie",
                "judge": f"voter_{rng.randint(0, 80)}",
                "language": rng.choice(("English", "German")),
                "turn": 1,
                "conversation_a": _talk(lengths[0], rng),
                "conversation_b": _talk(lengths[1], rng),
            }
        )
    (directory / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in votes))


def _talk(words: int, rng: random.Random) -> list[dict[str, str]]:
    """A question and an answer of so many words, under some headers and in some bullets."""
    parts = ["# Answer"] * rng.randint(0, 2) + ["- point"] * rng.randint(0, 5) + ["**bold**"] * rng.randint(0, 3)
    return [
        {"role": "user", "content": "Tell me."},
        {"role": "assistant", "content": "\n".join([*parts, "word " * words])},
    ]


STEPS = [
    Step(f"arenaloop battle {_FIELD} --judge builtin:longest --out runs/hard", ("500 battles", "gpt-3.5")),
    Step("arenaloop rank runs/hard --control style", ("headers", "bold")),
    Step("arenaloop rank runs/hard --by cluster", ("no board of cluster", "and of 24", "--json names all")),
    Step("arenaloop export runs/hard --to arena-hard --baseline gpt-4-0613 --out judgments", ("500",)),
    Step("arenaloop winrate judgments --baseline gpt-4-0613", ("gpt-3.5",)),
    Step("arenaloop rank judgments", ("gpt-3.5", "gpt-4")),
    Step("arenaloop rank model_judgment", ("strong", "single")),
    Step("arenaloop winrate model_judgment --baseline weak", ("middle",)),
    Step("arenaloop rank 'model_judgment/*_single.jsonl'", ("strong", "weak")),
    Step("arenaloop rank votes.jsonl --control style --by language", ("English", "German", "length")),
    Step("arenaloop rank votes.jsonl --cluster voter --ties davidson", ("voter",)),
    Step(
        "arenaloop rank judgments --control arena_hard --answers 'data/arena_hard/model_answer_*.jsonl.gz'",
        ("headers", "gpt-3.5"),
    ),
    Step("arenaloop rank votes.jsonl --control arena_hard", ("no model is in every battle", "style"), code=2),
    Step(f"arenaloop battle {_TURNS} --judge {{server}}#judge --limit 20 --out runs/turns --dry-run", ("20 prompts",)),
    Step(f"arenaloop battle {_TURNS} --judge {{server}}#judge --limit 20 --out runs/turns", ("20 battles", "scholar")),
    Step(f"arenaloop battle {_TURNS} --judge {{server}}#judge --limit 20 --out runs/turns", ("20 battles",)),
    Step("arenaloop merge runs/both runs/turns runs/hard", ("runs/both",)),
    Step("arenaloop export runs/turns --to chatbot-arena --out back.jsonl && arenaloop rank back.jsonl", ("scholar",)),
    Step("arenaloop rank votes.json", ("votes.json",), code=2),
]
