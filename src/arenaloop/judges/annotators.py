"""A pool of simulated annotators, and who of them sees what (AlpacaFarm, arXiv 2305.14387, section 3.1 and App. A).

Every draw is seeded by the example, in AlpacaFarm's own order: label noise first, so that a flipped label costs no
call; equal outputs, which overrule it; the annotator; what is stored; shuffling into calls of several pairs; the seat.
A draw is ``random.Random(text).choices``, the text being what is drawn, the example's key (the instruction, and its
input where it has one) and the seed.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, TypeVar

from arenaloop.errors import ConfigError
from arenaloop.judges.answer_lines import Scores
from arenaloop.judges.asking import TemplateJudge
from arenaloop.judges.base import Judge, decided, pair_key
from arenaloop.judges.filling import Layout, Material
from arenaloop.judges.parsers import VerdictMode
from arenaloop.judges.templates import JudgeTemplate
from arenaloop.models.base import Model
from arenaloop.terminal import counted
from arenaloop.types import Completion, Prompt, Request, Response, Sampling, Status, Verdict, content_hash

__all__ = [
    "Draw",
    "NoiseModel",
    "Pair",
    "PairsJudge",
    "Pool",
    "SeatMode",
    "Seated",
    "asked_together",
    "noise_label",
    "switched",
]

T = TypeVar("T")

NoiseModel = Literal["uniform_flip", "length", "difficulty"]
"""What a label without a call says: a fair coin; the longer answer; or a fair coin, thrown the more often the more
alike the two answers are written beside those of the other pairs (at p = 0.25 from never to always)."""

SeatMode = Literal["both_orders", "seeded", "compat"]
"""Whether a pair is asked about from both seats, from one that its texts and the seed draw, or from one that the
instruction and the seed draw, as AlpacaFarm has it: then all models have the same seat on a prompt."""

Seated = tuple[Prompt, Response, Response]
"""A prompt, and its two answers in seat order."""


class Pair(NamedTuple):
    """Two answers to a prompt.

    Attributes:
        prompt, one, two: in the order in which they were given.
        key: what seeds its draws: instruction and input without a separator.
    """

    prompt: Prompt
    one: Response
    two: Response
    key: str


class Draw(NamedTuple):
    """What is to become of a pair, before anybody is asked.

    Attributes:
        pair, vote: by number.
        label: 1, 2 or 1.5 where nobody needs to be asked: noise, or equal outputs; else None.
        noise: whether it is noise.
        member: who is asked, by number.
        firsts: for each question whether the first answer sits first; none where nobody is asked.
    """

    pair: int
    vote: int
    label: float | None
    noise: bool
    member: int
    firsts: tuple[bool, ...]


@dataclass(frozen=True)
class Pool:
    """Annotators, and how a pair comes to one of them.

    Attributes:
        members: judges of different names; those that are `PairsJudge` take several pairs in one call.
        p_label_flip: how often a label is turned; twice as often it is drawn without asking anybody.
        noise_model, seat_mode: see there.
        patience: how often each member is asked again where its answer could not be read.

    Raises:
        ConfigError: no members, two that are one and the same, or a probability outside [0, 0.5].
    """

    members: Sequence[Judge]
    p_label_flip: float = 0.25
    noise_model: NoiseModel = "uniform_flip"
    seat_mode: SeatMode = "seeded"
    patience: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise ConfigError("a pool of annotators needs one member at least")
        if not 0.0 <= self.p_label_flip <= 0.5:
            raise ConfigError(
                f"p_label_flip must lie in [0, 0.5], got {self.p_label_flip:g}: at 0.5 a label is a coin, and above "
                "it would say the opposite"
            )
        for what, values in (
            ("name", [m.name for m in self.members]),
            ("annotator", [m.fingerprint for m in self.members]),
        ):
            value, count = Counter(values).most_common(1)[0]
            if count > 1:
                who = value if what == "name" else next(m.name for m in self.members if m.fingerprint == value)
                raise ConfigError(f"a pool's members differ: the {what} {who!r} is there {count} times")

    def draws(self, pairs: Sequence[Pair], *, seed: int = 0, votes: int = 1) -> Iterator[Draw]:
        """What becomes of each pair, vote by vote; the n-th vote has the seed `seed` + n."""
        keys = list(_keys(pairs))
        rates = self._rates(pairs)
        for vote in range(votes):
            for number, (pair, key, rate) in enumerate(zip(pairs, keys, rates, strict=True)):
                yield self._draw(pair, key, rate, seed + vote, number, vote)

    def _draw(self, pair: Pair, key: str, rate: float, seed: int, number: int, vote: int) -> Draw:
        label = noise_label(key, seed, rate)
        if label is not None and self.noise_model == "length":
            lengths = [sum(map(len, answer.texts)) for answer in (pair.one, pair.two)]
            label = label if lengths[0] == lengths[1] else 1 if lengths[0] > lengths[1] else 2
        member = _chosen("annotator", key, seed, range(len(self.members)))
        if pair.one.texts == pair.two.texts:
            return Draw(number, vote, 1.5, False, member, ())
        if label is not None:
            return Draw(number, vote, label, True, member, ())
        return Draw(number, vote, None, False, member, self._firsts(pair, seed))

    def _firsts(self, pair: Pair, seed: int) -> tuple[bool, ...]:
        if self.seat_mode == "both_orders":
            return True, False
        if self.seat_mode == "compat":
            return (not switched(pair.key, seed),)
        # by the two texts: turning a pair changes nothing in who of the two sits first
        low, high = sorted((pair.one.text_hash, pair.two.text_hash))
        return (switched(pair.key + low + high, seed) == (pair.one.text_hash != low),)

    def _rates(self, pairs: Sequence[Pair]) -> list[float]:
        """How often the label of each pair is turned: `p_label_flip` on the mean, and of `difficulty` by rank."""
        p = self.p_label_flip
        if self.noise_model != "difficulty":
            return [p] * len(pairs)
        alike = [_alike(pair) for pair in pairs]
        order = sorted(alike)
        ranks = [(bisect_left(order, one) + bisect_right(order, one)) / len(order) for one in alike]  # 0 to 2, mean 1
        return [p + min(p, 0.5 - p) * (rank - 1.0) for rank in ranks]


def _keys(pairs: Sequence[Pair]) -> Iterator[str]:
    """What seeds each pair: its key, and of further pairs on one prompt their texts as well.

    AlpacaFarm has one pair a prompt; with several, one draw for all of them would be one noise for all of them.
    """
    first: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        texts = tuple(sorted((pair.one.text_hash, pair.two.text_hash)))
        yield pair.key if first.setdefault(pair.key, texts) == texts else pair.key + "".join(texts)


def _alike(pair: Pair) -> float:
    """How alike two answers are written: trigrams of letters that both have, of all that either has (Jaccard)."""
    one, two = _trigrams(pair.one), _trigrams(pair.two)
    return len(one & two) / len(one | two)


def _trigrams(answer: Response) -> set[str]:
    text = f" {' '.join(' '.join(answer.texts).lower().split())}  "
    return {text[at : at + 3] for at in range(len(text) - 2)}


def _chosen(what: str, key: str, seed: int, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    return random.Random(f"{what}{key}{seed}").choices(options, weights=weights)[0]


def noise_label(key: str, seed: int, p_label_flip: float) -> int | None:
    """1 or 2 where the label is noise, each with probability `p_label_flip`; None where somebody is to be asked."""
    weights = [1.0 - 2.0 * p_label_flip, p_label_flip, p_label_flip]
    return _chosen("noisy_preference", key, seed, (None, 1, 2), weights)


def switched(key: str, seed: int) -> bool:
    """Whether the second answer sits first."""
    return _chosen("is_switched_outputs", key, seed, (False, True))


def asked_together(items: Sequence[T], most: int, name: str, seed: int) -> list[list[T]]:
    """Cut what one annotator is asked about into calls, after a shuffle that the seed fixes."""
    order = list(items)
    if most > 1:
        random.Random(f"batch{name}{seed}").shuffle(order)
    return [order[at : at + most] for at in range(0, len(order), most)]


# ---------------------------------------------------------------------- several pairs in one call


class PairsJudge(TemplateJudge[tuple[Scores, ...]]):
    """A model that names the better answer of each of several pairs, in one call.

    About a single pair it is a judge like any other. The key of a verdict is that of its pair, whatever other pairs
    were in the call. Given turns are shown with the user's; prompts with further turns are refused (`Material.pairs`).

    Args:
        model, template, sampling, name, verdict, prefill: as of `TemplateJudge`; the layout is ``pairs``.
        batch: pairs in a call, at most; part of who the judge is.
    """

    layout: ClassVar[Layout] = "pairs"
    kind: ClassVar[str] = "pairs"

    def __init__(
        self,
        model: Model,
        *,
        template: str | JudgeTemplate,
        batch: int,
        sampling: Sampling,
        name: str | None = None,
        verdict: VerdictMode = "text",
        prefill: str = "",
    ) -> None:
        super().__init__(model, template, verdict, sampling, name, prefill=prefill)
        self.batch = batch
        self.fingerprint = content_hash(self.fingerprint, batch)

    def repeated(self, number: int) -> PairsJudge:
        """The judge of the vote `number`, whose verdicts are paid for and stored by themselves."""
        other = copy(self)
        other.fingerprint = content_hash("again", self.fingerprint, number)
        return other

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, judge, template, sampling, pairs in a call and sample index."""
        return pair_key(self.fingerprint, prompt, first, second, sample)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Ask the model about one pair."""
        request = self.request(prompt, first, second, secret=secret, seed=seed, sample=sample)
        return self.read(prompt, first, second, await self._complete(request), sample=sample)

    def request(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Request:
        """What one pair asks of the model."""
        key = self.key(prompt, first, second, sample)
        return self.request_all([(prompt, first, second)], key, secret=secret, seed=seed, sample=sample)

    def request_all(self, seated: Sequence[Seated], key: str, *, secret: str, seed: int, sample: int = 0) -> Request:
        """What several pairs ask of the model."""
        material = Material.pairs([(_one_turn(prompt), first, second) for prompt, first, second in seated])
        return self._request(material, key, secret=secret, seed=seed, sample=sample)

    def read(
        self, prompt: Prompt, first: Response, second: Response, completion: Completion, *, sample: int = 0
    ) -> Verdict:
        """The verdict that an answer about one pair holds."""
        return self.read_all([(prompt, first, second)], completion, sample=sample)[0]

    def read_all(self, seated: Sequence[Seated], completion: Completion, *, sample: int = 0) -> list[Verdict]:
        """The verdicts on several pairs, the first with the call's cost; an answer of another count decides none."""
        completion = self._whole(completion)
        found, status = self._read(completion)
        error = completion.error
        if found is not None and len(found) != len(seated):
            error = f"{counted(len(found), 'choice')} where {len(seated)} pairs were asked about"
            found, status = None, Status.UNPARSED
        costs = _shares(completion, len(seated))
        return [
            Verdict(
                key=self.key(prompt, first, second, sample),
                prompt_id=prompt.id,
                first_hash=first.text_hash,
                second_hash=second.text_hash,
                judge=self.name,
                status=status,
                raw=self.parser.raw(completion),
                sample=sample,
                judge_hash=self.fingerprint,
                template_hash=self.template_hash,
                parser=self.parser.name,
                **decided(None if found is None else found[at]),
                **(cost.cost() | {"error": error}),
            )
            for at, ((prompt, first, second), cost) in enumerate(zip(seated, costs, strict=True))
        ]


def _one_turn(prompt: Prompt) -> Prompt:
    """A prompt whose given turns stand in the text of its one turn."""
    if len(prompt.messages) == 1:
        return prompt
    turns = "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt.messages)
    return Prompt(({"role": "user", "content": turns},), prompt.follow_ups, prompt.id)


def _shares(whole: Completion, count: int) -> list[Completion]:
    """A call's cost for each pair that it was about: all of it is the first one's."""
    nothing = replace(whole, tokens_in=0, tokens_out=0, usd=0.0, usd_estimated=0.0, seconds=0.0, calls=0)
    return [whole] + [nothing] * (count - 1)
