"""What a server charges for a call, where it does not say so, or before it does.

Whatever was sent may have been generated, and is charged: also an answer that came too late, broke off or could not be
read, and one whose usage is missing or stands at zero. Such calls are estimated, and their estimate is told apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum

from arenaloop.models.base import Reserve, Spent
from arenaloop.models.charge import Charge, read_failed_charge
from arenaloop.models.limits import TokenEstimate
from arenaloop.models.openai_wire import Price
from arenaloop.types import Completion, Sampling

__all__ = ["UNLIMITED", "Billing", "Loss", "count_tokens", "token_limit"]

UNLIMITED = 4096
"""New tokens that are reserved for an answer without a limit, before any has shown how long they are."""

_BYTES = 3  # to a token, of most texts; the fewest that are likely
_PIECES = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[^\sA-Za-z]")
_LETTERS = 6  # of a word to a token


def count_tokens(text: bytes) -> int:
    """Our own count of a text's tokens (UTF-8), for servers that tell none; rather too many than too few.

    A token for every six letters of a word or part of one (words are cut where the case changes, as tokenizers cut
    what is no word), one for each digit and sign, and one for two bytes of every other script.
    """
    count = 0
    for piece in _PIECES.findall(text):
        count += 2 * ((len(piece) + _LETTERS - 1) // _LETTERS) if piece[0] < 0x80 else 1
    return (count + 1) // 2


def token_limit(model: object, sampling: Sampling) -> int | None:
    """The most new tokens that a call may bring; None where the limit is not sent."""
    extra = getattr(model, "extra_body", {})
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(extra.get(name), int):
            return int(extra[name])
    return None if "max_tokens" in getattr(model, "drop_params", ()) else sampling.max_tokens


class Loss(Enum):
    """What became of a request that brought no readable answer and may have been charged."""

    UNREAD = "unread"
    """an answer came too late, broke off or could not be read: nobody knows its length, so it had all that it may"""
    UNANSWERED = "unanswered"
    """the prompt was read, and turned down"""


class Billing:
    """What one model's calls cost, learnt from its replies.

    Args:
        price: of the model; None where it is not known, and then nothing here is.

    Attributes:
        tokens: what is learnt.
        times: how many times as much as its tokens by the price table a reply was billed at most, by the server's own
            bill.
        unpriced: what a reply has counted and no price covers; empty where there was nothing.
    """

    def __init__(self, price: Price | None) -> None:
        self.price, self.tokens, self.times, self.unpriced = price, TokenEstimate(), 1.0, ""

    def reserve(self, size: int, limit: int | None) -> Reserve:
        """What a request of `size` bytes will cost, whose answer may have `limit` new tokens (None: any number)."""
        if self.price is None:
            return Reserve(None, 0.0)
        tokens, limit = self.tokens, UNLIMITED if limit is None else limit
        most = self._usd(*tokens.most(size, limit))
        if not tokens.replies:
            return Reserve(self._usd(size / _BYTES, limit), most, learnt=False)
        return Reserve(self._usd(tokens.reading(size), tokens.writing(limit)), most)

    def lost(self, body: bytes, limit: int | None, loss: Loss) -> float:
        """What a request without a readable answer has cost, by an estimate; 0 where no price is known."""
        limit = UNLIMITED if limit is None else limit
        return self._usd(self._read(body), 0 if loss is Loss.UNANSWERED else max(limit, self.tokens.longest))

    def told(
        self,
        body: bytes,
        came: Sequence[Completion],
        share: float = 1.0,
        *,
        charge: Charge | None = None,
        limit: int | None = None,
    ) -> Completion:
        """The first of the answers that came to a request, with what all of them cost.

        Where the server tells no tokens, or none of a prompt, or none of an answer that is there, they are estimated:
        an answer as what shows of it or as this server's answers are on the mean, whichever is longer. Figures that are
        no counts tell nothing of what was taken: such an answer had all the tokens that it may have. A bill of the
        server's own that is higher stands.

        Args:
            body: of the request.
            came: its answers; the first one's cost is that of all.
            share: of the price that such calls cost.
            charge: what the reply told.
            limit: the most new tokens that it may have; None is any number.
        """
        first, doubt = came[0], False
        if charge is not None:
            self.unpriced = self.unpriced or ", ".join(charge.unpriced)
            doubt = bool(charge.usage.no_counts)
        text = "".join(part for one in came for part in (one.reasoning or "", one.text))
        tokens_in = first.tokens_in or None
        tokens_out = None if first.tokens_out == 0 and text and limit != 0 else first.tokens_out
        if tokens_in is not None and tokens_out is not None and not doubt:
            self.learn(len(body), tokens_in, tokens_out, None if first.usd is None else first.usd / (share or 1.0))
            return first
        if self.price is None:
            return replace(first, tokens_in=tokens_in, tokens_out=tokens_out)
        if doubt:
            most = UNLIMITED if limit is None else limit
            written: float = max(most, self.tokens.longest, tokens_out or 0)
            first = replace(first, usd=None if charge is None else charge.bill.usd)
        elif tokens_out is None:
            written = max(count_tokens(text.encode("utf-8", "replace")), self.tokens.writing(0))
        else:
            written = tokens_out
        read = self._read(body) if tokens_in is None or doubt else 0.0
        usd = share * self._usd(max(read, tokens_in or 0), written)
        billed = first.usd or 0.0
        return replace(
            first,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            usd=max(usd, billed),
            usd_estimated=usd if usd > billed else 0.0,
        )

    def learn(self, size: int, tokens_in: int, tokens_out: int, usd: float | None) -> None:
        """Take note of what a request of `size` bytes took, and of what it was charged (None: not known)."""
        self.tokens.learn(size, tokens_in, tokens_out)
        table = None if self.price is None else self.price.usd(tokens_in, tokens_out)
        if usd and table:
            self.times = max(self.times, usd / table)

    def failed(self, body: bytes, raw: bytes, headers: Mapping[str, str], limit: int | None = None) -> Spent | None:
        """What a request that was not answered has cost, where its reply says so; None where it does not."""
        charge = read_failed_charge(raw, headers, self.price)
        if charge is None:
            return None
        usage = charge.usage
        told = self.told(
            body,
            [Completion(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=charge.usd)],
            charge=charge,
            limit=limit,
        )
        return Spent(told.usd or 0.0, told.usd_estimated)

    def _read(self, body: bytes) -> float:
        return self.tokens.reading(len(body)) if self.tokens.replies else count_tokens(body)

    def _usd(self, tokens_in: float, tokens_out: float) -> float:
        if self.price is None:
            return 0.0
        return self.times * (self.price.usd(round(tokens_in), round(tokens_out)) or 0.0)
