"""Answers that people have labelled: scores of single ones, rankings of several, or preferences between two.

What judges are checked against where the truth is known of some answers alone. One reader for the field's three forms:
conversations with a ``score`` or a ``judgement`` (as `eft`), message trees with ranked replies (as `ranked_replies`),
and labelled pairs (as `formats.labels`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from arenaloop.data.formats.labels import labelled_pairs, read_labels
from arenaloop.data.formats.training_rows import read_conversation
from arenaloop.data.ranked_replies import read_trees
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error
from arenaloop.tables import table_rows
from arenaloop.types import Prompt, Response, content_hash

__all__ = ["LabelledAnswers", "read_labelled_answers"]

_ANNOTATED = ("score", "judgement")


@dataclass
class LabelledAnswers:
    """Labelled answers.

    Attributes:
        answers: each with its prompt, no text of a prompt twice.
        scores: of each, on the scale of those who gave them; None where it was only compared.
        better: (index of the better answer, of the worse one) of every pair of one prompt whose order is known.
        dropped: what of the file is left out, by reason.
    """

    answers: list[tuple[Prompt, Response]] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    better: list[tuple[int, int]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    _at: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, prompt: Prompt, texts: tuple[str, ...], score: float | None = None) -> int:
        """Take in an answer that may be there; its index."""
        response = Response(prompt.id, "people", texts)
        at = self._at.setdefault((prompt.id, response.text_hash), len(self.answers))
        if at == len(self.answers):
            self.answers.append((prompt, response))
            self.scores.append(score)
        return at

    @property
    def identity(self) -> str:
        """Hash of the answers and of what is known of them."""
        texts = [[prompt.id, response.text_hash] for prompt, response in self.answers]
        return content_hash(texts, self.scores, self.better)

    @property
    def scored(self) -> list[int]:
        """Indices of the answers that have a score."""
        return [at for at, score in enumerate(self.scores) if score is not None]


def read_labelled_answers(path: str | Path, read: Callable[[str], float | None]) -> LabelledAnswers:
    """Read a file of labelled answers, whichever of the forms it has.

    Args:
        path: the file; its first row tells the form.
        read: the score in the words of a ``judgement``; None where it holds none.

    Raises:
        InputError: as of the form's own reader; a row has no score that could be read; two rows give one answer
            different scores; or no two answers of one prompt differ.
    """
    path = Path(path)
    _, first = next(iter(table_rows(path)), (0, {}))
    if isinstance(first.get("prompt"), Mapping):
        trees = read_trees(path)
        found = LabelledAnswers(dropped=trees.dropped)
        for one in trees.prompts:
            found.better += combinations([found.add(one.prompt, (text,)) for text in one.replies], 2)
    elif any(name in first for name in _ANNOTATED) or _is_answered(first):
        found = _scored(path, table_rows(path), read)
    else:
        found = _preferred(path)
    if not found.better:
        raise InputError(f"{path}: no two answers of one prompt that people did not find equally good")
    return found


def _is_answered(row: Mapping[str, Any]) -> bool:
    """Whether a row is one conversation with its answer, which lacks but what people said of it."""
    turns = row.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns else None
    return isinstance(last, Mapping) and last.get("role") == "assistant"


def _scored(path: Path, rows: Iterable[tuple[int, JsonRow]], read: Callable[[str], float | None]) -> LabelledAnswers:
    found = LabelledAnswers()
    for line, row in rows:
        try:
            score = _score_of(row, read)
            turns = read_conversation({key: value for key, value in row.items() if key not in _ANNOTATED})
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        *asked, said = [*turns.prompt, *turns.completion]
        prompt = Prompt(tuple(dict(turn) for turn in asked))
        at = found.add(prompt, (said["content"],), score)
        if found.scores[at] != score:
            raise row_error(path, line, f"an earlier row gives this answer the score {found.scores[at]:g}")
    by_prompt: dict[str, list[int]] = {}
    for at, (prompt, _) in enumerate(found.answers):
        by_prompt.setdefault(prompt.id, []).append(at)
    for members in by_prompt.values():
        for one, other in combinations(members, 2):
            ahead = (found.scores[one] or 0.0) - (found.scores[other] or 0.0)
            if ahead:
                found.better.append((one, other) if ahead > 0 else (other, one))
    return found


def _score_of(row: Mapping[str, Any], read: Callable[[str], float | None]) -> float:
    score = row.get("score")
    if score is None:
        said = row.get("judgement")
        score = read(said) if isinstance(said, str) else None
        if score is None:
            raise ValueError("neither a score nor a judgement with one")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(f"score {score!r} is no number")
    return float(score)


def _preferred(path: Path) -> LabelledAnswers:
    """Of each pair what most people prefer; pairs of which as many prefer either have no order."""
    found = LabelledAnswers()
    for pair in labelled_pairs(read_labels(path)):
        one, two = (found.add(pair.prompt, texts) for texts in pair.outputs)
        lean = sum(pair.votes) / len(pair.votes) - 1.5 if pair.votes else 0.0
        if lean:
            found.better.append((one, two) if lean < 0 else (two, one))
    return found
