"""Why a wanted battle has no outcome: whose doing it is, read from statuses and reasons alone.

Undecided battles are not missing at random. A contestant that refuses where it would lose, errs, overflows the judge's
context or plants what breaks a verdict's reading drops its losses and keeps its wins. So what a contestant did itself
counts as its loss (`own_failure: loss`); what a judge or a server failed at is nobody's loss.

    both answers stand                             verdicts decide, below
    one failed by itself, the other is there       that contestant
    both failed by themselves                      both: nobody won
    one fails by its server, or was never given    the server

A failure is a contestant's own where its model spoke and gave no answer: it refused, or its server answered the request
with an error about the request (HTTP 400, 413, 422 …), an internal error that every retry met (HTTP 500) or a reply
without an answer. A server that is busy, unreachable, too slow, breaks off, shows a login page, does not take a
parameter that it is sent or does not know key or model is a server's failure.

Of verdicts, each seat that has none is attributed by itself, and all of them must name one contestant for it to be that
one's doing:

    the judge's context overflowed                 whose answer is more than half of what was to be judged, and twice
                                                   the other; both, where only together they are; else the judge
    no readable verdict (unparsed, cut, empty)     whose answer alone is without any text, or alone is written for a
                                                   judge (`audit.suspicion`), from every seat; else the judge
    the judge refused, was refused, or erred       the judge
    its server is busy, gone or too slow           the server

Where in doubt it is the judge: that costs nobody a loss, and shares and bounds on leaderboards show what is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from arenaloop.models.openai_errors import Blame, blame
from arenaloop.types import Status, Winner

__all__ = ["Attribution", "Cause", "FailedVerdict", "Said", "attribute", "blames_server"]


class Cause(StrEnum):
    """Whose doing it is that a battle has no outcome."""

    __hash__ = str.__hash__
    MODEL_A = "model_a"
    MODEL_B = "model_b"
    BOTH = "both"
    JUDGE = "judge"
    SERVER = "server"

    def swap(self) -> Cause:
        """The same with the two contestants exchanged."""
        return {Cause.MODEL_A: Cause.MODEL_B, Cause.MODEL_B: Cause.MODEL_A}.get(self, self)


class Attribution(NamedTuple):
    """Whose doing, and why in a few words (``refused``, ``error: HTTP 400: …``, ``overflow``)."""

    cause: Cause
    reason: str

    @property
    def kind(self) -> str:
        """The reason's first word or words, for counts: without what a server said."""
        return self.reason.partition(":")[0]

    @property
    def unasked(self) -> bool:
        """Whether nothing has failed: an answer or a verdict was not asked for, or not yet."""
        return self.reason in (MISSING, NOT_ASKED)

    @property
    def winner(self) -> Winner | None:
        """Who wins where own failures are losses: the other one, if exactly one contestant failed by itself."""
        return {Cause.MODEL_A: Winner.MODEL_B, Cause.MODEL_B: Winner.MODEL_A}.get(self.cause)


class Said(NamedTuple):
    """What is known of one contestant's answer.

    Attributes:
        status: None where there is none: a recorded contestant's file lacks it.
        error: the reason of a failed call.
        characters: of all its texts.
        marked: whether it holds what is written for a judge or breaks the reading of a verdict.
    """

    status: Status | None
    error: str | None = None
    characters: int = 0
    marked: bool = False


class FailedVerdict(NamedTuple):
    """What is known of a verdict without an outcome; the status is None where it was never asked."""

    status: Status | None
    error: str | None = None


MISSING = "no answer"
NOT_ASKED = "not asked"


def attribute(
    a: Said, b: Said, failed: Sequence[FailedVerdict] = (), *, seats: int = 2, prompt_characters: int = 0
) -> Attribution:
    """Whose doing it is that a pairing has no outcome; see the module's table.

    Args:
        a, b: both answers.
        failed: the verdicts without an outcome, of every judge and seat.
        seats: how many verdicts were wanted.
        prompt_characters: of the prompt that both answered.
    """
    one, other = _answer_failure(a), _answer_failure(b)
    if one is not None or other is not None:
        if one is None or other is None:
            whose, cause = (one, Cause.MODEL_A) if other is None else (other, Cause.MODEL_B)
            assert whose is not None
            return Attribution(cause if whose.own else Cause.SERVER, whose.reason)
        if one.own and other.own:
            return Attribution(
                Cause.BOTH, one.reason if one.reason == other.reason else f"{one.reason}; {other.reason}"
            )
        return Attribution(Cause.SERVER, other.reason if one.own else one.reason)
    told = [_of_verdict(a, b, verdict, len(failed) >= seats, prompt_characters) for verdict in failed]
    if not told:
        return Attribution(Cause.JUDGE, NOT_ASKED)
    causes = {one.cause for one in told}
    for cause in (Cause.SERVER, Cause.JUDGE, Cause.BOTH):
        if cause in causes:
            return next(one for one in told if one.cause is cause)
    # each contestant is named by one verdict: that is nobody's own failure
    return told[0] if len(causes) == 1 else Attribution(Cause.JUDGE, told[0].reason)


