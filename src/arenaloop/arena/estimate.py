"""What a run will ask, read, write and cost, before its first call: from a sample of real lengths.

Counted is what the arena file lacks. Of many prompts some are looked at and the rest is taken to be like them; of the
missing calls at most `sample` are rendered whole, as they would be sent. Characters become tokens by what stored calls
of the same model and settings have shown, or else four to a token, which is marked. What a model will write is the mean
of what it has written, or else half of what it may write; "at most" is ``max_tokens`` in every call. Standard errors
are those of the sample's means.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from arenaloop.arena.costs import CROWD_WORKER, HumanLabel
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.lengths import (
    CHARACTERS_PER_TOKEN,
    Length,
    Shown,
    answer_length,
    asked_characters,
    judged_characters,
    shown_contestant,
    shown_judge,
    token_limit,
)
from arenaloop.judges.base import Judge, ModelJudge
from arenaloop.models.openai_wire import Price
from arenaloop.models.recorded import RecordedModel, match_keys
from arenaloop.store import Store, recorded_key, response_key
from arenaloop.types import Prompt, Response, Sampling, Status, derive_seed

__all__ = ["Estimate", "RoleEstimate", "estimate"]

_SEATINGS = 8_000  # that are looked up before the rest is taken to be like them: some tenths of a second
_FREE = Price(0.0, 0.0)  # of models that run in this process
_FAILED = (Status.ERROR, Status.REFUSED)


@dataclass(frozen=True)
class RoleEstimate:
    """What one model will be asked.

    Attributes:
        role: ``"contestant"`` or ``"judge"``.
        calls: still to be made, re-asks and retries not counted. `stored`: calls that need not be made.
        tokens_in, tokens_out: expected. `tokens_in_error`, `tokens_out_error`: their standard errors, with that of the
            characters to a token where those were measured; None where the expectation is an assumption and no mean.
        tokens_in_most, tokens_out_most: with ``max_tokens`` new tokens in every answer; None without such a limit.
        usd, usd_error, usd_most: US dollars; None where the price is unknown.
        notes: what was assumed.
    """

    role: str
    name: str
    calls: int
    stored: int
    tokens_in: int
    tokens_in_error: int | None
    tokens_in_most: int | None
    tokens_out: int
    tokens_out_error: int | None
    tokens_out_most: int | None
    usd: float | None
    usd_error: float | None
    usd_most: float | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """What a run will ask and cost.

    Attributes:
        roles: one for each model that is asked, contestants first.
        battles: wanted battles.
        reask: how often a verdict that cannot be read is asked again.
        sampled: judge prompts that were rendered.
        human: what one label of a person costs.
        batch: whether judging goes through batches.
        scaled: whether some prompts stood for all.
    """

    roles: tuple[RoleEstimate, ...]
    battles: int
    reask: int
    sampled: int
    human: HumanLabel = CROWD_WORKER
    batch: bool = False
    scaled: bool = False

    @property
    def calls(self) -> int:
        """Calls still to be made."""
        return sum(role.calls for role in self.roles)

    @property
    def reasks_most(self) -> int:
        """Calls that re-asking can add, if no verdict can ever be read."""
        return self.reask * sum(role.calls for role in self.roles if role.role == "judge")

    def total(self, name: str) -> float | None:
        """Sum of one column over the roles that have calls to make; None where one of them does not know it."""
        values = [getattr(role, name) for role in self.roles if role.calls]
        return None if any(value is None for value in values) else sum(values)

    def error(self, name: str) -> float | None:
        """Standard error of a total."""
        values = [getattr(role, name) for role in self.roles if role.calls]
        return None if any(value is None for value in values) else math.hypot(*values)

    def to_json(self) -> dict[str, Any]:
        """The estimate as one mapping; unknown is null."""
        return {
            "calls": self.calls,
            "reasks_most": self.reasks_most,
            **{key: self.total(key) for key in ("tokens_in", "tokens_in_most", "tokens_out", "tokens_out_most")},
            "tokens_in_error": self.error("tokens_in_error"),
            "tokens_out_error": self.error("tokens_out_error"),
            "usd": self.total("usd"),
            "usd_error": self.error("usd_error"),
            "usd_most": self.total("usd_most"),
            "batch": self.batch,
            "sampled": self.sampled,
            "scaled": self.scaled,
            "roles": [asdict(role) for role in self.roles],
            "human": {
                "labels": self.battles,
                "usd": None if self.human.usd is None else self.battles * self.human.usd,
                "seconds": None if self.human.seconds is None else self.battles * self.human.seconds,
            },
        }

    def lines(self) -> Iterator[str]:
        """The estimate for people: the total, then each role where there are several, then what was assumed."""
        if not self.calls and not any(role.stored for role in self.roles):
            yield "nothing to ask: no model has to answer or to judge"
            return
        if not self.calls:
            yield (
                "estimate: little or nothing is left to ask (some prompts were looked at, and all of theirs is stored)"
                if self.scaled
                else "nothing left to ask: all answers and verdicts are stored"
            )
            return
        asked = [role for role in self.roles if role.calls]
        whole = {key: self.total(key) for key in ("tokens_in", "tokens_out", "tokens_out_most", "usd", "usd_most")}
        yield "estimate: " + _line(self.calls, whole, self.error("tokens_in_error"), self.error("usd_error"))
        for role in asked if len(asked) > 1 else ():
            stored = f" ({role.stored:,} more are stored)" if role.stored else ""
            told = _line(role.calls, asdict(role), role.tokens_in_error, role.usd_error)
            yield f"  {role.role} {role.name}: {told}{stored}"
        notes: dict[str, list[str]] = {}
        for role in asked:
            for note in role.notes:
                notes.setdefault(note, []).append(role.name)
        for note, names in notes.items():
            yield f"  {note} ({', '.join(names)})"
        if self.reasks_most:
            yield f"  re-asks are extra: at most {self.reasks_most:,} calls, if no verdict can be read"

    def first_line(self) -> str:
        """The total alone, for the head of a run."""
        return next(self.lines())


def _line(calls: int, sums: Mapping[str, Any], error: float | None, usd_error: float | None) -> str:
    out, most = sums["tokens_out"], sums["tokens_out_most"]
    spread = f" (± {_count(error)})" if error and error >= 0.005 * sums["tokens_in"] else ""
    bound = f", at most {_count(most)}" if most is not None and most > out else ""
    if sums["usd"] is None:
        money = "price unknown"
    else:
        usd, usd_most = sums["usd"], sums["usd_most"]
        within = f" (± {usd_error:,.2f})" if usd_error and usd_error >= 0.005 else ""
        money = f"${_dollars(usd)}{within}"
        money += f", at most ${_dollars(usd_most)}" if usd_most is not None and usd_most > usd else ""
    return f"{calls:,} calls · {_count(sums['tokens_in'])} tokens in{spread} · {_count(out)} out{bound} · {money}"


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (size > 1e3 and value >= size):
            return f"{value / size:,.3g}{unit}" if value < 1000 * size else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"


def _dollars(usd: float) -> str:
    return "0" if usd == 0 else f"{usd:,.2f}" if usd >= 0.1 else f"{usd:.2g}"


# ---------------------------------------------------------------------- what is missing


@dataclass
class _Sampler:
    """Counts missing calls and keeps a uniform sample of them (reservoir sampling, Vitter 1985)."""

    size: int
    seed: int
    missing: int = 0
    stored: int = 0
    kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def add(self, unit: Any) -> None:
        self.missing += 1
        if len(self.kept) < self.size:
            self.kept.append(unit)
        elif (place := self._random.randrange(self.missing)) < self.size:
            self.kept[place] = unit


def estimate(
    plan: BattlePlan,
    prompt_of: Callable[[str], Prompt | None],
    store: Store | None,
    *,
    sample: int = 200,
    batch: bool = False,
    human: HumanLabel = CROWD_WORKER,
) -> Estimate:
    """Estimate what a plan will ask and cost. Reads only.

    Args:
        plan: what is to be fought.
        prompt_of: a prompt by its id.
        store: the arena file as far as there is one; may be open for reading only.
        sample: how many calls of each model are rendered.
        batch: whether verdicts are asked in batches, at the price's share for them.
        human: what one label of a person costs.
    """
    if chosen_later := plan.schedule.wanted is not None:
        names = [c.name for c in plan.contestants]
        drawn = schedule(f"sample:{plan.battles}", names, plan.prompt_ids, plan.seed)
        plan = replace(plan, schedule=drawn)
    locals_ = [c.name for c in plan.contestants if c.local]
    ids = [i for i in plan.prompt_ids if locals_ or plan.schedule.on(i)]
    seed = derive_seed("estimate", plan.seed)
    each = max(1, -(-2 * plan.battles * max(1, len(plan.judges)) // max(1, len(ids))))
    most = max(20, _SEATINGS // each)
    seen = ids if len(ids) <= most else random.Random(seed).sample(ids, most)
    scale = len(ids) / len(seen) if seen else 1.0
    by_name = {c.name: c for c in plan.contestants}
    asked = [c for c in plan.contestants if c.asked is not None]
    judges = [judge for judge in plan.judges if isinstance(judge, ModelJudge)]
    players = {c.name: _Sampler(sample, seed) for c in asked}
    seats = [_Sampler(sample, seed) for _ in judges]
    for prompt_id in seen:
        prompt = prompt_of(prompt_id)
        if prompt is None:
            continue
        pairs = plan.schedule.on(prompt_id)
        said: dict[str, Response | None] = {}
        for name in dict.fromkeys([name for pair in pairs for name in pair] + locals_):
            said[name] = _stored(plan, by_name[name], prompt, store)
            if name in players:
                _count_turns(players[name], prompt, said[name])
        statuses = store.statuses_of(prompt_id) if store is not None else {}
        for a, b in pairs:
            for first, second in ((a, b), (b, a)):
                if any(
                    isinstance(by_name[n].model, RecordedModel) and _key(plan, n, prompt_id) is None for n in (a, b)
                ):
                    continue  # a recorded answer that is not there
                for judge, sampler in zip(judges, seats, strict=True):
                    one, two = said[first], said[second]
                    known = one is not None and two is not None and one.battles and two.battles
                    if known and _decided(plan, judge, prompt, one, two, statuses):
                        sampler.stored += 1
                    else:
                        sampler.add((prompt, first, second))
    shown = {c.name: shown_contestant(c, store, sample) for c in asked}
    length = {c.name: answer_length(c, shown[c.name]) for c in asked}
    roles = [_contestant(c, players[c.name], shown[c.name], length[c.name], scale) for c in asked]
    texts = _recorded_texts(plan, [unit for sampler in seats for unit in sampler.kept], store)
    for judge, sampler in zip(judges, seats, strict=True):
        roles.append(_judge(plan, judge, sampler, by_name, texts, length, store, sample, scale, batch))
    sampled = sum(len(sampler.kept) for sampler in seats)
    extra = [f"about: {len(seen):,} of {len(ids):,} prompts stand for all"] if scale > 1 else []
    if chosen_later:
        extra.append("about: pairs are chosen as verdicts come in; here they are drawn uniformly")
    roles = [replace(role, notes=(*role.notes, *extra)) for role in roles]
    return Estimate(tuple(roles), plan.battles, plan.reask, sampled, human, batch, scaled=scale > 1)


def _key(plan: BattlePlan, name: str, prompt_id: str) -> str | None:
    return plan.recorded.get(name, {}).get(prompt_id)


def _stored(plan: BattlePlan, c: Contestant, prompt: Prompt, store: Store | None) -> Response | None:
    if store is None:
        return None
    if c.asked is None:
        key = _key(plan, c.name, prompt.id)
    else:
        key = response_key(prompt.id, c.asked.fingerprint, c.sampling.key(), 0)
    return None if key is None else store.response(key, prompt, c.name)


def _count_turns(sampler: _Sampler, prompt: Prompt, said: Response | None) -> None:
    """A conversation is asked turn by turn; one that is begun is counted from its first turn."""
    if said is not None and said.status not in _FAILED:
        sampler.stored += prompt.turns
        return
    for turn in range(prompt.turns):
        sampler.add((prompt, turn))


def _decided(
    plan: BattlePlan,
    judge: Judge,
    prompt: Prompt,
    first: Response | None,
    second: Response | None,
    statuses: Mapping[str, Status],
) -> bool:
    assert first is not None
    assert second is not None
    return bool(statuses) and any(
        statuses.get(judge.key(prompt, first, second, sample)) is Status.OK for sample in range(plan.reask + 1)
    )


def _recorded_texts(
    plan: BattlePlan, units: Sequence[tuple[Prompt, str, str]], store: Store | None
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Answers to the sampled prompts that stand in files, or in the arena file, by (contestant, prompt id)."""
    texts: dict[tuple[str, str], tuple[str, ...]] = {}
    wanted: dict[str, dict[str, Prompt]] = {}
    for prompt, *names in units:
        for name in names:
            wanted.setdefault(name, {})[prompt.id] = prompt
    for c in plan.contestants:
        mine = wanted.get(c.name, {})
        for prompt in mine.values():
            if (found := _stored(plan, c, prompt, store)) is not None and found.battles:
                texts[c.name, prompt.id] = found.texts
        left = {i: prompt for i, prompt in mine.items() if (c.name, i) not in texts}
        if not left or not isinstance(c.model, RecordedModel):
            continue
        by_key: dict[str, list[Prompt]] = {}
        for prompt in left.values():
            for key in match_keys(prompt):
                by_key.setdefault(key, []).append(prompt)
        for answer in c.model.rows():
            for prompt in {p.id: p for key in answer.keys for p in by_key.get(key, ())}.values():
                if recorded_key(prompt.id, answer.texts) == _key(plan, c.name, prompt.id):
                    texts[c.name, prompt.id] = answer.texts
    return texts


