"""What the run asked, paid and stored, and the same in people's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.calls.costs import human_equivalent, ratios
from arenaloop.report.documents import Documents, number
from arenaloop.report.scope import Scope
from arenaloop.report.texts import one_line
from arenaloop.store import Store
from arenaloop.store.counts import ModelRow, models

__all__ = ["Calls", "calls", "dollars", "duration"]


class Calls(NamedTuple):
    """What was asked and stored.

    Attributes:
        facts: (name, figure, explanation).
        answerers: contestants and judges.
    """

    facts: Sequence[tuple[str, str, str]]
    answerers: Sequence[ModelRow]
    answerers_left_out: int


_SHOWN = 60


def calls(documents: Documents, store: Store, scope: Scope) -> Calls:
    """Calls, tokens, money and time; rows stored by every model and judge, failed attempts included.

    What other judges or earlier settings cost was paid too: their rows are listed apart.
    """
    answerers = [row._replace(name=one_line(row.name)) for row in models(store, scope.hashes)]
    judges = [a for a in answerers if a.role != "contestant"][:10]
    players = [a for a in answerers if a.role == "contestant"]
    shown = [*players[:_SHOWN], *judges]
    return Calls(_facts(documents.summary, answerers), shown, len(answerers) - len(shown))


def _facts(summary: Mapping[str, Any], answerers: Sequence[ModelRow]) -> list[tuple[str, str, str]]:
    reported = any(a.mean_tokens is not None for a in answerers)
    usd = number(summary.get("usd"))
    tokens = " · ".join(
        f"{summary[key]:,} {way}"
        for key, way in (("tokens_in", "in"), ("tokens_out", "out"))
        if isinstance(summary.get(key), int)
    )
    stored = sum(a.rows for a in answerers)
    answers = sum(a.rows for a in answerers if a.role == "contestant")
    split = f"{answers:,} answers and {stored - answers:,} verdicts, failed attempts included"
    found = "verdicts that the last invocation took from the arena file"
    source = "as the servers reported them" if reported else "no server reported any"
    unpriced = "a model or the judge has no price in its settings"
    prices = unpriced if usd is None else "US dollars, by the prices in the settings"
    seconds, clock = number(summary.get("seconds")), "from the first call to the last stored row, all invocations"
    return [
        ("Requests sent", _count(summary.get("calls")), "over all invocations, retries included"),
        ("Rows stored", f"{stored:,}", split),
        ("Found, not asked", _count(summary.get("cached")), found),
        ("Tokens", tokens if reported and tokens else "unknown", source),
        ("Money", "unknown" if usd is None else f"${dollars(usd)}", prices),
        *_estimated(summary),
        ("Time", duration(seconds), clock),
        *_people(summary),
    ]


def _estimated(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The part of the money that no server has told, and calls that were cut off; nothing where there is neither."""
    facts = []
    if usd := number(summary.get("usd_estimated")):
        why = "no server told it: answers that came late, broken, without a count of tokens, or not at all"
        facts.append(("Of it estimated", f"${dollars(usd)}", why))
    if cut_off := summary.get("calls_cut_off"):
        facts.append(("Cut off", _count(cut_off), "requests sent whose answer nobody waited for any more"))
    return facts


def _people(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What as many labels by people would cost, where the run says so or money was spent."""
    stated = summary.get("human_equivalent")
    if not isinstance(stated, dict):
        decided, usd = int(summary["battles_decided"]), number(summary.get("usd"))
        if not usd:  # nothing was paid, or no price is known: there is nothing to set beside people's pay
            return []
        stated = human_equivalent(decided, usd, number(summary.get("seconds"))).to_json()
    people = {key: number(value) for key, value in stated.items()}
    labels, usd, seconds = (people.get(key) for key in ("labels", "usd", "seconds"))
    if not labels or (usd is None and seconds is None):
        return []
    figure = " · ".join([*([f"${dollars(usd)}"] if usd is not None else []), *([duration(seconds)] if seconds else [])])
    return [("The same by people", figure, f"{labels:,.0f} labels, one person after the other{ratios(people)}")]


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "unknown"


def dollars(usd: float | None) -> str:
    """An amount in dollars: ``0``, ``0.0042``, ``1,234.50``."""
    if usd is None:
        return "unknown"
    return "0" if usd == 0 else f"{usd:,.2f}" if usd >= 1 else f"{usd:.4f}" if usd >= 0.0001 else "< 0.0001"


def duration(seconds: float | None) -> str:
    """Seconds in words: ``30 µs``, ``48 ms``, ``4.8 s``, ``48 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if not seconds:
        return "unknown" if seconds is None else "0 s"
    if seconds < 9.95:
        for size, unit in ((1e-6, "µs"), (1e-3, "ms")):
            if seconds < 999.5 * size:
                return f"{seconds / size:.0f} {unit}"
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
