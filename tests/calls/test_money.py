"""What the server billed is within the budget: over servers that say too little, answers that never come, and kills.

Each case runs the same command until the budget holds it for good, against a real server that bills what it generates.
`python tests/calls/test_money.py` prints the table.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scripted_battles import Judging, contestant, make_plan
from till import PRICE, Said, Till, running_till, scores, usage

from arenaloop.arena.battles import play
from arenaloop.calls.budget import Budget
from arenaloop.errors import StoppedError
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Sampling

Answer = Callable[[int, dict[str, Any], int], Said]
LIMIT = 100  # max_tokens of the judges
ANSWERS = 240  # of contestants by script, which cost nothing


def plain(n: int, body: dict[str, Any], size: int) -> Said:
    return Said(scores(body), size // 4, 15, usage(size // 4, 15))


def reasoning(n: int, body: dict[str, Any], size: int) -> Said:
    """Thinks forty times as long as it was allowed to answer."""
    return Said(scores(body), size // 4, 40 * LIMIT, usage(size // 4, 40 * LIMIT))


def uncounted(n: int, body: dict[str, Any], size: int) -> Said:
    """Thinks nine times as long as it was allowed to answer, which stands in the total alone."""
    told = {"prompt_tokens": size // 4, "completion_tokens": 15, "total_tokens": size // 4 + 15 + 9 * LIMIT}
    return Said(scores(body), size // 4, 15 + 9 * LIMIT, told)


def moody(n: int, body: dict[str, Any], size: int) -> Said:
    """Thinks now and then."""
    written = 20 * LIMIT if n % 7 == 6 else 15
    return Said(scores(body), size // 4, written, usage(size // 4, written))


def dense(n: int, body: dict[str, Any], size: int) -> Said:
    """Every second byte is a token."""
    return Said(scores(body), size // 2, 15, usage(size // 2, 15))


def hidden(n: int, body: dict[str, Any], size: int) -> Said:
    """A long system prompt of the server's own."""
    return Said(scores(body), size // 4 + 5000, 15, usage(size // 4 + 5000, 15))


def untold(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), usage=None)


def zeros(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), usage=usage(0, 0))


def half_told(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), usage={"prompt_tokens": size // 4})


def garbage(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), text="I like both.")


def late(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), how="late" if n % 3 == 2 else "whole")


def always_late(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), how="late" if n > 5 else "whole")


def cut(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), how="cut" if n % 2 else "whole")


def unreadable(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), how="unreadable" if n % 2 else "whole")


def gateway(n: int, body: dict[str, Any], size: int) -> Said:
    return replace(plain(n, body, size), **({"how": "gateway", "usage": None} if n % 2 else {}))  # type: ignore[arg-type]


def failed(n: int, body: dict[str, Any], size: int) -> Said:
    """Generates, fails on the way back, and says what it has taken."""
    return replace(plain(n, body, size), how="failed" if n % 2 else "whole")


def turned_down(n: int, body: dict[str, Any], size: int) -> Said:
    """Fails before it has answered anything, and says what that has cost: nobody may wait for the others for ever."""
    return replace(plain(n, body, size), how="failed" if n < 2 else "whole")


