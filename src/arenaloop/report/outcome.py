"""What a run was and how it ended, in a few plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arenaloop.report.documents import Documents, number
from arenaloop.report.shown_battles import Picks
from arenaloop.report.texts import one_line
from arenaloop.terminal import counted

__all__ = ["apart", "outcome", "title", "with_interval"]

_NAME = 60


def title(documents: Documents) -> str:
    """The page's heading."""
    if documents.stages:
        return one_line(str(documents.config.get("recipe", "recipe")).replace("_", " ").title(), 60)
    return f"Battles of {len(documents.rows)} models" if len(documents.rows) != 1 else "Battles of one model"


def outcome(documents: Documents, picks: Picks, judges: Sequence[str]) -> list[str]:
    """Two paragraphs, or those of the recipe: what was done, and how it ended."""
    who = _listed([one_line(name, _NAME) for name in judges]) or "A judge"
    told = list(documents.prose) or _battles(documents, picks)
    told[0] += f" {who} judged every pair from {'one drawn seat' if documents.one_seat else 'both seats'}."
    summary = documents.summary
    told[-1] += _moved(summary.get("rejudged"))
    if missing := int(summary["battles_wanted"]) - int(summary["battles_decided"]):
        lost = sum(n for kinds in (summary.get("losses_by_own_failure") or {}).values() for n in kinds.values())
        count = "count nowhere" if not lost else f"{lost:,} of them count as losses, by the loser's own failure"
        if why := summary.get("stopped"):
            told[-1] += (
                f" The run is not through: {summary['battles_decided']:,} of {summary['battles_wanted']:,} battles are "
                f"decided ({one_line(str(why), 200)}). The command that began it goes on."
            )
            return told
        told[-1] += (
            f" {missing:,} of {summary['battles_wanted']:,} battles are undecided and {count}; "
            "the command that began this run asks for them again."
        )
    return told


def _moved(told: object) -> str:
    """How many outcomes other verdicts moved, where the directory holds a run judged again."""
    if not isinstance(told, dict):
        return ""
    compared, moved, share = (number(told.get(key)) for key in ("compared", "moved", "moved_share"))
    if not compared or moved is None or share is None:
        return ""
    return f" Of {compared:,.0f} battles that the first verdicts decided too, {moved:,.0f} moved ({100 * share:.1f} %)."


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; of more than four the first three."""
    names = [*names[:3], f"{len(names) - 3} more"] if len(names) > 4 else list(names)
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _battles(documents: Documents, picks: Picks) -> list[str]:
    rows = documents.rows
    models, prompts = counted(len(rows), "model"), counted(picks.prompts, "prompt")
    done = f"{models} fought {counted(picks.battles, 'battle')} on {prompts}."
    rated = [row for row in rows if row["rating"] is not None]
    if not rated:
        return [done, "Nothing could be rated."]
    best = rated[0]
    leads = f"{one_line(best['model'], _NAME)} leads with a rating of {with_interval(best)}"
    if len(rated) == 1:
        return [done, f"{leads}."]
    second = rated[1]
    lead = f"{best['rating'] - second['rating']:.0f} points ahead of {one_line(second['model'], _NAME)}"
    record = picks.record(best["model"], second["model"])
    return [done, f"{leads}, {lead}; {apart(best, second, 'the leader', record)}."]


def with_interval(row: Mapping[str, Any]) -> str:
    """A row's rating, with its interval where there is one; an open end in words."""
    lower, upper = number(row.get("lower")), number(row.get("upper"))
    if lower is None and upper is None:
        return f"{row['rating']:.0f}"
    if upper is None:
        return f"{row['rating']:.0f} (at least {lower:.0f})"
    if lower is None:
        return f"{row['rating']:.0f} (at most {upper:.0f})"
    return f"{row['rating']:.0f} ({lower:.0f} to {upper:.0f})"


def apart(above: Mapping[str, Any], below: Mapping[str, Any], who: str, record: tuple[int, int, int]) -> str:
    """Whether two intervals overlap, and how the two did against each other: overlapping ones may still differ.

    Args:
        above, below: rows with a rating.
        who: what the first is called.
        record: battles with each other that the first won, tied and lost.
    """
    low, high = sorted((below, above), key=lambda row: row["rating"])
    if any(row["lower"] is None and row["upper"] is None for row in (low, high)):
        text = "there is no interval to say how sure that is"
    elif low["upper"] is None or high["lower"] is None:
        text = "an interval that is open towards the other does not say how sure that is"
    else:
        text = "their intervals do not overlap" if low["upper"] < high["lower"] else "their intervals overlap"
    won, tied, lost = record
    if fought := won + tied + lost:
        share = 100 * (won + tied / 2) / fought
        text += f", and in {counted(fought, 'battle')} with each other {who} scored {share:.0f} %"
    return text
