"""How many tokens a judge's answer needs where it is a label and nothing else."""

from __future__ import annotations

import math
import re

from arenaloop.judges.answer_lines import SEATS
from arenaloop.judges.asking import TemplateJudge
from arenaloop.judges.templates import words_of

__all__ = ["label_tokens"]

_CHARACTERS_PER_TOKEN = 4  # of a label, which has few
_MORE = re.compile(
    r"(?i)\b(explain|explanation|reason|rationale|justif|why\b|compar|analy|assess|evaluat|critique|feedback|discuss|"
    r"describe|think|thought|step|brief|short)"
)
"""What a template says that wants more than the label; whoever writes its criteria so is taken to want more, too."""
_GROUP = re.compile(r"\(\?P?<verdict>(?:\[[^\]]*\]|[^()])*\)")


def label_tokens(judge: object) -> int | None:
    """The tokens of a label and of what ends it; None of judges that write more, or may.

    The label decides alone in mode ``logprob`` (where it is the first one that decides). In mode ``text`` it does where
    the form is a label, or a pattern of labels, and none of the template's words asks for anything besides.
    """
    if not isinstance(judge, TemplateJudge):
        return None
    if judge.verdict == "logprob":
        return None if judge.explain else _tokens(max(map(len, judge.parser.labels), default=1))
    pattern, form = judge.template.verdict_pattern, judge.template.form
    if judge.verdict != "text" or not (form == "label" or (pattern is not None and pattern.labels)):
        return None
    if _MORE.search(words_of(judge.template, judge.verdict)):
        return None
    if pattern is None:
        return _tokens(max(map(len, SEATS)))
    beside = re.sub(r"\\(.)", r"\1", _GROUP.sub("", pattern.pattern))
    return _tokens(len(beside) + max(len(label) for label, _ in pattern.labels))


def _tokens(characters: int) -> int:
    return math.ceil(characters / _CHARACTERS_PER_TOKEN) + 1
