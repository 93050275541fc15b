"""What an audit looks like: one JSON document, and tables for a terminal."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from arenaloop.audit.findings import POWER
from arenaloop.terminal import figure, plain

if TYPE_CHECKING:
    from rich.table import Table

    from arenaloop.audit.read import Audit

__all__ = ["audit_document", "audit_tables"]

HUMAN_USD, HUMAN_SECONDS = 300.0, 36_800.0
"""What 1,000 human labels cost AlpacaFarm (arXiv 2305.14387), as AlpacaEval's evaluator leaderboard prints it."""


def _flat(record: object) -> dict[str, Any]:
    """Fields of a record of rates: NAME, NAME_lower, NAME_upper, NAME_standard_error and NAME_n of each rate."""
    from arenaloop.ratings.rates import Rate

    out: dict[str, Any] = {}
    for one in fields(record):  # type: ignore[arg-type]
        value = getattr(record, one.name)
        if not isinstance(value, Rate):
            out[one.name] = value
            continue
        out |= {
            one.name: value.value,
            f"{one.name}_lower": value.lower,
            f"{one.name}_upper": value.upper,
            f"{one.name}_standard_error": value.standard_error,
            f"{one.name}_n": value.n,
        }
    return out


def audit_document(result: Audit, labels: str, level: float) -> dict[str, Any]:
    """The audit as JSON: agreement, bias and variance in percent, other shares as fractions, missing is null."""
    planted = result.findings.planted
    board = []
    for rank, row in enumerate(result.rows, 1):
        own = _flat(row)
        cost, evaluation = own.pop("cost"), own.pop("evaluation")
        board.append(
            {
                "rank": rank,
                "judge": own.pop("name"),
                "kind": "jury" if row.members else "judge",
                **_flat(evaluation),
                **own,
                "usd_per_1000": cost.usd,
                "seconds_per_1000": cost.seconds,
            }
        )
    return {
        "labels": labels,
        "pairs": result.pairs,
        "prompts": result.prompts,
        "votes_wanted": result.wanted,
        "votes_decided": result.decided,
        "level": level,
        "cluster": "prompt",
        "notes": list(result.notes),
        "leaderboard": board,
        "humans": _flat(result.humans) | {"usd_per_1000": HUMAN_USD, "seconds_per_1000": HUMAN_SECONDS},
        "between": [{"judge_a": a, "judge_b": b, **_flat(met)} for a, b, met in result.between],
        "jury_weights": dict(result.weights),
        "tests": [asdict(test) | {"stands": test.q <= 1.0 - level} for test in result.findings.tests],
        "smallest_effects": {"power": POWER, **(result.findings.smallest or {})},
        **({"self_test": [asdict(one) | {"enough": one.enough} for one in planted]} if planted else {}),
    }


def audit_tables(result: Audit, level: float = 0.95) -> list[Table]:
    """Tables of at most 80 columns: agreement, preferences, cost, judges with each other, and what of it stands."""
    from rich.text import Text

    first = _table("judge", "agree %", "interval", "n", "kappa", "interval", "bias", "var", "shared", "L1O")
    second = _table("judge", "seat 1", "±", "col 1", "longer", "matched", "interval", "lists", "flips", "unread")
    same = _table("judge", "S1 %", "interval", "n", "S2 %", "interval", "n")
    third = _table("judge", "decided", "failed", "$/1k", "s/1k", "spearman", "pearson", "models")
    for row in result.rows:
        e, name = row.evaluation, Text(plain(row.name))
        first.add_row(
            name, _one(e.agreement), _interval(e.agreement), f"{e.agreement.n:,}", _two(e.kappa),
            _interval(e.kappa, 2), _one(e.bias), _one(e.variance), _one(row.shared), _one(e.agreement_leave_one_out),
        )  # fmt: skip
        second.add_row(
            name, _two(e.first_seat), figure(e.first_seat.standard_error, ".3f"), _two(e.first_output), _two(e.longer),
            _two(e.longer_matched), _interval(e.longer_matched, 2), _two(e.lists), _two(e.flips), _two(row.unparsed),
        )  # fmt: skip
        same.add_row(name, *_same(e.agreement_s1), *_same(e.agreement_s2))
        third.add_row(
            name, f"{row.wanted - row.undecided - row.unasked:,}/{row.wanted:,}" if row.wanted else "–",
            ", ".join(f"{n:,} {status}" for status, n in row.failed.items()), figure(row.cost.usd, ".2f"),
            figure(row.cost.seconds, ".0f"), figure(e.spearman, ".2f"), figure(e.pearson, ".2f"), str(e.generators),
        )  # fmt: skip
    h = result.humans
    first.add_row(
        "humans", _one(h.agreement), _interval(h.agreement), f"{h.agreement.n:,}", "–", "", "0.0", _one(h.variance),
        "–", _one(h.agreement),
    )  # fmt: skip
    second.add_row("humans", "–", "–", _two(h.first_output), _two(h.longer), "–", "", _two(h.lists), "–", "–")
    same.add_row("humans", *_same(h.agreement_s1), *_same(h.agreement_s2))
    third.add_row("humans", "–", "", f"{HUMAN_USD:.2f}", f"{HUMAN_SECONDS:.0f}", "–", "–", "")
    tables = [first, same, second, third]
    if result.between:
        fourth = _table("judge", "and", "agree %", "interval", "kappa", "interval", "n")
        for a, b, met in result.between:
            other = "itself" if a == b else plain(b)
            fourth.add_row(
                Text(plain(a)), Text(other), _one(met.agreement), _interval(met.agreement), _two(met.kappa),
                _interval(met.kappa, 2), f"{met.agreement.n:,}",
            )  # fmt: skip
        tables.append(fourth)
    return [*tables, *_worth(result, 1.0 - level)]


