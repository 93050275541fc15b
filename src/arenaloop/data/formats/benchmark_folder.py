"""What stands beside judgments where FastChat and Arena-Hard keep them: ``question.jsonl`` and ``model_answer``.

Both lay a benchmark out as ``NAME/question.jsonl``, ``NAME/model_answer/…`` and ``NAME/model_judgment/…``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["answered_models", "judgments_below", "question_file"]

_JUDGMENTS = "model_judgment"


def question_file(path: Path) -> Path | None:
    """The questions that judgments are about; `path` is theirs. None where there are none beside them."""
    found = None if (folder := _folder(path)) is None else folder / "question.jsonl"
    return found if found is not None and found.is_file() else None


def answered_models(path: Path) -> frozenset[str]:
    """Names of the models whose answers are kept beside judgments; empty where none are."""
    if (folder := _folder(path)) is None:
        return frozenset()
    return frozenset(one.stem for one in (folder / "model_answer").rglob("*.jsonl"))


def judgments_below(path: Path) -> Path | None:
    """Where the judgments are of a directory that is a whole benchmark; None where it is none."""
    there = path / _JUDGMENTS
    return there if there.is_dir() else None


def _folder(path: Path) -> Path | None:
    """The directory of the benchmark that judgments belong to."""
    if judgments_below(path) is not None:
        return path
    return next((one.parent for one in (path, *path.absolute().parents) if one.name == _JUDGMENTS), None)
