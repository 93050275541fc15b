"""Which judges write a label and nothing else, and how long that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.judges.brief import label_tokens
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.scripted import ScriptedModel

MODEL = ScriptedModel("j", lambda request: "m")
FILE = """{{# {head} #}}
{words}
{{{{ tag }}}} {{{{ user }}}}
{{% for seat in seats %}}{{% for text in seat %}}{{{{ tag }}}} {{{{ text }}}}
{{% endfor %}}{{% endfor %}}{{{{ tag }}}}
"""
PATTERN = "\nverdict_pattern: Output \\((?P<verdict>a|b)\\)\nverdict_labels: a = first, b = second\n"


@pytest.mark.parametrize(
    ("template", "options", "tokens"),
    [
        ("alpaca_eval", {}, 2),
        ("alpaca_eval", {"verdict": "logprob"}, 2),
        ("alpaca_eval", {"verdict": "logprob", "deciding_label": "last"}, None),
        ("pairwise", {"verdict": "logprob"}, 2),
        ("pairwise", {}, None),
        ("pairwise", {"verdict": "json"}, None),
        ("labels", {}, None),
        ("fastchat", {}, None),
    ],
)
def test_shipped_templates(template: str, options: dict[str, Any], tokens: int | None) -> None:
    assert label_tokens(PairwiseJudge(MODEL, template=template, **options)) == tokens


@pytest.mark.parametrize(
    ("head", "words", "tokens"),
    [
        ("parser: label", "Which is better, 1 or 2?", 2),
        ("parser: label", "Say why, then 1 or 2.", None),
        (PATTERN, "Which is best, Output (a) or Output (b)?", 4),
        (PATTERN, "Explain shortly. Which is best, Output (a) or Output (b)?", None),
    ],
)
def test_files(tmp_path: Path, head: str, words: str, tokens: int | None) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(FILE.format(head=head, words=words))
    assert label_tokens(PairwiseJudge(MODEL, template=str(path))) == tokens


def test_others_write_more_or_nothing() -> None:
    assert label_tokens(RubricJudge(MODEL)) is None
    assert label_tokens(BuiltinJudge("longest")) is None
