"""What is to be asked, read, written and paid, before the first call: from planned units and a sample of real lengths.

Counted is what the arena file lacks. Of many prompts some are looked at and the rest is taken to be like them; of the
missing calls at most `sample` are rendered whole, as they would be sent. Characters become tokens by what stored calls
of the same model and settings have shown, or else four to a token, which is marked. What a model will write is the mean
of what it has written, or else half of what it may write. "At most" is a bound: every verdict is re-asked as often as
it may be, every answer has ``max_tokens``, and every prompt as many tokens as a tokenizer can make of it, a token for
each byte; where calls are stored, three standard errors more than these show. Standard errors are those of the sample's
means.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from arenaloop.calls.answers import Contestant, TurnUnit, stored_turns
from arenaloop.calls.budget import dollars
from arenaloop.calls.costs import CROWD_WORKER, HumanLabel, human_equivalent
from arenaloop.calls.judging import AskedJudge, stored_verdicts
from arenaloop.calls.reask import next_sample
from arenaloop.calls.units import Asked, Planned, Unit, Who
from arenaloop.errors import ConfigError
from arenaloop.models.billing import token_limit
from arenaloop.models.openai_wire import Price
from arenaloop.store import Store
from arenaloop.types import Sampling, derive_seed

__all__ = ["CHARACTERS_PER_TOKEN", "Estimate", "RoleEstimate", "estimate"]

CHARACTERS_PER_TOKEN = 4.0
"""Where a model has not been asked yet: a rule of thumb for English; other languages need more tokens."""
_UNITS = 8_000  # that are looked up before the rest is taken to be like them: some tenths of a second
_OTHER_TOKENIZER = 2  # times as many tokens, at most, as the model had that wrote the text
_CHARACTERS_AT_MOST = 8.0  # that a token stands for on the average of any text, so that less than this is no prompt
_BESIDE = 64  # tokens that a chat template puts beside the messages, at most
_FREE = Price(0.0, 0.0)  # of models that run in this process

_NOTHING = "nothing to ask: no model has to answer or to judge"
_ALL_STORED = "nothing left to ask: all answers and verdicts are stored"
_LITTLE = "estimate: little or nothing is left to ask (some prompts were looked at, and all of theirs is stored)"
_COLUMNS = (
    "tokens_in", "tokens_in_most", "tokens_out", "tokens_out_most", "tokens_in_error", "tokens_out_error",
    "usd", "usd_error", "usd_most",
)  # fmt: skip


@dataclass(frozen=True)
class RoleEstimate:
    """What one model will be asked.

    Attributes:
        role: ``"contestant"`` or ``"judge"``.
        calls: still to be made, re-asks and retries not counted; several samples that a server gives at once are one
            call, the first one's. `stored`: calls that need not be made.
        tokens_in, tokens_out: expected. `tokens_in_error`, `tokens_out_error`: their standard errors, with that of the
            characters to a token where those were measured; None where the expectation is an assumption and no mean.
        tokens_in_most, tokens_out_most: a bound, re-asks counted: with ``max_tokens`` new tokens in every answer, or as
            many as the longest had; None without such a limit.
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
        labels: of people, that stand against what is asked.
        reask: how often a judge that cannot be read is asked again.
        sampled: judge prompts that were rendered.
        human: what one label of a person costs.
        batch: whether judging goes through batches.
        scaled: whether some prompts stood for all.
    """

    roles: tuple[RoleEstimate, ...]
    labels: int
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

    @property
    def _asked(self) -> list[RoleEstimate]:
        return [role for role in self.roles if role.calls or role.tokens_out]  # some answers come with others' calls

    def total(self, column: str) -> Any:
        """One column over the roles that are asked: summed, or for standard errors the root of the squares.

        None where one of them does not know it.
        """
        values = [getattr(role, column) for role in self._asked]
        if None in values:
            return None
        return math.hypot(*values) if column.endswith("_error") else sum(values)

    def to_json(self) -> dict[str, Any]:
        """The estimate as one mapping; unknown is null."""
        people = human_equivalent(self.labels, None, None, self.human)
        return {
            "calls": self.calls,
            "reasks_most": self.reasks_most,
            **{column: self.total(column) for column in _COLUMNS},
            "batch": self.batch,
            "sampled": self.sampled,
            "scaled": self.scaled,
            "roles": [asdict(role) for role in self.roles],
            "human": {"labels": people.labels, "usd": people.usd, "seconds": people.seconds},
        }

    def lines(self) -> Iterator[str]:
        """The estimate for people: the total, then each role where there are several, then what was assumed."""
        asked = self._asked
        if not asked:
            nobody = not any(role.stored for role in self.roles)
            yield _NOTHING if nobody else _LITTLE if self.scaled else _ALL_STORED
            return
        yield f"estimate: {_line(self.to_json())}"
        for role in asked if len(asked) > 1 else ():
            stored = f" ({role.stored:,} more are stored)" if role.stored else ""
            yield f"  {role.role} {role.name}: {_line(asdict(role))}{stored}"
        for note in dict.fromkeys(note for role in asked for note in role.notes):
            yield f"  {note} ({', '.join(role.name for role in asked if note in role.notes)})"
        if self.reasks_most:
            yield f"  re-asks: at most {self.reasks_most:,} calls, if no verdict can be read; the bounds count them"

    def first_line(self) -> str:
        """The total alone, for the head of a run."""
        return next(self.lines())


def _line(told: Mapping[str, Any]) -> str:
    """The columns of a role, or their totals."""
    count, read, written, most = (told[column] for column in ("calls", "tokens_in", "tokens_out", "tokens_out_most"))
    usd, error, usd_error, usd_most = (told[column] for column in ("usd", "tokens_in_error", "usd_error", "usd_most"))
    spread = f" (± {_count(error)})" if error and error >= 0.005 * read else ""
    bound = f", at most {_count(most)}" if most is not None and most > written else ""
    money = "price unknown"
    if usd is not None:
        within = f" (± {usd_error:,.2f})" if usd_error and usd_error >= 0.005 else ""
        money = f"${dollars(usd)}{within}"
        money += f", at most ${dollars(usd_most)}" if usd_most is not None and usd_most > usd else ""
    return f"{count:,} calls · {_count(read)} tokens in{spread} · {_count(written)} out{bound} · {money}"


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (size > 1e3 and value >= size):
            return f"{value / size:,.3g}{unit}" if value < 1000 * size else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"


# ---------------------------------------------------------------------- what is missing


def estimate(
    planned: Callable[[Sequence[str]], Iterable[Planned]],
    prompt_ids: Sequence[str],
    asked: Iterable[Contestant | AskedJudge],
    store: Store | None,
    *,
    each: int = 1,
    sample: int = 200,
    seed: int = 0,
    batch: bool = False,
    labels: int = 0,
    human: HumanLabel = CROWD_WORKER,
    notes: Sequence[str] = (),
) -> Estimate:
    """Estimate what planned units will ask and cost. Reads only.

    Args:
        planned: makes all units that some prompts come to.
        prompt_ids: the prompts.
        asked: contestants and judges, in the order in which they are told; who is no model is left out.
        store: the arena file as far as there is one; may be open for reading only.
        each: how many units of judges there are on a prompt; by it follows how many prompts are looked at.
        sample: how many calls of each model are rendered.
        seed: of the run.
        batch: whether judges are asked in batches, at the price's share for them.
        labels: of people, that stand against what is asked.
        human: what one of them costs.
        notes: what else was assumed.
    """
    seed, most = derive_seed("estimate", seed), max(20, _UNITS // each)
    seen = prompt_ids if len(prompt_ids) <= most else random.Random(seed).sample(prompt_ids, most)
    roles: dict[Who, _Role] = {}
    for one in asked:
        role = _Role(one, store, sample, seed)
        if role.model is not None:
            roles.setdefault(role.who, role)
    samples: Counter[Any] = Counter()
    for unit, to_come in planned(seen):
        if unit.who not in roles or not all(who in roles for who in to_come):
            continue  # a rule decides, or a recorded answer is not there
        if not to_come and next_sample(unit.stored, lambda sample: 0, unit.asked.reask, done=unit.asked.done) is None:
            roles[unit.who].stored += 1
        elif _comes_along(unit, samples):
            roles[unit.who].along += 1
        else:
            roles[unit.who].add((unit, to_come))
    scale = len(prompt_ids) / len(seen) if seen else 1.0
    if scale > 1:
        notes = (f"about: {len(seen):,} of {len(prompt_ids):,} prompts stand for all", *notes)
    told = [role.expect(roles, scale, batch=batch) for role in roles.values()]
    judges = [role for (kind, _), role in roles.items() if kind == "judge"]
    return Estimate(
        tuple(replace(role, notes=(*role.notes, *notes)) for role in told),
        labels,
        reask=max((judge.reask for judge in judges), default=0),
        sampled=sum(len(judge.kept) for judge in judges),
        human=human,
        batch=batch,
        scaled=scale > 1,
    )


def _comes_along(unit: Unit, samples: Counter[Any]) -> bool:
    """Whether an answer comes with the call for another sample of it (as of `Answers`); `samples` counts along."""
    if unit.asked.samples == 1 or not isinstance(unit, TurnUnit) or unit.before or unit.stored(0) is not None:
        return False
    question = (id(unit.asked.model), unit.c.sampling, unit.material.prompt.id)
    samples[question] += 1
    return samples[question] % unit.asked.samples != 1


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


# ---------------------------------------------------------------------- lengths, tokens, money


class _Role(_Sampler):
    """A contestant or a judge: how long its calls are, by those that are stored, and which ones it is missing.

    Attributes:
        along: answers that come with others' calls.
        sent: characters and tokens of each stored request whose tokens were told. `tokens_out`: of each stored answer.
        per_token, per_token_error: characters to a token, and the relative standard error.
        answer: characters of an answer to come: as those it gave, or half of what it may write.
        out_most: the most tokens of an answer; None without a limit.
    """

    def __init__(self, one: Contestant | AskedJudge, store: Store | None, sample: int, seed: int) -> None:
        super().__init__(sample, seed)
        if isinstance(one, AskedJudge):
            self.who, self.reask = ("judge", one.judge.name), one.reask
            self.model = one.model if hasattr(one.judge, "request") else None
            sampling = getattr(one.judge, "sampling", Sampling())
        else:
            self.who, self.reask, self.model, sampling = ("contestant", one.name), 0, one.asked, one.sampling
        self.limit, self.along = token_limit(self.model, sampling), 0
        self.sent: list[tuple[int, int]] = []
        self.tokens_out: list[int] = []
        written = 0
        stored = () if store is None or self.model is None else _stored_calls(one, store, sample)
        for unit, tokens_in, tokens_out, characters in islice(stored, sample):
            if unit is not None:
                self.sent.append((_characters(unit), tokens_in))
            self.tokens_out.append(tokens_out)
            written += characters
        self.per_token, self.per_token_error = _ratio(self.sent) if self.sent else (CHARACTERS_PER_TOKEN, 0.0)
        self.answer = written / len(self.tokens_out) if written else sampling.max_tokens / 2 * self.per_token
        longest = max(self.tokens_out, default=0)  # a server may pass the limit
        self.out_most = None if self.limit is None else max(self.limit, longest)

    def _tokens_most(self, unit: Unit, rendered: int) -> float:
        """The most tokens that a unit's prompt can be."""
        if self.sent:
            return rendered / self.per_token * (1 + 3 * self.per_token_error)
        return _bytes(unit) + _BESIDE

    def _too_long(self, tokens: Sequence[float]) -> list[str]:
        """What is to be said of prompts that leave no room for an answer in a local model's window.

        Raises:
            ConfigError: of a judge, none of them does.
        """
        window = getattr(self.model, "window", None)
        if window is None or not tokens:
            return []
        # by what stored calls have shown, or where nothing is stored by the fewest tokens that it can be
        fewest = 1.0 if self.sent else self.per_token / _CHARACTERS_AT_MOST
        longer = [each for each in tokens if each * fewest >= window]
        if len(longer) == len(tokens) and self.who[0] == "judge":
            raise ConfigError(
                f"judge {self.who[1]}: its context window of {window:,} tokens has no room for any of what it is to "
                f"judge (at least {min(tokens) * fewest:,.0f} tokens): take a shorter template or another judge"
            )
        told = f"{len(longer):,} of {len(tokens):,} prompts are too long for its window of {window:,} tokens"
        return [told] if longer else []

    def expect(self, roles: Mapping[Who, _Role], scale: float, *, batch: bool) -> RoleEstimate:
        """What the missing calls come to, of which the kept ones are rendered."""
        calls, answers = round(self.missing * scale), round((self.missing + self.along) * scale)
        limit, price, again = self.limit, getattr(self.model, "price", _FREE), 1 + self.reask
        judges, tokens, tokens_most, notes = self.who[0] == "judge", [], [], []
        for unit, to_come in self.kept:
            rendered, late = _characters(unit), [roles[who] for who in to_come]
            tokens.append((rendered + sum(role.answer for role in late)) / self.per_token)
            answers_most = sum(math.inf if role.out_most is None else role.out_most for role in late)
            tokens_most.append(self._tokens_most(unit, rendered) + _OTHER_TOKENIZER * answers_most)
        notes += self._too_long(tokens)
        if judges and any(to_come for _, to_come in self.kept):
            notes.append("lengths of answers that are still to come are assumed")
        mean, error = _mean(tokens, self.missing)
        tokens_in, in_error = round(calls * mean), round(calls * math.hypot(error, mean * self.per_token_error))
        in_most = None
        if math.inf not in tokens_most:
            mean_most, error_most = _mean(tokens_most, self.missing)
            in_most = math.ceil(again * calls * (mean_most + 3 * error_most))
        out_most, out_error = None if self.out_most is None else again * answers * self.out_most, None
        if self.tokens_out:
            mean, error = _mean(self.tokens_out, 0)
            tokens_out, out_error = round(answers * mean), round(answers * error)
        else:
            tokens_out = round(answers * (limit or 1024) / 2)
            notes.append(f"answers are taken to be half of the {limit or 1024:,} tokens that they may have")
        if not self.sent:
            notes.append(f"about: {CHARACTERS_PER_TOKEN:g} characters are taken for a token")
        usd = usd_error = usd_most = None
        if price is None:
            notes.append("no price: set price in the model's YAML file, or give --prices FILE")
        else:
            share = price.batch if batch and judges else 1.0
            usd = (price.usd(tokens_in, tokens_out) or 0.0) * share
            if in_most is not None and out_most is not None:
                usd_most = (price.usd(max(in_most, tokens_in), max(out_most, tokens_out)) or 0.0) * share
            if out_error is not None:
                usd_error = math.hypot(in_error * price.prompt, out_error * price.completion) / 1e6 * share
        return RoleEstimate(
            *self.who, calls, round(self.stored * scale), tokens_in, in_error, in_most,
            tokens_out, out_error, out_most, usd, usd_error, usd_most, tuple(notes),
        )  # fmt: skip


