"""The page of one training: its curves, what was measured of its result, and the answers that it learned from.

A training that has not finished, or was stopped, has a page too: what it has written so far.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.config import dump_values
from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.regular_files import read_text
from arenaloop.report.charts import Chart, chart
from arenaloop.report.documents import number
from arenaloop.report.rendering import LIMITS, MAX_BYTES, environment, first_limit
from arenaloop.report.spending import dollars, duration
from arenaloop.report.tables import Table, table
from arenaloop.report.texts import Clip, clip, one_line
from arenaloop.store import Store
from arenaloop.types import derive_seed

__all__ = ["is_training", "render_training"]

_POINTS = 160
"""of a curve; longer ones are means over neighbouring lines"""
_ROLLOUTS = 12
"""roll-outs whose answers are shown, the first and the last among them"""
_PROMPTS, _ANSWERS = 360, 16
"""prompts that are shown, and answers to each"""
_TURNS = 8
_OTHERS = 24
"""curves of figures that this page does not know"""
_RIGHT_AT = "right_at_"

_CURVES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("Score of the answers", "", {"objective/scores": "mean", "objective/best_part": "of the best part"}),
    ("KL divergence from the start, nats an answer", "", {"objective/kl": "KL"}),
    ("Entropy, nats a token", "", {"policy/entropy": "entropy"}),
    ("Length, tokens an answer", "", {"completions/mean_length": "length"}),
    (
        "Shares of the answers",
        "%",
        {
            "completions/clipped_ratio": "cut",
            "completions/distinct": "different",
            "completions/without_score": "without score",
        },
    ),
    ("Returns that the value network accounts for", "", {"val/explained": "explained variance"}),
    (
        "Share of probability ratios that are clipped",
        "",
        {"policy/clip_fraction": "policy", "val/value_clip_fraction": "value"},
    ),
    ("Weight of the KL penalty", "", {"objective/kl_coef": "weight"}),
    ("Spread of the scores", "", {"objective/scores_std": "standard deviation"}),
    ("Loss", "", {"loss": "loss"}),
    ("Share of pairs that the model ranks right", "%", {"accuracy": "accuracy"}),
    ("Norm of the gradient", "", {"grad_norm": "norm"}),
    ("Learning rate", "", {"learning_rate": "rate"}),
    (
        "Seconds of a roll-out",
        "",
        {f"seconds/{phase}": phase for phase in ("sampling", "scoring", "crediting", "update")},
    ),
)
"""Title, unit, and series by what the metrics call them."""
_APART = {"step", "iteration", "epoch", "skipped_steps"}

_KNOWN = {"prompt", "text", "tokens", "ended", "score", "best"}


class Answer(NamedTuple):
    """One answer: its text, its figures in words, and whether it was cut or is the best of its prompt's."""

    text: Clip
    figures: str
    score: float | None
    cut: bool
    best: bool


class Asked(NamedTuple):
    """A prompt of a roll-out and the answers to it, the highest score first.

    Attributes:
        number: of the roll-out, from 1.
        turns: the prompt, as (role, text).
        answers: at most `_ANSWERS`; `answers_left_out`: how many more there are.
        score: the mean of the scores; `kl` likewise.
        kinds: what the page filters by.
        snippet: of the last turn.
    """

    number: int
    turns: Sequence[tuple[str, Clip]]
    answers: Sequence[Answer]
    answers_left_out: int
    score: float | None
    kl: float | None
    kinds: str
    snippet: str


def is_training(directory: Path) -> bool:
    """Whether a directory is a training's, and no run's."""
    return (directory / "training.json").is_file() and not (directory / "battles.jsonl").exists()