# ---------------------------------------------------------------------- lengths, tokens, money


def _contestant(c: Contestant, sampler: _Sampler, shown: Shown, length: Length, scale: float) -> RoleEstimate:
    characters, most = [], []
    for prompt, turn in sampler.kept:
        before = [""] * turn
        asked = asked_characters(c, prompt, before)
        characters.append(asked + turn * length.expected)
        most.append(None if length.most is None else asked + turn * length.most)
    price = getattr(c.asked, "price", _FREE)
    return _role("contestant", c.name, sampler, characters, most, shown, token_limit(c.asked, c.sampling), price, scale)


def _judge(
    plan: BattlePlan,
    judge: ModelJudge,
    sampler: _Sampler,
    by_name: Mapping[str, Contestant],
    texts: Mapping[tuple[str, str], tuple[str, ...]],
    length: Mapping[str, Length],
    store: Store | None,
    sample: int,
    scale: float,
    batch: bool,
) -> RoleEstimate:
    characters, most = [], []
    to_come: set[str] = set()
    for prompt, *names in sampler.kept:
        seats, rest, rest_most = [], 0.0, 0.0
        unlimited = False
        for name in names:
            said = texts.get((name, prompt.id))
            if said is None:  # it is still to answer
                answer = length.get(name, Length(0.0, 0.0))
                to_come.add(name)
                rest += prompt.turns * answer.expected
                rest_most += prompt.turns * (answer.most or 0.0)
                unlimited = unlimited or answer.most is None
            seats.append(Response(prompt.id, name, said or ("",) * prompt.turns))
        rendered = judged_characters(judge, prompt, seats[0], seats[1])
        characters.append(rendered + rest)
        most.append(None if unlimited else rendered + rest_most)
    sampling = getattr(judge, "sampling", Sampling())
    price = getattr(judge.model, "price", _FREE)
    if batch and price is not None:
        price = Price(
            price.prompt * price.batch,
            price.completion * price.batch,
            None if price.cached is None else price.cached * price.batch,
        )
    shown = shown_judge(judge, store, sample)
    notes = ("lengths of answers that are still to come are assumed",) if to_come else ()
    limit = token_limit(judge.model, sampling)
    return _role("judge", judge.name, sampler, characters, most, shown, limit, price, scale, notes)