def _stored_calls(
    one: Contestant | AskedJudge, store: Store, sample: int
) -> Iterator[tuple[Unit | None, int, int, int]]:
    """First turns of a contestant with these settings, or a judge's first samples.

    Returns:
        The unit (None where its tokens were not told) and the request's tokens; the answer's tokens and characters.
    """
    if isinstance(one, AskedJudge):
        for unit, tokens_in, tokens_out, _ in stored_verdicts(one, store, sample):
            yield unit, tokens_in, tokens_out, 0
        return
    for turn_unit, turn in stored_turns(one, Asked(one.asked, 1), store):
        yield turn_unit if turn.tokens_in else None, turn.tokens_in or 0, turn.tokens_out, turn.characters


def _characters(unit: Unit) -> int:
    """Of all that a unit's request sends, the model's own system prompt included."""
    return sum(map(len, _texts(unit)))


def _bytes(unit: Unit) -> int:
    """The same in bytes."""
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(unit))


def _texts(unit: Unit) -> Iterator[str]:
    yield getattr(unit.asked.model, "system", None) or ""
    for message in unit.request().messages:
        yield message["content"]


def _ratio(sent: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Characters to a token, and the relative standard error of such a ratio of sums.

    After Cochran, Sampling Techniques, section 6.3.
    """
    characters, tokens, n = sum(c for c, _ in sent), sum(t for _, t in sent), len(sent)
    rate = tokens / characters
    squares = sum((t - rate * c) ** 2 for c, t in sent)
    return characters / tokens, math.sqrt(squares * n / (n - 1)) / tokens if n > 1 else 1.0


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
