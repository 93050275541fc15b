"""FastChat's reference answers: ``reference_answer/NAME.jsonl`` beside ``question.jsonl``, found by question id.

FastChat's judges are shown them on MT-Bench's questions of mathematics, reasoning and coding. They stand apart from the
questions, one a turn, in the form of ``model_answer``; a failed call's mark is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arenaloop.errors import InputError
from arenaloop.jsonl import row_error
from arenaloop.messages import FAILED_ANSWER
from arenaloop.models.recorded_rows import match_keys, read_answer
from arenaloop.tables import table_rows
from arenaloop.types import Prompt

__all__ = ["FOLDER", "ReferenceAnswers", "reference_answers"]

FOLDER = "reference_answer"
_FIRST = "gpt-4.jsonl"  # what FastChat publishes, and its judge is called by
_OPEN = frozenset({"writing", "roleplay", "extraction", "stem", "humanities"})
"""MT-Bench's categories in which FastChat shows its judges no reference."""


@dataclass
class ReferenceAnswers:
    """Reference answers of a file.

    Attributes:
        path: the file.
        texts: of each question, one a turn, by the keys of `models.recorded_rows.match_keys`.
        used: ids of the prompts that got one.
    """

    path: Path
    texts: Mapping[str, Sequence[str]]
    used: set[str] = field(default_factory=set)

    def of(self, prompt: Prompt) -> list[str] | None:
        """What a prompt's judges are to be shown; None where nothing, or by its category nothing is."""
        if prompt.tags.get("category") in _OPEN:
            return None
        found = next((texts for key in match_keys(prompt) if (texts := self.texts.get(key))), None)
        if found is None:
            return None
        self.used.add(prompt.id)
        return list(found)


def reference_answers(questions: Path) -> ReferenceAnswers | None:
    """Those beside a file of questions; None where there is no such folder, or nothing in it.

    Args:
        questions: the file, or the folder that holds it.

    Raises:
        InputError: a file cannot be read, a row is no answer (file and line), or it is open which of several is meant.
    """
    folder = (questions if questions.is_dir() else questions.parent) / FOLDER
    files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else []
    if not files:
        return None
    path = next((file for file in files if file.name == _FIRST), files[0])
    if len(files) > 1 and path.name != _FIRST:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder}: {len(files)} files ({names}), and judges are shown one: keep it alone")
    texts: dict[str, list[str]] = {}
    for line, row in table_rows(path):
        try:
            keys, answers = read_answer(row, str)
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        told = [text for text in answers if text is not None and text.strip() and text.strip() != FAILED_ANSWER]
        for key in keys if told else ():
            texts.setdefault(key, told)
    return ReferenceAnswers(path, texts)
