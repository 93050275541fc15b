"""What is to be asked, read, written and paid, before the first call: from planned units and a sample of real lengths.

Counted is what the arena file lacks. Of many prompts some are looked at and the rest is taken to be like them; of the
missing calls at most `sample` are rendered whole, as they would be sent. Characters become tokens by what stored calls
of the same model and settings have shown, or else four to a token, which is marked. What a model will write is the mean
of what it has written, or else half of what it may write, or of judges the label where it is all that they are asked
for (`judges.brief`). "At most" is a bound: every verdict is re-asked as often as it may be, every answer has
``max_tokens``, and every prompt as many tokens as a tokenizer can make of it, a token for each byte; where calls are
stored, three standard errors more than these show. Standard errors are those of the sample's means.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from arenaloop.calls.answers import Contestant
from arenaloop.calls.costs import CROWD_WORKER, HumanLabel
from arenaloop.calls.embedding import EMBEDDED, AskedEmbedder
from arenaloop.calls.estimated import Estimate, RoleEstimate
from arenaloop.calls.judging import AskedJudge
from arenaloop.calls.lengths import bytes_of, characters_of, mean_of, ratio_of, stored_calls
from arenaloop.calls.reask import next_sample
from arenaloop.calls.speeds import PROBE, measured, stored_speed
from arenaloop.calls.turns import TurnUnit
from arenaloop.calls.units import Planned, Unit, Who
from arenaloop.errors import ConfigError
from arenaloop.judges.brief import label_tokens
from arenaloop.models.base import ChunkedModel
from arenaloop.models.billing import token_limit
from arenaloop.models.openai_wire import Price
from arenaloop.store import Store
from arenaloop.types import Sampling, derive_seed

__all__ = ["CHARACTERS_PER_TOKEN", "estimate"]

CHARACTERS_PER_TOKEN = 4.0
"""Where a model has not been asked yet: a rule of thumb for English; other languages need more tokens."""
_UNITS = 8_000  # that are looked up before the rest is taken to be like them: some tenths of a second
_OTHER_TOKENIZER = 2  # times as many tokens, at most, as the model had that wrote the text
_CHARACTERS_AT_MOST = 8.0  # that a token stands for on the average of any text, so that less than this is no prompt
_BESIDE = 64  # tokens that a chat template puts beside the messages, at most
_FREE = Price(0.0, 0.0)  # of models that run in this process


# ---------------------------------------------------------------------- what is missing


def estimate(
    planned: Callable[[Sequence[str]], Iterable[Planned]],
    prompt_ids: Sequence[str],
    asked: Iterable[Contestant | AskedJudge | AskedEmbedder],
    store: Store | None,
    *,
    each: int = 1,
    sample: int = 200,
    seed: int = 0,
    batch: bool = False,
    labels: int = 0,
    human: HumanLabel = CROWD_WORKER,
    notes: Sequence[str] = (),
    measure: bool = False,
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
        measure: load local models whose speed is not stored, and time a few of their calls.
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
    told = [role.expect(roles, scale, batch=batch, measure=measure) for role in roles.values()]
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
        label: tokens of an answer that is a label and nothing else; None of others.
        answer: characters of an answer to come: as those it gave, or what it is taken to write.
        out_most: the most tokens of an answer; None without a limit.
    """

    def __init__(
        self, one: Contestant | AskedJudge | AskedEmbedder, store: Store | None, sample: int, seed: int
    ) -> None:
        super().__init__(sample, seed)
        if isinstance(one, AskedJudge):
            self.who, self.reask = ("judge", one.judge.name), one.reask
            self.model = one.model if hasattr(one.judge, "request") else None
            sampling = getattr(one.judge, "sampling", Sampling())
        elif isinstance(one, AskedEmbedder):
            self.who, self.reask, self.model, sampling = one.who, 0, one.model, EMBEDDED
        else:
            self.who, self.reask, self.model, sampling = ("contestant", one.name), 0, one.asked, one.sampling
        self.label = label_tokens(one.judge) if isinstance(one, AskedJudge) else None
        self.local = isinstance(self.model, ChunkedModel)
        self.speed = None if store is None else stored_speed(store, self.model)
        self.limit, self.along = token_limit(self.model, sampling), 0
        self.sent: list[tuple[int, int]] = []
        self.tokens_out: list[int] = []
        written = 0
        kept = store is not None and self.model is not None and not isinstance(one, AskedEmbedder)
        stored = stored_calls(one, store, sample) if kept else ()  # type: ignore[arg-type]
        for unit, tokens_in, tokens_out, characters in islice(stored, sample):
            if unit is not None:
                self.sent.append((characters_of(unit), tokens_in))
            self.tokens_out.append(tokens_out)
            written += characters
        self.per_token, self.per_token_error = ratio_of(self.sent) if self.sent else (CHARACTERS_PER_TOKEN, 0.0)
        self.answer = written / len(self.tokens_out) if written else self._untold(sampling.max_tokens) * self.per_token
        longest = max(self.tokens_out, default=0)  # a server may pass the limit
        self.out_most = None if self.limit is None else max(self.limit, longest)

    def _untold(self, most: int) -> float:
        """The tokens of an answer of a model that has written none yet, of `most` that it may have."""
        return most / 2 if self.label is None else min(self.label, most)

    def _tokens_most(self, unit: Unit, rendered: int) -> float:
        """The most tokens that a unit's prompt can be."""
        if self.sent:
            return rendered / self.per_token * (1 + 3 * self.per_token_error)
        return bytes_of(unit) + _BESIDE

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

    def _seconds(self, calls: int, tokens_in: float, tokens_out: float, *, measure: bool) -> tuple[float | None, str]:
        """What a local model's calls take, with what is to be said of it where they were not measured."""
        if not self.local or not calls:
            return (0.0 if self.local else None), ""
        speed = self.speed
        if speed is None and measure:
            units = [unit for unit, _ in self.kept[:PROBE]]
            speed = measured(self.model, [unit.request() for unit in units])
            if speed is not None and (characters := sum(map(characters_of, units))):  # what tokens these really have
                tokens_in *= speed.read / (characters / self.per_token)
        if speed is not None and (seconds := speed.seconds(tokens_in, tokens_out)) is not None:
            return seconds, ""
        return None, "how long it takes here was not measured yet: its first chunk tells (or --measure)"

    def expect(self, roles: Mapping[Who, _Role], scale: float, *, batch: bool, measure: bool = False) -> RoleEstimate:
        """What the missing calls come to, of which the kept ones are rendered."""
        calls, answers = round(self.missing * scale), round((self.missing + self.along) * scale)
        limit, price, again = self.limit, getattr(self.model, "price", _FREE), 1 + self.reask
        judges, tokens, tokens_most, notes = self.who[0] == "judge", [], [], []
        for unit, to_come in self.kept:
            rendered, late = characters_of(unit), [roles[who] for who in to_come]
            tokens.append((rendered + sum(role.answer for role in late)) / self.per_token)
            answers_most = sum(math.inf if role.out_most is None else role.out_most for role in late)
            tokens_most.append(self._tokens_most(unit, rendered) + _OTHER_TOKENIZER * answers_most)
        notes += self._too_long(tokens)
        if judges and any(to_come for _, to_come in self.kept):
            notes.append("lengths of answers that are still to come are assumed")
        mean, error = mean_of(tokens, self.missing)
        tokens_in, in_error = round(calls * mean), round(calls * math.hypot(error, mean * self.per_token_error))
        in_most = None
        if math.inf not in tokens_most:
            mean_most, error_most = mean_of(tokens_most, self.missing)
            in_most = math.ceil(again * calls * (mean_most + 3 * error_most))
        out_most, out_error = None if self.out_most is None else again * answers * self.out_most, None
        if self.tokens_out:
            mean, error = mean_of(self.tokens_out, 0)
            tokens_out, out_error = round(answers * mean), round(answers * error)
        else:
            most = 1024 if limit is None else limit
            tokens_out = round(answers * self._untold(most))
            if self.label is not None:
                notes.append(f"answers are taken to be a label of {self.label} tokens; a model that thinks writes more")
            elif most:  # embeddings are no tokens
                notes.append(f"answers are taken to be half of the {most:,} tokens that they may have")
        if not self.sent:
            notes.append(f"about: {CHARACTERS_PER_TOKEN:g} characters are taken for a token")
        seconds, untimed = self._seconds(calls, tokens_in, tokens_out, measure=measure)
        notes += [untimed] if untimed else []
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
            tokens_out, out_error, out_most, usd, usd_error, usd_most, tuple(notes), self.local, seconds,
        )  # fmt: skip
