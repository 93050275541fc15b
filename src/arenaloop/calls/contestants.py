"""Who answers: a model under a name, its decoding, and which of its samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from arenaloop.models.base import ChunkedModel, Model
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.recorded import RecordedModel
from arenaloop.types import Sampling

__all__ = ["Contestant", "samples_of"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model in the arena, under the name that leaderboards show, and how it decodes.

    Attributes:
        sample: index of this contestant's answers among several of the same model to the same prompt.
        part_of: the name of the best-of-n contestant among whose samples this one is.
    """

    name: str
    model: Model | RecordedModel | BestOfN
    sampling: Sampling = field(default_factory=Sampling)
    sample: int = 0
    part_of: str = ""

    @property
    def asked(self) -> Model | None:
        """The model that is asked, or None if its answers are recorded and nothing can be asked."""
        if isinstance(self.model, BestOfN):
            return self.model.model
        return None if isinstance(self.model, RecordedModel) else self.model

    @property
    def drawn(self) -> list[Contestant]:
        """Whose answers are asked for this one's: of the best of n its samples, else itself."""
        if not isinstance(self.model, BestOfN):
            return [self]
        best, first = self.model, self.sample * self.model.n
        one = replace(self, model=best.model, part_of=self.name)
        return [replace(each, sample=first + each.sample) for each in samples_of(one, best.n)]

    @property
    def local(self) -> bool:
        """Whether it answers in chunks on this machine."""
        return isinstance(self.model, ChunkedModel)

    @property
    def identity(self) -> list[object]:
        """What decides its answers, for keys of plans and stages."""
        return [self.name, self.model.fingerprint, self.sampling.key(), *([self.sample] if self.sample else [])]


def samples_of(contestant: Contestant, samples: int) -> list[Contestant]:
    """K contestants that are K samples of one model: ``NAME#1`` to ``NAME#K``."""
    return [replace(contestant, name=f"{contestant.name}#{n + 1}", sample=n) for n in range(samples)]