def thought_apart(n: int, body: dict[str, Any], size: int) -> Said:
    """Reasoning that stands in the details alone, and not in a total that looks right."""
    told = usage(size // 4, 15) | {"completion_tokens_details": {"reasoning_tokens": 9 * LIMIT}}
    return Said(scores(body), size // 4, 15 + 9 * LIMIT, told)


def cached_apart(n: int, body: dict[str, Any], size: int) -> Said:
    """A prompt that is told but for what went into a cache, which costs a quarter more, and what came from one."""
    told = usage(4, 15) | {"cache_creation_input_tokens": size // 8, "cache_read_input_tokens": size // 8}
    return Said(scores(body), 4 + size // 8 + size // 8 + size // 32, 15, told)


def own_bill(n: int, body: dict[str, Any], size: int) -> Said:
    """Bills twenty times as much as its tokens cost by the price table, and says so."""
    usd = 20 * (PRICE.usd(size // 4, 15) or 0.0)
    return Said(scores(body), 20 * (size // 4), 20 * 15, usage(size // 4, 15) | {"cost": usd})


def zeros_now_and_then(n: int, body: dict[str, Any], size: int) -> Said:
    """Thinks at length, and tells nothing of every other reply."""
    return Said(scores(body), size // 4, 5 * LIMIT, usage(0, 0) if n % 2 else usage(size // 4, 5 * LIMIT))


def never_ends(n: int, body: dict[str, Any], size: int) -> Said:
    """Short answers at first, then some that never end, until they have all the tokens that they may have."""
    said = plain(n, body, size)
    return said if n < 6 else replace(said, tokens_out=LIMIT, how="cut")


def negative(n: int, body: dict[str, Any], size: int) -> Said:
    return Said(scores(body), size // 4, LIMIT, usage(-7, -8))


def true(n: int, body: dict[str, Any], size: int) -> Said:
    told = {"prompt_tokens": True, "completion_tokens": True, "total_tokens": 2}
    return Said(scores(body), size // 4, LIMIT, told)


class Case(NamedTuple):
    """A server, what may be spent, and how many judges there are."""

    answer: Answer
    usd: float
    jury: int = 1
    reask: int = 2


CASES = {
    "plain": Case(plain, 0.2),
    "reasoning beyond the limit": Case(reasoning, 2.0),
    "reasoning in the total alone": Case(uncounted, 1.0),
    "reasoning now and then": Case(moody, 1.0),
    "token-dense texts": Case(dense, 0.3),
    "a hidden system prompt": Case(hidden, 1.0),
    "no usage": Case(untold, 0.2),
    "usage of zeros": Case(zeros, 0.2),
    "half of a usage": Case(half_told, 0.2),
    "re-asks of garbage": Case(garbage, 0.4),
    "late now and then": Case(late, 0.1),
    "always late": Case(always_late, 0.1),
    "answers cut": Case(cut, 0.1),
    "answers unreadable": Case(unreadable, 0.1),
    "a gateway gives up": Case(gateway, 0.1),
    "a failure that was charged": Case(failed, 0.1),
    "a first call that is turned down": Case(turned_down, 0.1),
    "reasoning in the details alone": Case(thought_apart, 1.0),
    "caches beside the prompt": Case(cached_apart, 0.2),
    "a bill of the server's own": Case(own_bill, 2.0),
    "zeros now and then": Case(zeros_now_and_then, 0.5),
    "answers that never end": Case(never_ends, 0.1),
    "negative counts": Case(negative, 0.2),
    "counts that are true": Case(true, 0.2),
    "a jury of three": Case(moody, 1.0, jury=3),
    "a jury without usage": Case(untold, 0.3, jury=3),
}


def texts(name: str, n: int) -> str:
    return f"{name} {n} " + "".join(random.Random(f"{name}{n}").choices("0123456789abcdef", k=400 + 40 * (n % 9)))


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def judge_of(case: Case, url: str) -> PairwiseJudge | Jury:
    def one(name: str) -> PairwiseJudge:
        timeout = 0.3 if case.answer in (late, always_late) else 60.0
        model = OpenAIModel(name, name, url, price=PRICE, timeout=timeout, retries=2, sleep=no_sleep)
        return PairwiseJudge(model, sampling=Sampling(max_tokens=LIMIT))

    members = [one(f"j{n}") for n in range(case.jury)]
    return members[0] if case.jury == 1 else Jury(members)


def spend(case: Case, folder: Path, invocations: int = 3) -> tuple[Till, Any, list[str]]:
    """Run a case several times over; the till, what the arena file counts of verdicts, and how each ended."""
    prompts = [Prompt.of(texts("question", n)) for n in range(ANSWERS // 2)]
    ends = []
    with running_till(case.answer) as till:
        judging = Judging()
        judging.judge = judge_of(case, till.url)  # type: ignore[assignment]
        for _ in range(invocations):
            plan = make_plan(judging, [contestant("a"), contestant("b")], prompts, reask=case.reask)
            with Store(folder / "arena.db") as store:
                store.add_prompts(prompts)
                store.flush()
                try:
                    play(plan, store, budget=Budget(usd=case.usd))
                    ends.append("finished")
                except StoppedError as stopped:
                    ends.append(str(stopped))
                counted = store.usage()
                counted = counted._replace(calls=counted.calls - store.sizes()["responses"])  # which cost nothing
        return till, counted, ends


@pytest.mark.parametrize("name", CASES)
def test_what_was_billed_is_within_the_budget(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    till, counted, ends = spend(case, tmp_path)
    assert "the budget is spent" in ends[-1]
    assert till.billed <= case.usd + max(till.dearest, 0.02 * case.usd)
    assert till.calls == counted.calls  # every request counts, whatever came of it
    assert counted.calls_cut_off == 0
    told = (
        plain,
        reasoning,
        uncounted,
        moody,
        dense,
        hidden,
        garbage,
        failed,
        turned_down,
        thought_apart,
        cached_apart,
        own_bill,
    )
    assert (counted.usd_estimated > 0) == (case.answer not in told)
    assert till.billed >= 0.2 * case.usd  # nor is the run stopped long before
    if not counted.usd_estimated:
        assert counted.usd == pytest.approx(till.billed, rel=0.01)


def searching(n: int, body: dict[str, Any], size: int) -> Said:
    """Looks things up, for a cent each, in every fifth reply."""
    said = plain(n, body, size)
    if n % 5 != 4:
        return said
    assert said.usage is not None
    return replace(said, usage=said.usage | {"server_tool_use": {"web_search_requests": 3}})


def test_what_no_price_covers_stops_a_budget_in_dollars(tmp_path: Path) -> None:
    till, counted, ends = spend(Case(searching, 0.5), tmp_path)
    says = r"j0: a reply counts what no price covers \(web_search_requests: 3\).* put units: {web_search_requests: …}"
    assert all(re.match(says, end) for end in ends)
    assert 5 <= till.calls <= 60
    assert till.calls == counted.calls  # what was paid for is kept
    assert counted.usd == pytest.approx(till.billed, rel=0.01)


def test_what_a_price_covers_is_within_the_budget(tmp_path: Path) -> None:
    usd = 1.0
    prompts = [Prompt.of(texts("question", n)) for n in range(ANSWERS // 2)]
    with running_till(searching) as till, Store(tmp_path / "arena.db") as store:
        judging = Judging()
        price = replace(PRICE, units={"web_search_requests": 0.01})
        model = OpenAIModel("j", "j", till.url, price=price, sleep=no_sleep)
        judging.judge = PairwiseJudge(model, sampling=Sampling(max_tokens=LIMIT))
        store.add_prompts(prompts)
        store.flush()
        with pytest.raises(StoppedError, match="the budget is spent"):
            play(make_plan(judging, [contestant("a"), contestant("b")], prompts), store, budget=Budget(usd=usd))
        billed = till.billed + 0.03 * (till.calls // 5)
        assert 0.2 * usd <= billed <= usd + 0.03 + till.dearest
        assert store.usage().usd == pytest.approx(billed, rel=0.01)


# ---------------------------------------------------------------------- kills and Ctrl-C


def battle(till: Till, folder: Path, *limits: str) -> list[str]:
    """The command of a battle between recorded answers, judged at the till."""
    with (folder / "prompts.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(40))
    models = []
    for name in ("a", "b"):
        rows = [{"instruction": f"question {n}", "output": texts(name, n)} for n in range(40)]
        (folder / f"{name}.json").write_text(json.dumps(rows))
        models += ["--model", f"{name}=file:{folder}/{name}.json"]
    price = f"{{input: {PRICE.prompt}, output: {PRICE.completion}}}"
    (folder / "judge.yaml").write_text(f"spec: {till.url}#j\nprice: {price}\nsampling: {{max_tokens: {LIMIT}}}\n")
    code = "import sys; from arenaloop.cli import main; sys.exit(main())"
    rest = ["--prompts", f"{folder}/prompts.jsonl", "--judge", f"{folder}/judge.yaml", "--out", f"{folder}/run"]
    return [sys.executable, "-c", code, "battle", *models, *rest, "--concurrency", "8", *limits]


def interrupted(folder: Path, ends: signal.Signals, times: int, *limits: str) -> tuple[Till, Any, int]:
    """A battle that is ended `times` times while its calls are on their way, and then left alone; its last exit."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with running_till(plain) as till:
        command = battle(till, folder, *limits)
        for _ in range(times):
            till.open.clear()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
            till.wait_for(till.calls + 1, lambda: process.poll() is None)  # noqa: B023 - within this round
            process.send_signal(ends)
            process.wait()
            till.open.set()
        done = subprocess.run(command, capture_output=True, env=env, check=False)
        with Store(folder / "run" / "arena.db", readonly=True) as store:
            return till, store.usage(), done.returncode


@pytest.mark.parametrize(
    ("limit", "ends", "times"),
    [
        pytest.param("--budget-usd", signal.SIGINT, 1, id="dollars-Ctrl-C"),
        pytest.param("--budget-calls", signal.SIGKILL, 1, id="calls-kill -9"),
        pytest.param("--budget-calls", signal.SIGINT, 2, id="calls-Ctrl-C", marks=pytest.mark.long),
        pytest.param("--budget-usd", signal.SIGKILL, 2, id="dollars-kill -9", marks=pytest.mark.long),
    ],
)
def test_calls_that_were_cut_off_count(limit: str, ends: signal.Signals, times: int, tmp_path: Path) -> None:
    till, counted, code = interrupted(tmp_path, ends, times, limit, "30" if limit == "--budget-calls" else "0.1")
    assert code == 4
    assert counted.calls_cut_off >= times  # each invocation had sent one at least
    # what was booked and not sent any more counts, too: a kill may fall between the two
    assert 0 <= counted.calls - till.calls <= (0 if ends is signal.SIGINT else 8 * times)
    if limit == "--budget-calls":
        assert till.calls <= counted.calls == 30
    else:
        assert till.billed <= 0.1 + till.dearest
        assert counted.usd_estimated > 0


# ---------------------------------------------------------------------- the table


def table() -> None:
    """Print what was billed beside what might be spent, for every case."""
    print(f"{'case':28} {'budget':>8} {'billed':>8} {'counted':>8} {'estimated':>10} {'one call':>9} {'requests':>9}")

    def row(name: str, budget: str, till: Till, counted: Any) -> None:
        sums = f"{till.billed:8.4f} {counted.usd:8.4f} {counted.usd_estimated:10.4f} {till.dearest:9.4f}"
        print(f"{name:28} {budget:>8} {sums} {till.calls:9}")

    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            till, counted, _ = spend(case, Path(folder))
            row(name, f"${case.usd:g}", till, counted)
    for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for limit, value in (("--budget-calls", "30"), ("--budget-usd", "0.1")):
            with tempfile.TemporaryDirectory() as folder:
                till, counted, _ = interrupted(Path(folder), ends, 4, limit, value)
                row(f"4 × {ends.name}", value if limit == "--budget-calls" else f"${value}", till, counted)


if __name__ == "__main__":
    table()