def _role(
    role: str,
    name: str,
    sampler: _Sampler,
    characters: Sequence[float],
    most: Sequence[float | None],
    shown: Shown,
    limit: int | None,
    price: Price | None,
    scale: float,
    notes: tuple[str, ...] = (),
) -> RoleEstimate:
    calls = round(sampler.missing * scale)
    per_token = shown.per_token or CHARACTERS_PER_TOKEN
    tokens = [count / per_token for count in characters]
    mean, error = _mean(tokens, sampler.missing)
    error = math.hypot(error, mean * shown.per_token_error)
    bounded = [count / per_token for count in most if count is not None]
    in_most = round(calls * _mean(bounded, 1)[0]) if len(bounded) == len(tokens) else None
    if shown.tokens_out:
        out, out_error = _mean([float(n) for n in shown.tokens_out], 0)
    else:
        out, out_error = (limit or 1024) / 2, None
        notes += (f"answers are taken to be half of the {limit or 1024:,} tokens that they may have",)
    if shown.per_token is None:
        notes += (f"about: {CHARACTERS_PER_TOKEN:g} characters are taken for a token",)
    if price is None:
        notes += ("no price: set price in the model's YAML file, or give --prices FILE",)
    out_most = None if limit is None else calls * limit
    tokens_in, tokens_out = round(calls * mean), round(calls * out)
    errors = round(calls * error), None if out_error is None else round(calls * out_error)
    usd = usd_most = usd_error = None
    if price is not None:
        usd = price.usd(tokens_in, tokens_out)
        if in_most is not None and out_most is not None:
            usd_most = price.usd(max(in_most, tokens_in), max(out_most, tokens_out))
        if errors[1] is not None:
            usd_error = math.hypot(errors[0] * price.prompt, errors[1] * price.completion) / 1e6
    return RoleEstimate(
        role, name, calls, round(sampler.stored * scale), tokens_in, errors[0], in_most, tokens_out, errors[1],
        out_most, usd, usd_error, usd_most, notes,
    )  # fmt: skip


def _mean(values: Sequence[float], of: int) -> tuple[float, float]:
    """Mean and its standard error, of a sample of `of` units (finite population); 0 stands for without end."""
    n = len(values)
    if n == 0:
        return 0.0, 0.0
    mean = math.fsum(values) / n
    if n == 1:
        return mean, 0.0 if of == 1 else mean
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    finite = max(0.0, 1.0 - n / of) if of else 1.0
    return mean, math.sqrt(variance / n * finite)
