"""Annotators without a model: what an answer is worth, biases, and logistic noise.

The odds that the answer in the first seat is preferred are exp(eta), with

    eta = (worth_1 - worth_2) / noise + seat + length log2((1 + len_1) / (1 + len_2)) + lists (list_1 - list_2)

``worth`` is a reward's score (the small world's gold utility, say), ``len`` counts characters, ``list`` is 1 where an
answer holds a list. The same formula is fitted to people's labels (`ratings.annotator_fit`), so what was measured on
them can be simulated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from arenaloop.errors import ConfigError
from arenaloop.judges.builtin import FreeJudge
from arenaloop.judges.reward_model import RewardJudge
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict, content_hash

__all__ = ["Biases", "SyntheticAnnotator", "doublings", "holds_list"]

_LIST = re.compile(r"^[ \t]*(?:[-*•‣·][ \t]+\S|\d{1,3}[.)][ \t]+\S|[A-Za-z][.)][ \t]+\S)", re.MULTILINE)


def holds_list(text: str) -> bool:
    """Whether a line of the text begins a list: a bullet, a number or a letter with a dot or bracket, then words."""
    return _LIST.search(text) is not None


def doublings(first: Sequence[str], second: Sequence[str]) -> float:
    """How often the second of two answers has to be doubled to be as long as the first."""
    one, two = (sum(map(len, texts)) for texts in (first, second))
    return math.log2((1 + one) / (1 + two))


class Biases(NamedTuple):
    """What an annotator is like.

    Attributes:
        noise: how much more an answer must be worth to be preferred at odds of e to 1, in units of the reward.
        seat: log-odds that the first seat has of itself.
        length: log-odds for each doubling of the length.
        lists: log-odds of the answer with a list beside one without.
    """

    noise: float = 0.3
    seat: float = 0.0
    length: float = 0.0
    lists: float = 0.0


class SyntheticAnnotator(FreeJudge):
    """An annotator that is a formula; free, and the same at every run.

    Args:
        name: what reports call it.
        worth: scores the answers; as of this judge the scores alone are used.
        biases: what it is like.
        seed: which of several alike it is.

    Raises:
        ConfigError: noise that is not positive.
    """

    def __init__(self, name: str, worth: RewardJudge, biases: Biases, seed: int = 0) -> None:
        if not biases.noise > 0:
            raise ConfigError(f"annotator {name}: noise must be above 0, got {biases.noise:g}")
        self.worth, self.biases, self.seed = worth, biases, seed
        super().__init__(name, None)

    def _identity(self) -> str:
        return content_hash("synthetic", self.worth.fingerprint, list(self.biases), self.seed, self.vote)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Prefer one of two answers; `secret` and `seed` do not matter."""
        worth = await self.worth.scores(prompt, first, second)
        wrong = next((each for each in worth if isinstance(each, str)), None)
        if wrong is not None:
            return self._verdict(prompt, first, second, sample, Status.ERROR, error=f"an answer has no worth: {wrong}")
        one, two = map(float, worth)
        eta = (one - two) / self.biases.noise + self.biases.seat
        eta += self.biases.length * doublings(first.texts, second.texts)
        lists = [any(map(holds_list, answer.texts)) for answer in (first, second)]
        eta += self.biases.lists * (lists[0] - lists[1])
        draw = int.from_bytes(blake2b(self.key(prompt, first, second, sample).encode(), digest_size=8).digest(), "big")
        prefers_first = (draw + 0.5) / 2**64 < 0.5 * (1.0 + math.tanh(eta / 2.0))
        outcome = Outcome.A if prefers_first else Outcome.B
        score = float(prefers_first)
        return self._verdict(
            prompt, first, second, sample, outcome=outcome, score_first=score, score_second=1.0 - score
        )
