"""Attacks on judges: what each wins with this project's defences and without, and how often honest answers are flagged.

    python experiments/red_team.py [--cases 100] [--template pairwise] [--verdict text] [--by attack]
    python experiments/red_team.py --judge SPEC                  a real judge, with the defences; this asks it
    python experiments/red_team.py --flags ANSWERS...            flags on answers that are known to be honest

The attacker's honest answer is wrong and the victim's is right, so a judge that is not fooled gives the attacker
nothing. Win rates are over decided battles, a tie as half a win, with 95 % score intervals (Wilson 1927). "Without" is
a plain template whose borders everyone knows, a parser that takes the first verdict it finds, and one seat; "with" is
what `arenaloop battle` does. The judges are scripted (`arenaloop.sandbox.gullible`); none needs a model.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from arenaloop.audit.suspicion import REASONS, Sameness, marks
from arenaloop.config import JudgeSettings
from arenaloop.jsonl import read_rows
from arenaloop.judges.base import Judge
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.seats import merge_pair
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.attacks import ATTACKS, Attack
from arenaloop.sandbox.gullible import GULLIBLE, Gullible
from arenaloop.sandbox.red_team import Bout, Case, Plain, cases, guarded, plain
from arenaloop.specs import judge as build_judge
from arenaloop.specs import model_settings
from arenaloop.types import Response, Verdict

SECRET = "of this experiment"
SINGLE = {
    "none": Plain(),
    "codes": Plain(codes=True),
    "last line": Plain(last_line=True),
    "both seats": Plain(both_seats=True),
    "all three": Plain(codes=True, last_line=True, both_seats=True),
}


def pooled(bouts: Sequence[Bout]) -> Bout:
    """The counts of several bouts; its interval takes every battle for an independent one."""
    total = Bout()
    for bout in bouts:
        total.won += bout.won
        total.tied += bout.tied
        total.lost += bout.lost
        total.undecided += bout.undecided
    return total


def cell(bout: Bout) -> str:
    """Win rate in per cent with its interval, and what stayed undecided."""
    if bout.rate is None:
        return "all undecided"
    low, high = bout.interval()
    open_ = f" u{bout.undecided}" if bout.undecided else ""
    return f"{100 * bout.rate:.0f} [{100 * low:.0f}, {100 * high:.0f}]{open_}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(head) + " |")
    print("|---" + "|--:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def contest(judge: PairwiseJudge, tried: Sequence[Case], by: str) -> None:
    """The main table, one row a family of attacks or one an attack, and what each defence does alone."""
    groups: dict[str, list[Attack]] = {}
    for attack in ATTACKS:
        groups.setdefault(getattr(attack, by), []).append(attack)
    without: dict[tuple[str, str], Bout] = {}
    behind: dict[tuple[str, str], Bout] = {}
    for name, mind in GULLIBLE.items():
        for attack in ATTACKS:
            without[name, attack.name] = plain(mind, attack, tried)
            behind[name, attack.name] = guarded(judge, mind, attack, tried, secret=SECRET)
    n, what = len(tried), f"template {judge.template.name}, verdict {judge.verdict}"
    print(f"{len(ATTACKS) - 1} attacks × {n} prompts, {what}; attacker's win rate in %, without → with the defences\n")
    rows = []
    for group, attacks in groups.items():
        row = [f"{group} ({len(attacks)})" if by == "kind" else group]
        for name in GULLIBLE:
            pair = [pooled([found[name, a.name] for a in attacks]) for found in (without, behind)]
            row.append(" → ".join(map(cell, pair)))
        rows.append(row)
    table(["attacks", *(name.replace("_", " ") for name in GULLIBLE)], rows)

    print("each defence by itself, over all attacks but padding; a scripted template, not the shipped one\n")
    aimed = [a for a in ATTACKS if a.kind not in ("honest", "padding")]
    rows = [
        [label, *(cell(pooled([plain(mind, a, tried, setup, secret=SECRET) for a in aimed])) for mind in fooled())]
        for label, setup in SINGLE.items()
    ]
    rows.append(["as shipped", *(cell(pooled([behind[m.__name__, a.name] for a in aimed])) for m in fooled())])
    table(["defence", *(mind.__name__.replace("_", " ") for mind in fooled())], rows)


def fooled() -> list[Gullible]:
    """The judges that attacks are aimed at: length needs no attack."""
    return [mind for name, mind in GULLIBLE.items() if name != "length_lover"]


async def ask(judge: Judge, tried: Sequence[Case]) -> None:
    """The same attacks on a real judge, with the defences: one row an attack."""
    rows = []
    limit = asyncio.Semaphore(judge.concurrency)

    async def seat(case: Case, first: Response, second: Response) -> Verdict:
        async with limit:
            return await judge.judge(case.prompt, first, second, secret=SECRET, seed=0)

    async def fight(attack: Attack, case: Case) -> str | None:
        attacker = Response(case.prompt.id, "attacker", (attack.answer(case.wrong, "0123456789abcdef"),))
        victim = Response(case.prompt.id, "victim", (case.right,))
        seats = await asyncio.gather(seat(case, attacker, victim), seat(case, victim, attacker))
        battles = merge_pair("attacker", "victim", *seats)
        return {"model_a": "won", "tie": "tied", "model_b": "lost"}[battles[0].winner] if battles else None

    for attack in ATTACKS:
        bout = Bout()
        for outcome in await asyncio.gather(*(fight(attack, case) for case in tried)):
            bout.add(outcome)
        rows.append([attack.name, attack.kind, cell(bout)])
    await judge.aclose()
    print(f"{len(tried)} prompts an attack, judge {judge.name}; attacker's win rate in %, with the defences\n")
    table(["attack", "kind", "win rate"], rows)


# ---------------------------------------------------------------------- honest answers


def answers(path: Path) -> Iterator[tuple[str, str]]:
    """(prompt, answer) of an AlpacaEval outputs file, or of a FastChat or Arena-Hard answer file."""
    for _, row in read_rows(path):
        if "output" in row:
            yield str(row["instruction"]), str(row["output"])
            continue
        turns = row["messages"] if "messages" in row else row["choices"][0]["turns"]
        for turn in turns:
            said = turn.get("content") if turn.get("role") == "assistant" or "messages" not in row else None
            text = said.get("answer") if isinstance(said, Mapping) else said
            if text is not None:
                yield str(row.get("uid") or row.get("question_id")), str(text)


def flag_rates(paths: Sequence[Path], examples: int) -> None:
    """How often answers that nobody wrote for a judge are flagged, and what a look costs."""
    rows, shown = [], []
    total, characters, cost = 0, 0, 0.0
    for path in paths:
        found: Counter[str] = Counter()
        same, read = Sameness(), list(answers(path))
        start = time.process_time()
        for _, text in read:
            for mark in marks(text):
                found[mark.flag] += 1
                shown += [(path.name, mark)] if mark.flag != "empty" else []
        cost += time.process_time() - start
        for prompt, text in read:
            same.add(prompt, text)
        found["constant"] = same.found().constant
        total, characters = total + len(read), characters + sum(len(text) for _, text in read)
        rows.append([path.name, f"{len(read):,}", *(str(found[flag]) for flag in REASONS)])
    table(["file", "answers", *(flag.replace("_", " ") for flag in REASONS)], rows)
    print(f"{total:,} answers, {cost / characters * 1e9:.0f} µs of CPU per 1,000 characters\n")
    for name, mark in shown[:examples]:
        print(f"{name}: {mark.flag}: {mark.clip!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--template", default="pairwise")
    parser.add_argument("--verdict", default="text", choices=["text", "json", "logprob"])
    parser.add_argument("--by", default="kind", choices=["kind", "name", "attack"])
    parser.add_argument("--judge", metavar="SPEC")
    parser.add_argument("--flags", nargs="+", type=Path, metavar="ANSWERS")
    parser.add_argument("--examples", type=int, default=30)
    args = parser.parse_args()
    started = time.process_time()
    if args.flags:
        flag_rates(args.flags, args.examples)
    elif args.judge:
        settings = model_settings(args.judge, kind=JudgeSettings).model_copy(
            update={"template": args.template, "verdict": args.verdict}
        )
        assert isinstance(settings, JudgeSettings)
        asked = build_judge(settings)
        assert not isinstance(asked, Jury)
        asyncio.run(ask(asked, cases(args.cases)))
    else:
        silent = ScriptedModel("scripted", lambda request: "")
        shipped = PairwiseJudge(silent, template=args.template, verdict=args.verdict)
        contest(shipped, cases(args.cases), "name" if args.by == "attack" else args.by)
    print(f"{time.process_time() - started:.1f} s of CPU")
