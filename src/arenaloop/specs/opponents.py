"""The parts of ``judge:FILE.yaml`` and ``battles:JUDGE.yaml#ANSWERS.jsonl``: who decides, and against which answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arenaloop.errors import ConfigError, InputError
from arenaloop.types import Prompt, Response, content_hash

if TYPE_CHECKING:
    from arenaloop.config import JudgeSettings
    from arenaloop.judges.base import Judge

__all__ = ["Opponents", "judge_settings"]


def judge_settings(spec: str, file: str) -> JudgeSettings:
    """A judge's settings from its file.

    Raises:
        ConfigError: the file is no YAML file.
    """
    from arenaloop.config import JudgeSettings, read_yaml, validate

    if not file.endswith((".yaml", ".yml")):
        raise ConfigError(f"reward {spec!r}: expected a judge's YAML file, not {file!r}")
    return validate(JudgeSettings, read_yaml(file), file)


@dataclass(frozen=True)
class Opponents:
    """Stored answers that an answer battles against, of ``battles:JUDGE.yaml#ANSWERS.jsonl``.

    Attributes:
        spec: for errors.
        judge: who decides.
        settings: its own.
        files: of the answers.
        stored: answers of each file by the keys of their prompts.
    """

    spec: str
    judge: Judge
    settings: JudgeSettings
    files: tuple[str, ...]
    stored: tuple[dict[str, tuple[str, ...]], ...]

    @classmethod
    def read(cls, spec: str, rest: str, change: Callable[[JudgeSettings], JudgeSettings] = lambda s: s) -> Opponents:
        """Read the files that a SPEC names.

        Args:
            rest: the SPEC without its kind.
            change: what becomes of the judge's settings before the judge is made of them.

        Raises:
            ConfigError: no judge of pairs or no answers are named.
            InputError: a file of answers cannot be read.
        """
        from arenaloop.judges.jury import Jury
        from arenaloop.models.recorded import RecordedModel
        from arenaloop.specs.judges import judge as build

        file, _, names = rest.partition("#")
        files = tuple(name for name in names.split(",") if name)
        if not files:
            raise ConfigError(f"reward {spec!r}: expected battles:JUDGE.yaml#ANSWERS.jsonl")
        settings = change(judge_settings(spec, file))
        judge = build(settings)
        if isinstance(judge, Jury):
            raise ConfigError(f"reward {spec!r}: one judge decides, not a jury")
        stored = tuple(
            {key: row.texts for row in RecordedModel(name, name).rows() if len(row.texts) == 1 for key in row.keys}
            for name in files
        )
        return cls(spec, judge, settings, files, stored)

    def of(self, prompt: Prompt) -> list[Response]:
        """The stored answers to a prompt.

        Raises:
            InputError: a file has none; says which.
        """
        from arenaloop.models.recorded_rows import match_keys

        found = []
        for name, theirs in zip(self.files, self.stored, strict=True):
            texts = next((theirs[key] for key in match_keys(prompt) if key in theirs), None)
            if texts is None:
                raise InputError(f"reward {self.spec!r}: {name} has no answer to {prompt.last_user[:60]!r}")
            found.append(Response(prompt.id, name, texts))
        return found

    @property
    def identity(self) -> str:
        """Content hash of judge and answers."""
        told = [sorted((key, *texts) for key, texts in theirs.items()) for theirs in self.stored]
        return content_hash("battles", self.judge.fingerprint, self.settings.reask, told)