def render_training(directory: Path) -> bytes:
    """The page of a training as UTF-8 HTML of at most `MAX_BYTES`.

    Raises:
        InputError: ``training.json`` cannot be read.
    """
    record = _record(directory / "training.json")
    metrics = _metrics(directory / "metrics.jsonl")
    paths = sorted((directory / "rollouts").glob("*.jsonl.gz"))
    shown, there, damaged = _asked(paths)
    context = _context(directory, record, metrics) | {"rollouts": len(paths), "there": there, "damaged": damaged}

    def texts(limit: int) -> Iterator[Clip]:
        for one in shown:
            yield from (text.to(limit) for _, text in one.turns)
            yield from (answer.text.to(limit) for answer in one.answers)

    for limit in LIMITS[first_limit(texts) :]:
        page = _page(context, shown, limit)
        if len(page) <= MAX_BYTES:
            return page
    while len(page) > MAX_BYTES and shown:
        shown = shown[: len(shown) * 2 // 3]
        page = _page(context, shown, LIMITS[-1])
    return page


def _page(context: Mapping[str, Any], shown: Sequence[Asked], limit: int) -> bytes:
    numbers = sorted({one.number for one in shown})
    answers = sum(len(one.answers) for one in shown)
    page = environment().get_template("training.html.jinja")
    return page.render(**context, shown=shown, numbers=numbers, answers=answers, limit=limit).encode("utf-8")


# ---------------------------------------------------------------------- what the directory holds


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(read_text(path, errors="replace"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise InputError(f"{path}: not a JSON document ({error})") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a JSON object")
    return record


def _metrics(path: Path) -> list[dict[str, float]]:
    """The lines of the metrics; what is no number, and a line torn by a crash, are left out."""
    if not path.is_file():
        return []
    lines = []
    for line in read_text(path, errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            lines.append({one_line(name): known for name, value in row.items() if (known := number(value)) is not None})
    return lines


def _asked(paths: Sequence[Path]) -> tuple[list[Asked], int, int]:
    """What is shown of some roll-outs, the last first; how many prompts these have, and how many cannot be read."""
    last = len(paths) - 1
    several = min(_ROLLOUTS, len(paths))
    chosen = sorted({round(last * at / max(several - 1, 1)) for at in range(several)}, reverse=True)
    shown: list[Asked] = []
    there = damaged = 0
    for at in chosen:
        try:
            rows = [row for _, row in read_rows(paths[at])]
        except InputError:
            damaged += 1
            continue
        name = paths[at].name.partition(".")[0]
        found = _grouped(rows, int(name) + 1 if name.isdecimal() else at + 1)
        there += len(found)
        shown += _some(found, _PROMPTS // len(chosen), derive_seed("shown", at))
    return shown, there, damaged


def _grouped(rows: Sequence[Mapping[str, Any]], rollout: int) -> list[Asked]:
    return [
        _one(rollout, list(some))
        for _, some in groupby(rows, key=lambda row: json.dumps(row.get("prompt"), sort_keys=True))
    ]


def _one(rollout: int, rows: list[Mapping[str, Any]]) -> Asked:
    ranked = sorted(rows, key=lambda row: -(-1e300 if (score := number(row.get("score"))) is None else score))
    answers = [_answer(row) for row in ranked[:_ANSWERS]]
    turns = rows[0].get("prompt")
    read = [
        (one_line(turn.get("role", ""), 20), clip(turn.get("content", ""), LIMITS[0]))
        for turn in (turns if isinstance(turns, list) else [])[-_TURNS:]
        if isinstance(turn, dict)
    ]
    kinds = ["cut"] * any(one.cut for one in answers) + ["unscored"] * any(one.score is None for one in answers)
    scores = [score for row in rows if (score := number(row.get("score"))) is not None]
    kl = [value for row in rows if (value := number(row.get("kl"))) is not None]
    return Asked(
        number=rollout,
        turns=read,
        answers=answers,
        answers_left_out=len(rows) - len(answers),
        score=sum(scores) / len(scores) if scores else None,
        kl=sum(kl) / len(kl) if kl else None,
        kinds=" ".join(kinds),
        snippet=one_line(read[-1][1].head if read else "", 160),
    )


def _answer(row: Mapping[str, Any]) -> Answer:
    score, cut = number(row.get("score")), row.get("ended") is False
    tokens = number(row.get("tokens"))
    figures = [
        "no score" if score is None else f"score {score:.4g}",
        *(f"{_words(name)} {value:.3g}" for name, value in _numbers(row)),
        *([] if tokens is None else [f"{tokens:,.0f} tokens"]),
    ]
    return Answer(clip(row.get("text", ""), LIMITS[0]), " · ".join(figures), score, cut, number(row.get("best")) == 1)


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in list(row.items())[:_OTHERS]:
        if name not in _KNOWN and (known := number(value)) is not None:
            yield name, known


def _words(name: str) -> str:
    return "KL" if name == "kl" else one_line(name.replace("_", " "), 40)


def _some(found: list[Asked], most: int, seed: int) -> list[Asked]:
    """A third with the highest mean scores, a third with the lowest, and a random rest, in their order."""
    if len(found) <= most:
        return found
    order = sorted(range(len(found)), key=lambda at: (found[at].score is None, found[at].score or 0.0))
    third = most // 3
    ends = {*order[:third], *order[-third:]} if third else set()
    rest = [at for at in range(len(found)) if at not in ends]
    chosen = ends | set(random.Random(seed).sample(rest, most - len(ends)))
    return [found[at] for at in sorted(chosen)]


# ---------------------------------------------------------------------- what is said of it


def _context(directory: Path, record: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    result = record.get("result")
    result = result if isinstance(result, dict) else {}
    method = one_line(record.get("method") or "", 40)
    charts, others = _charts(metrics)
    settings = record.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    return {
        "title": f"Training: {method.replace('_', ' ')}" if method else "Training",
        "directory": directory.resolve().name,
        "outcome": _outcome(record, result, metrics),
        "tiles": _tiles(directory, record, result, metrics),
        "charts": charts,
        "others": others,
        "lines": len(metrics),
        "over": "roll-outs" if _over(metrics) == "iteration" else "steps",
        "measured": _measured(result.get("report")),
        "calibration": _calibration(result.get("report")),
        "dropped": _dropped(result),
        "made": [(name, one_line(record[name], 200)) for name in ("start", "rows", "seed", "round") if name in record],
        "settings": clip(dump_values(settings), 60_000) if settings else None,
    }


def _over(metrics: Sequence[Mapping[str, float]]) -> str:
    return "iteration" if any("iteration" in row for row in metrics) else "step"


def _outcome(record: Mapping[str, Any], result: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """How it went, in a sentence or two."""
    told = []
    first, last = (metrics[0], metrics[-1]) if metrics else ({}, {})
    for name, what in (("objective/scores", "mean score"), ("loss", "loss")):
        if name in first and name in last and len(metrics) > 1:
            before, after = first[name], last[name]
            went = "rose" if after > before else "fell" if after < before else "stayed"
            kl = f", {last['objective/kl']:.3g} nats an answer from the start" if "objective/kl" in last else ""
            told.append(f"The {what} {went} from {before:.4g} to {after:.4g}{kl}.")
            break
    if not result:
        step = f" It has come to step {last['step']:,.0f}." if "step" in last else ""
        told.append(
            f"This training has not finished.{step} The command that began it goes on from its last checkpoint."
        )
    return told


def _tiles(
    directory: Path, record: Mapping[str, Any], result: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]
) -> list[tuple[str, str, str]]:
    """(name, figure, small print)."""
    last = metrics[-1] if metrics else {}
    steps = number(result.get("steps")) or last.get("step")
    tiles = [] if steps is None else [("Optimiser steps", f"{steps:,.0f}", "")]
    if _over(metrics) == "iteration":
        tiles.append(("Roll-outs", f"{last.get('iteration', 0):,.0f}", ""))
    used, rows = number(result.get("rows_used")), number(record.get("rows"))
    if used is not None:
        tiles.append(("Rows used", f"{used:,.0f}", "" if rows is None else f"of {rows:,.0f}"))
    if (seconds := number(result.get("seconds"))) is not None:
        tiles.append(("Time", duration(seconds), ""))
    if skipped := last.get("skipped_steps"):
        tiles.append(("Steps skipped", f"{skipped:,.0f}", "no finite loss or gradient"))
    arena = directory / "arena.db"
    if arena.is_file():
        with Store(arena, readonly=True) as store:
            usage = store.usage()
        tiles.append(("Calls of the judge", f"{usage.calls:,}", dollars(usage.usd)))
    return tiles


def _charts(metrics: Sequence[Mapping[str, float]]) -> tuple[list[Chart], list[Chart]]:
    """The curves that this page knows and that move, and those of all other figures."""
    over = _over(metrics)
    known = {name for _, _, series in _CURVES for name in series} | _APART
    names = list(dict.fromkeys(name for row in metrics for name in row))
    curves = [*_CURVES, *((name, "", {name: name}) for name in names if name not in known)]
    drawn = [(_drawn(metrics, over, *curve), curve) for curve in curves]
    there = [(one, curve in _CURVES and _moves(metrics, curve[2])) for one, curve in drawn if one is not None]
    return [one for one, main in there if main], [one for one, main in there if not main][:_OTHERS]


def _moves(metrics: Sequence[Mapping[str, float]], series: Mapping[str, str]) -> bool:
    """Whether there is more to see than one figure that stays as it is."""
    return len({row[key] for row in metrics for key in series if key in row}) > 1


def _drawn(
    metrics: Sequence[Mapping[str, float]], over: str, title: str, unit: str, series: Mapping[str, str]
) -> Chart | None:
    drawn = [
        {"name": name, "points": _thinned([(row.get(over, 0.0), row[key]) for row in metrics if key in row])}
        for key, name in series.items()
        if any(key in row for row in metrics)
    ]
    if not drawn:
        return None
    return chart({"title": title, "unit": unit, "series": drawn}, height=170)


def _thinned(points: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """At most `_POINTS` points, each the mean of as many neighbours."""
    each = -(-len(points) // _POINTS)
    parts = [points[at : at + each] for at in range(0, len(points), each)]
    return [{"x": sum(x for x, _ in part) / len(part), "value": sum(y for _, y in part) / len(part)} for part in parts]


def _measured(report: Any) -> Table | None:
    """What the method measured of its result."""
    if not isinstance(report, dict):
        return None
    rows = [[str(name).replace("_", " "), *_ends(ends)] for name, ends in report.items() if not _is_bin(name)]
    return table({"title": "Measured", "columns": ["", "figure", "lower", "upper"], "rows": rows}) if rows else None


def _ends(value: Any) -> list[float | None]:
    known = [number(one) for one in value[:3]] if isinstance(value, list) else []
    return known + [None] * (3 - len(known))


def _is_bin(name: Any) -> bool:
    return str(name).startswith(_RIGHT_AT)


def _calibration(report: Any) -> Chart | None:
    """Share of pairs ranked right against the probability that the scores claim."""
    if not isinstance(report, dict):
        return None
    points = []
    for name, ends in report.items():
        if _is_bin(name) and (claimed := _number_in(str(name))) is not None:
            value, lower, upper = _ends(ends)
            points.append({"x": 100 * claimed, "value": value, "lower": lower, "upper": upper})
    if not points:
        return None
    claims = [{"x": point["x"], "value": (point["x"] or 0.0) / 100} for point in points]
    series = [{"name": "ranked right", "points": points}, {"name": "as claimed", "points": claims}]
    title = "Pairs ranked right, by the probability that the scores claim, in per cent"
    return chart({"title": title, "unit": "%", "series": series}, height=220)


def _number_in(name: str) -> float | None:
    try:
        return number(float(name.removeprefix(_RIGHT_AT)))
    except ValueError:
        return None


def _dropped(result: Mapping[str, Any]) -> Table | None:
    """Rows that were not trained on, by reason, with what there is to say of the first of each."""
    dropped, explained = result.get("dropped"), result.get("explained")
    if not isinstance(dropped, dict):
        return None
    words = explained if isinstance(explained, dict) else {}
    rows = [[str(name).replace("_", " "), n, str(words.get(name, ""))] for name, n in dropped.items() if n]
    return table({"title": "Rows dropped", "columns": ["reason", "rows", "the first"], "rows": rows}) if rows else None