class _Failure(NamedTuple):
    own: bool
    reason: str


def _answer_failure(said: Said) -> _Failure | None:
    """Why there is no answer to judge; None where there is one."""
    if said.status is None:
        return _Failure(False, MISSING)
    if said.status is Status.REFUSED:
        return _Failure(True, "refused")
    if said.status is Status.ERROR:
        return _Failure(_about_the_request(said.error), _because(said.error))
    return None


def _of_verdict(a: Said, b: Said, verdict: FailedVerdict, every_seat: bool, prompt_characters: int) -> Attribution:
    if verdict.status is None:
        return Attribution(Cause.JUDGE, NOT_ASKED)
    if verdict.status is Status.ERROR:
        if _OVERFLOW.search(verdict.error or ""):
            return Attribution(_larger(a, b, prompt_characters), "overflow")
        return Attribution(Cause.SERVER if _passing(verdict.error) else Cause.JUDGE, _because(verdict.error))
    reason = verdict.status.value
    if verdict.status is Status.REFUSED or not every_seat:
        return Attribution(Cause.JUDGE, reason)
    for what, of_a, of_b in (
        (f"{reason} on no text", not a.characters, not b.characters),
        (reason, a.marked, b.marked),
    ):
        if of_a != of_b:
            return Attribution(Cause.MODEL_A if of_a else Cause.MODEL_B, what)
    return Attribution(Cause.JUDGE, reason)


def _larger(a: Said, b: Said, prompt_characters: int) -> Cause:
    """Whose text was too much for the judge: without it less than half were left, and another's is half as long."""
    half = (a.characters + b.characters + prompt_characters) / 2
    if a.characters > half and a.characters >= 2 * b.characters:
        return Cause.MODEL_A
    if b.characters > half and b.characters >= 2 * a.characters:
        return Cause.MODEL_B
    return Cause.BOTH if a.characters + b.characters > half else Cause.JUDGE


# ---------------------------------------------------------------------- reasons, as models give them

_HTTP = re.compile(r"HTTP (?:200 with error )?(\d{3})\b:? ?(.*)", re.DOTALL)
_OVERFLOW = re.compile(
    r"HTTP 413\b|context[ _-]?(?:length|size|window)|(?:too|over)[ -]?long\b|too many tokens|"
    r"exceeds? the (?:model's |maximum |available |token |context )+|reduce the length|"
    r"(?:prompt|input)s?\b.{0,40}\btokens?\b.{0,60}(?:exceed|limit|maximum|at most)",
    re.IGNORECASE | re.DOTALL,
)
"""What servers and local models say of a request that is longer than the context window."""
_TRANSPORT = re.compile(
    r"no answer within|timed? ?out|^lost with \d+ (?:engines|Ray workers)\b|"
    r"^\w*(?:Client|Server|Connect|Connection|Socket|SSL|Timeout|OS|BrokenPipe|Payload|Endpoint)\w*(?:Error|Exception|"
    r"Disconnected\w*|Reset\w*): ",
    re.IGNORECASE,
)
"""What is said of a call that no reply came to."""
_NO_MODEL = re.compile(r"a page of HTML|a stream of events|finish reason |the reply holds the key ")
"""What `openai_errors.body_in_words` calls what no model has written, such as a login page, and JSON that
contradicts itself. An error's words for an answer a model may have written: like an HTTP 500 they are its failure."""
_BY_SETTINGS = re.compile(r"drop_params: \[")
"""What `openai_errors.remedy` says where a server takes a parameter of no request: that is the settings' doing."""
_INTERNAL = 500
_REPLY = 200


def blames_server(error: str | None) -> bool:
    """Whether a failed call's reason is its server, its model's name or the key, and not what was asked."""
    return _passing(error)


def _passing(error: str | None) -> bool:
    """Whether a failed call is its server's doing: busy, gone, too slow, or model and key unknown to it."""
    if error is None:
        return False
    if (found := _HTTP.match(error)) is None:
        return bool(_TRANSPORT.search(error))
    return blame(int(found[1]), "", found[2]) in (Blame.SERVER, Blame.MODEL)


def _about_the_request(error: str | None) -> bool:
    """Whether the failure of a contestant's call is its own: its model was asked, and said so or broke on it."""
    found = _HTTP.match(error or "")
    if found is not None and (_NO_MODEL.match(found[2]) or _BY_SETTINGS.search(found[2])):
        return False
    return (found is not None and int(found[1]) in (_REPLY, _INTERNAL)) or not _passing(error)


def _because(error: str | None) -> str:
    return "error" if error is None else f"error: {error}"
