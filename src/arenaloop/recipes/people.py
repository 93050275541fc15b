"""What people say of the answers that a recipe compares, from a label file, beside what its evaluator says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from arenaloop.data.formats.labels import Label, LabelSet
from arenaloop.errors import InputError
from arenaloop.models.recorded_rows import match_keys
from arenaloop.terminal import counted
from arenaloop.types import Prompt, Response

__all__ = ["People", "people"]


@dataclass
class People:
    """People's labels, by the prompt that they are about.

    Attributes:
        path: the file.
        labels: of each evaluation prompt, by its id.
        elsewhere: labels about other prompts. `empty`: labels without a preference.
    """

    path: str
    labels: Mapping[str, Sequence[Label]]
    elsewhere: int = 0
    empty: int = 0
    _used: set[int] = field(default_factory=set)

    def score(self, prompt: Prompt, mine: Response, against: Response) -> float | None:
        """What people give the first of two answers, a share in [0, 1]; None where nobody said.

        Labels are found by both texts. Equal answers are a tie, on prompts that people saw: else those that nobody
        labelled would draw every method towards a half.
        """
        about = self.labels.get(prompt.id, ())
        if mine.texts == against.texts:
            return 0.5 if about else None
        said, either = [], ((mine.texts, against.texts), (against.texts, mine.texts))
        for label in about:
            if label.preference is not None and label.outputs in either:
                self._used.add(label.line)
                share = 2.0 - label.preference
                said.append(share if label.outputs[0] == mine.texts else 1.0 - share)
        return sum(said) / len(said) if said else None

    @property
    def given(self) -> int:
        """Labels about evaluation prompts that have a preference."""
        return sum(len(some) for some in self.labels.values())

    @property
    def used(self) -> int:
        """Those of them that were found to be about answers of this run."""
        return len(self._used)

    @property
    def unmatched(self) -> Label | None:
        """The first label about answers that nobody gave here."""
        return next((one for some in self.labels.values() for one in some if one.line not in self._used), None)

    def told(self) -> str:
        """The file in a few words."""
        rest = [f"{self.elsewhere:,} about other prompts"] if self.elsewhere else []
        rest += [f"{self.empty:,} without a preference"] if self.empty else []
        return f"people: {counted(self.given, 'label')}" + (f" ({', '.join(rest)})" if rest else "")


def people(path: str, found: LabelSet, prompts: Sequence[Prompt]) -> People:
    """People's labels that are about these prompts.

    Raises:
        InputError: none of them is.
    """
    ids = {key: prompt.id for prompt in prompts for key in match_keys(prompt)}
    labels: dict[str, list[Label]] = {}
    elsewhere = empty = 0
    for label in found:
        prompt_id = next((ids[key] for key in match_keys(label.prompt) if key in ids), None)
        if prompt_id is None:
            elsewhere += 1
        elif label.preference is None:
            empty += 1
        else:
            labels.setdefault(prompt_id, []).append(label)
    if not labels:
        why = f"{elsewhere:,} ask other prompts" if elsewhere else "none has a preference"
        raise InputError(f"data.people: {path}: no label is about a prompt of data.evaluation ({why})")
    return People(path, labels, elsewhere, empty)
