"""What a run will ask and cost, as it is told: to people in lines, to scripts as one mapping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from arenaloop.calls.budget import dollars
from arenaloop.calls.costs import CROWD_WORKER, HumanLabel, human_equivalent
from arenaloop.terminal import counted

__all__ = ["Estimate", "RoleEstimate", "duration"]

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
        local: whether the model runs in this process.
        seconds: what a local model's work takes, its loading included; None where its speed was not measured, and of
            servers, whose speed is their own.
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
    local: bool = False
    seconds: float | None = None


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

    @property
    def seconds(self) -> float | None:
        """What local models take, one after the other; None where there are none, or one of them is not measured."""
        local = [role.seconds for role in self._asked if role.local]
        return sum(filter(None, local)) if local and None not in local else None

    def to_json(self) -> dict[str, Any]:
        """The estimate as one mapping; unknown is null."""
        people = human_equivalent(self.labels, None, None, self.human)
        return {
            "calls": self.calls,
            "reasks_most": self.reasks_most,
            **{column: self.total(column) for column in _COLUMNS},
            "seconds": self.seconds,
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

    def ahead(self, most: str) -> str:
        """What the head of a run says of its calls: `most` of a new one, of others what is left to ask."""
        if not any(role.stored for role in self.roles):
            return most
        if not self._asked:
            return "little or nothing to ask" if self.scaled else "nothing to ask"
        return f"{'about ' if self.scaled else ''}{counted(self.calls, 'call')} left to ask"

    def first_line(self) -> str:
        """The total alone."""
        return next(self.lines())

    def head(self) -> Iterator[str]:
        """The total, for the head of a run, and whose time is not known yet."""
        yield self.first_line()
        for role in self._asked:
            if role.local and role.seconds is None:
                most = "" if role.tokens_out_most is None else f", at most {_count(role.tokens_out_most)} out"
                yield (
                    f"  {role.role} {role.name} runs here, its speed not measured yet: {role.calls:,} calls, about "
                    f"{_count(role.tokens_in)} tokens in{most}; its first chunk tells how long that takes"
                )


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
    time = "" if told["seconds"] is None else f" · about {duration(told['seconds'])} here"
    return f"{count:,} calls · {_count(read)} tokens in{spread} · {_count(written)} out{bound} · {money}{time}"


def duration(seconds: float) -> str:
    """Seconds for people: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 99.5:
        return f"{seconds:,.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:,.0f} min" if seconds < 5970 else f"{seconds / 3600:,.1f} h"


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * size or (size > 1e3 and value >= size):
            return f"{value / size:,.3g}{unit}" if value < 1000 * size else f"{value / size:,.0f}{unit}"
    return f"{value:,.0f}"
