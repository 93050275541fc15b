"""Why a judge's answers cannot be read: what was expected of them, and the template or mode that would read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from arenaloop.judges.answer_lines import Form
from arenaloop.judges.parsers import VerdictMode, parser_for
from arenaloop.judges.templates import JudgeTemplate, load_template, template_names
from arenaloop.terminal import counted
from arenaloop.types import Completion, Status

__all__ = ["UNREAD", "Unread", "expected", "fitting", "why_unread"]

UNREAD = frozenset({Status.UNPARSED, Status.TRUNCATED, Status.EMPTY})
"""How calls end whose answers cannot be read."""

_LINES: dict[Form, str] = {
    "scores": "a last line like “Scores: 7 5”",
    "first_line": "a first line like “Scores: 7 5”",
    "labels": "a last line like “[[A>B]]”",
    "label": "a last line that is “1” or “2”",
    "json": "one JSON object with both scores",
    "score": "a last line like “Score: 4”",
    "score_10": "a last line like “Score: 7”",
    "category": "a last line like “Category: math”",
    "winner": "a last line like “Winner: A”",
    "choices": "a last line like “Choices: 1 2 2”",
}
_CLIP = 120  # characters of an answer that are shown
_ENOUGH = 0.5  # share of the answers that another form has to read


class Unread(NamedTuple):
    """An answer that could not be read: how its call ended, and its text."""

    status: Status
    raw: str


def expected(form: Form, mode: VerdictMode) -> str:
    """What an answer of a form has to hold in a verdict mode, in words."""
    if mode == "json":
        return "one JSON object and nothing else"
    return "a label with log-probabilities" if mode == "logprob" else _LINES.get(form, f"the form {form}")


def fitting(template: JudgeTemplate, mode: VerdictMode, texts: Sequence[str]) -> str | None:
    """The shipped template or the mode by which most of some answers can be read; None where there is none."""
    for name, form, other in _others(template, mode):
        if form == "pattern":  # it says what it reads in its own head
            continue
        parser = parser_for(form, other)
        read = sum(parser.read(Completion(text=text)) is not None for text in texts)
        if texts and read >= _ENOUGH * len(texts):
            return f"verdict: {other}" if form == template.form else f"template: {name}"
    return None


def _others(template: JudgeTemplate, mode: VerdictMode) -> Iterator[tuple[str, Form, VerdictMode]]:
    """Forms that answers about the same material may have, but for the own one: the own template's come first."""
    own = [(template.name, template.form, one) for one in template.modes if one not in (mode, "logprob")]
    yield from own
    for name in template_names(template.layout):
        other = load_template(name, layout=template.layout)
        if other.form != template.form and "text" in other.modes:
            yield name, other.form, "text"


def why_unread(judge: Any, answers: Sequence[Unread]) -> str:
    """One line: that none of a judge's first answers could be read, an example, what was expected, and what would fit.

    Args:
        judge: whoever was asked.
        answers: how the calls ended, in order; there is one at least.
    """
    told = f"judge {judge.name}: none of its first {counted(len(answers), 'answer')} could be read; for example "
    told += f"“{_example(answers)}”"
    asking = judge if hasattr(judge, "template") else getattr(judge, "_judge", judge)
    template: object = getattr(asking, "template", None)
    mode: VerdictMode = getattr(asking, "verdict", "text")
    if not isinstance(template, JudgeTemplate):
        return f"{told}; take another judge or template"
    told += f", where {expected(template.form, mode)} was expected (template {template.name}"
    told += ")" if mode == "text" else f", verdict {mode})"
    if (fits := fitting(template, mode, [one.raw for one in answers])) is not None:
        return f"{told}; {fits} reads such answers"
    status = Counter(one.status for one in answers).most_common(1)[0][0]
    if status is Status.TRUNCATED:
        return f"{told}; most were cut at {asking.sampling.max_tokens:,} tokens: set the judge's sampling.max_tokens"
    if status is Status.EMPTY:
        return f"{told}; most hold no text: one that thinks before it answers needs more sampling.max_tokens"
    if mode == "text" and "json" in template.modes:
        return f"{told}; verdict: json has a server keep to a form, where it can"
    return f"{told}; take another judge or template"


def _example(answers: Sequence[Unread]) -> str:
    """How the first answer with a text ends."""
    text = next((one.raw for one in answers if one.raw.strip()), "")
    line = " ".join(text.rstrip().rsplit("\n", 1)[-1].split())
    return line if len(line) <= _CLIP else f"…{line[-_CLIP:]}"
