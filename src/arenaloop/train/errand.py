"""The folder by which a run and the processes that train for it speak: on one machine, or on a shared file system.

    job.json            what is to be trained, and by how many processes (`Errand`)
    rows.jsonl          the rows
    alive               a word that the run renews while it waits, and that is this start's own; who finds another one,
                        or the same for too long, ends: the run is gone, or has begun again
    steps.jsonl         how far the first process is, a line each time
    ask-N.json          answers that it wants scores of, and told-N.json: the scores
    rank-R.json         how process R began, and how it ended
    rank-R.log          what it has printed
    launcher.log        what whoever started them has printed
    result.json         what the training gave

Nothing here knows torch. Files that others wait for are put into place whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, StoppedError
from arenaloop.jsonl import replacing
from arenaloop.models.reward import Reward
from arenaloop.regular_files import read_regular

__all__ = ["GONE_AFTER", "Errand", "Folder"]

GONE_AFTER = 120.0
"""Seconds after which a run that does not renew its word is taken to be gone."""

_POLL = 0.05  # seconds


@dataclass(frozen=True)
class Errand:
    """One training, as the processes that do it are told.

    Attributes:
        method, start, out, seed, revision: as of `methods.training`; paths are absolute.
        settings: of the method, as JSON.
        reward: identity of the reward, which the run itself asks; None of methods without one.
        keep_other: as of `methods.training`.
        world: how many processes train.
        word: that stands in ``alive``.
    """

    method: str
    start: str
    out: str
    settings: Mapping[str, Any]
    seed: int
    revision: str | None
    reward: str | None
    keep_other: bool
    world: int
    word: str


class Folder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def rows(self) -> Path:
        """The rows' file."""
        return self.path / "rows.jsonl"

    @property
    def steps(self) -> Path:
        """The file of how far it is."""
        return self.path / "steps.jsonl"

    def log(self, rank: int) -> Path:
        """What a process has printed."""
        return self.path / f"rank-{rank}.log"

    @property
    def launcher_log(self) -> Path:
        """What whoever starts the processes has printed."""
        return self.path / "launcher.log"

    def write(self, name: str, value: Any) -> None:
        """Put a JSON document into its place, whole."""
        with replacing(self.path / name) as file:
            file.write(json.dumps(value).encode())

    def read(self, name: str) -> Any | None:
        """A JSON document; None where there is none."""
        try:
            return json.loads(read_regular(self.path / name))
        except (OSError, ValueError):
            return None

    # ------------------------------------------------------------------ the training

    def put(self, errand: Errand) -> None:
        """Say what is to be trained."""
        self.write("job.json", asdict(errand))

    def errand(self) -> Errand:
        """What is to be trained.

        Raises:
            ConfigError: it is not there: the folder is not shared, or another version wrote it.
        """
        found = self.read("job.json")
        if not isinstance(found, dict) or {*found} != {each.name for each in fields(Errand)}:
            raise ConfigError(f"{self.path / 'job.json'} cannot be read here: every node needs the same run directory")
        return Errand(**found)

    def renew(self, word: str, beat: int) -> None:
        """Say that the run is there."""
        self.write("alive", [word, beat])

    # ------------------------------------------------------------------ processes

    def began(self, rank: int, **told: object) -> None:
        """Say that a process has begun."""
        self.write(f"rank-{rank}.json", {"rank": rank, "at": time.time(), **told})

    def ended(self, rank: int, kind: str, text: str) -> None:
        """Say how a process has ended: ``done``, ``refused``, ``stopped``, ``gone`` (another one is), ``failed``."""
        told = self.read(f"rank-{rank}.json") or {"rank": rank}
        self.write(f"rank-{rank}.json", {**told, "end": kind, "text": text, "ended": time.time()})

    def processes(self) -> list[dict[str, Any]]:
        """Those that began, by rank; without ``end`` those that were killed, or have not ended."""
        found = [self.read(path.name) for path in self.path.glob("rank-*.json")]
        return sorted((each for each in found if isinstance(each, dict)), key=lambda each: int(each["rank"]))

    # ------------------------------------------------------------------ scores

    def asking(self, identity: str) -> Reward:
        """A reward that is asked here and scored by the run, for the first process."""
        asked = 0

        def ask(question: Mapping[str, Any]) -> Any:
            nonlocal asked
            asked += 1
            self.write(f"ask-{asked}.json", question)
            while (told := self.read(f"told-{asked}.json")) is None:
                time.sleep(_POLL)
            if "error" in told:
                raise (ConfigError if told["refused"] else StoppedError)(told["error"])
            return told["scores"]

        def score(prompts: Sequence[list[dict[str, str]]], answers: Sequence[str]) -> list[float | None]:
            return list(ask({"prompts": [list(each) for each in prompts], "answers": list(answers)}))

        return Reward(score, identity, lambda: ask({"probe": True}))
