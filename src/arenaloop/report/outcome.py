"""What a run was and how it ended, in a few plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arenaloop.report.documents import Documents, number
from arenaloop.report.shown_battles import Picks
from arenaloop.report.texts import one_line

__all__ = ["outcome", "title"]

_NAME = 60


def title(documents: Documents) -> str:
    """The page's heading."""
    if documents.stages:
        recipe = str(documents.config.get("recipe", "recipe")).replace("_", " ")
        return {"arena learning": "Arena Learning"}.get(recipe, one_line(recipe, 60).capitalize())
    return f"Battles of {len(documents.rows)} models" if len(documents.rows) != 1 else "Battles of one model"


def outcome(documents: Documents, picks: Picks, judges: Sequence[str]) -> list[str]:
    """Two paragraphs: what was done, and how it ended."""
    who = _listed([one_line(name, _NAME) for name in judges]) or "A judge"
    done, ended = _recipe(documents, picks) if documents.stages else _battles(documents, picks)
    done += f" {who} judged every pair from both seats."
    summary = documents.summary
    ended += _moved(summary.get("rejudged"))
    if missing := int(summary["battles_wanted"]) - int(summary["battles_decided"]):
        ended += (
            f" {missing:,} of {summary['battles_wanted']:,} battles are undecided and count nowhere; "
            "the command that began this run asks for them again."
        )
    return [done, ended]


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


def _battles(documents: Documents, picks: Picks) -> tuple[str, str]:
    rows = documents.rows
    models, prompts = _count(len(rows), "model"), _count(picks.prompts, "prompt")
    done = f"{models} fought {_count(picks.battles, 'battle')} on {prompts}."
    rated = [row for row in rows if row["rating"] is not None]
    if not rated:
        return done, "Nothing could be rated."
    best = rated[0]
    leads = f"{one_line(best['model'], _NAME)} leads with a rating of {_rating(best)}"
    if len(rated) == 1:
        return done, f"{leads}."
    second = rated[1]
    lead = f"{best['rating'] - second['rating']:.0f} points ahead of {one_line(second['model'], _NAME)}"
    return done, f"{leads}, {lead}; {_apart(best, second, 'the leader', picks)}."


def _recipe(documents: Documents, picks: Picks) -> tuple[str, str]:
    stages = documents.stages
    names = {stage["name"] for stage in stages}
    opponents = [row for row in documents.rows if row["model"] not in names]
    done = (
        f"One model was trained in {_count(len(stages), 'stage')} against {_count(len(opponents), 'opponent')}, "
        f"and every stage was rated on {_count(picks.prompts, 'held-out prompt')}."
    )
    rated = [stage for stage in stages if stage["rating"] is not None]
    if not rated:
        return done, "No stage could be rated."
    first, last = rated[0], rated[-1]
    best = max(rated, key=lambda stage: stage["rating"])
    if len(rated) == 1:
        ended = f"{one_line(first['name'], _NAME)} is rated {_rating(first)}."
    else:
        gain = last["rating"] - first["rating"]
        went = f"rose by {gain:.0f}" if gain >= 0 else f"fell by {-gain:.0f}"
        ended = (
            f"From {one_line(first['name'], _NAME)} to {one_line(last['name'], _NAME)} the rating {went} points, "
            f"from {first['rating']:.0f} to {_rating(last)}; {_apart(last, first, 'the later one', picks)}."
        )
        if best is not last:
            ended += f" The best stage is {one_line(best['name'], _NAME)} with {_rating(best)}."
        a, b = first["gold_accuracy"], last["gold_accuracy"]
        if a is not None and b is not None:
            ended += f" By the truth, right answers went from {100 * a:.0f} % to {100 * b:.0f} %."
    behind = sum(1 for row in opponents if row["rating"] is not None and row["rating"] < best["rating"])
    if opponents:
        whom = f"all {len(opponents)}" if behind == len(opponents) > 1 else f"{behind} of {len(opponents)}"
        ended += f" The best stage is rated above {whom} opponent{'' if len(opponents) == 1 else 's'}."
    return done, ended


def _rating(row: Mapping[str, Any]) -> str:
    lower, upper = number(row.get("lower")), number(row.get("upper"))
    if lower is None or upper is None:
        return f"{row['rating']:.0f}"
    return f"{row['rating']:.0f} ({lower:.0f} to {upper:.0f})"


def _apart(above: Mapping[str, Any], below: Mapping[str, Any], who: str, picks: Picks) -> str:
    """Whether two intervals overlap, and how the two did against each other: overlapping ones may still differ."""
    low, high = sorted((below, above), key=lambda row: row["rating"])
    if low["upper"] is None or high["lower"] is None:
        text = "there is no interval to say how sure that is"
    else:
        text = "their intervals do not overlap" if low["upper"] < high["lower"] else "their intervals overlap"
    names = [str(row.get("model") or row.get("name")) for row in (above, below)]
    won, tied, lost = picks.record(*names)
    if fought := won + tied + lost:
        share = 100 * (won + tied / 2) / fought
        text += f", and in {_count(fought, 'battle')} with each other {who} scored {share:.0f} %"
    return text


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")