_SHORT = {
    "agreement": "agree", "kappa": "kappa", "bias": "bias", "variance": "var", "first_seat": "seat 1",
    "first_output": "col 1", "longer": "longer", "longer_matched": "matched", "lists": "lists", "flips": "flips",
    "unparsed": "unread",
}  # fmt: skip
"""Figures as the tables call them."""
_PERCENT = ("agreement", "bias", "variance")
_NOWHERE = {"seat": "seats not known", "length": "too few pairs, or all of one length"}
"""Why a bias could not be planted."""


def _worth(result: Audit, alpha: float) -> list[Table]:
    """The smallest effects, the tests with what stands, and the self-test."""
    from rich.text import Text

    told = result.findings
    tables = []
    if told.smallest:
        smallest = _table("smallest effect", *_SHORT.values())
        for name, effects in told.smallest.items():
            cells = [_effect(effects.get(key), key) for key in _SHORT]
            smallest.add_row(Text(plain(name)), *cells)
        smallest.caption = f"what these labels would have shown, {POWER:.0%} of the time: less may be there unseen"
        tables.append(smallest)
    if told.tests:
        tests = _table("judge", "figure", "value", "fair", "p", "q", f"stands at {alpha:.0%}")
        for test in sorted(told.tests, key=lambda one: one.q):
            digits = 1 if test.figure in _PERCENT else 2
            tests.add_row(
                Text(plain(test.judge)), _SHORT[test.figure], f"{test.value:.{digits}f}", f"{test.fair:.{digits}f}",
                _p(test.p), _p(test.q), "yes" if test.q <= alpha else "no",
            )  # fmt: skip
        tests.caption = f"q is p for the whole table: of what stands, at most {alpha:.0%} is to be by chance"
        tables.append(tests)
    if told.planted:
        planted = _table("judge", "planted", "share", "found", "without it", "outcome")
        for one in told.planted:
            done = one.plantings > 0
            found, false = (f"{n / one.plantings:.0%}" if done else "–" for n in (one.found, one.false))
            planted.add_row(
                Text(plain(one.judge)), one.bias, f"{0.5 + one.size:.2f}", found, false,
                ("found" if one.enough else "mostly missed") if done else _NOWHERE[one.bias],
            )  # fmt: skip
        planted.caption = "share of plantings in which the figure stood in the table above, and without the bias"
        tables.append(planted)
    return tables


def _effect(value: float | None, key: str) -> str:
    """A smallest effect; one that no figure can have says so."""
    most = 100 if key in _PERCENT else 1
    return f">{most}" if value is not None and value > most else figure(value, ".1f" if most > 1 else ".2f")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, caption_justify="left")
    for column in columns:
        text = column in ("judge", "and", "failed", "smallest effect", "figure", "planted", "outcome")
        table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    return table


def _same(rate: Any) -> tuple[str, str, str]:
    return _one(rate), _interval(rate), f"{rate.n:,}"


def _one(rate: Any) -> str:
    return figure(rate.value, ".1f")


def _two(rate: Any) -> str:
    return figure(rate.value, ".2f")


def _interval(rate: Any, digits: int = 1) -> str:
    return "" if rate.lower is None or rate.upper is None else f"{rate.lower:.{digits}f}…{rate.upper:.{digits}f}"
