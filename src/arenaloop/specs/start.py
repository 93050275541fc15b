"""SPEC of a target → where its training starts: weights that are there, or the sandbox's fresh tiny model.

Also what is made of a checkpoint on the way: contestants, and judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from arenaloop.calls.answers import Contestant
from arenaloop.config import JudgeSettings, TargetSettings
from arenaloop.errors import ConfigError, MissingExtraError, StorageError
from arenaloop.models.size import Size, size_of
from arenaloop.specs.models import local_model, shown, weights
from arenaloop.specs.served import TargetServer, server_of
from arenaloop.types import content_hash

J = TypeVar("J")

__all__ = ["Start", "contestant_of", "judge_of", "start"]


@dataclass(frozen=True)
class Start:
    """Weights on this machine or on a hub: hf:ID_OR_PATH."""

    target: TargetSettings

    @property
    def path(self) -> str:
        """A local path or hub id; of a GGUF file, what it is converted to."""
        return weights(self.target.model.partition(":")[2])

    @property
    def size(self) -> Size | None:
        """How many parameters there are, as far as that is known without a look at a hub."""
        return size_of(self.path)

    @cached_property
    def fingerprint(self) -> str:
        """What identifies the weights."""
        from arenaloop.models.checkpoint import checkpoint_fingerprint

        return checkpoint_fingerprint(self.path, self.target.revision)

    @property
    def window(self) -> int | None:
        """The context window in tokens, where the weights state it; those of a hub are not looked up."""
        from arenaloop.models.checkpoint import stated_window

        return stated_window(Path(self.path))

    @cached_property
    def tokenizer(self) -> Any:
        """What the model reads texts as."""
        from arenaloop.models.checkpoint import load_tokenizer

        return load_tokenizer(self.path, self.target.revision)

    def tokens(self, text: str) -> int:
        """How many tokens the model reads a text as."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def check(self, *, dry: bool = False) -> None:
        """Refuse a target that cannot be trained as a chat model, before anything is asked or written.

        Args:
            dry: nothing is looked up on a hub.
        """
        from arenaloop.models.checkpoint import require_chat_template

        local_model(self.path, self.target, None)
        if not dry or Path(self.path).is_dir():
            require_chat_template(self.path, self.target.revision)

    def prepare(self) -> None:
        """Make the weights where they are not there yet; those of a path or hub are."""


@dataclass(frozen=True)
class _FreshTarget(Start):
    """The sandbox's untrained target, made below the run directory: sandbox:target."""

    seed: int
    out: Path

    @property
    def path(self) -> str:
        # named by what it is made from: a directory that is used again with another seed gets a start of its own
        return str(self.out / "checkpoints" / f"start-{self.fingerprint[:8]}")

    @cached_property
    def fingerprint(self) -> str:
        return content_hash("sandbox:target", self.seed, self.target.options)

    @property
    def size(self) -> Size:
        from arenaloop.sandbox.target import parameters

        return Size(parameters(**self.target.options), "by its sizes")

    @property
    def window(self) -> int:
        from arenaloop.sandbox.target import WINDOW

        return WINDOW

    @cached_property
    def tokenizer(self) -> Any:
        from arenaloop.sandbox.target import build_tokenizer

        return build_tokenizer(marks=bool(self.target.options.get("marks", False)))

    def check(self, *, dry: bool = False) -> None:
        from arenaloop.sandbox.target import check_sizes

        try:
            check_sizes(**self.target.options)
        except TypeError as error:
            raise ConfigError(f"target.options {shown(self.target.options)}: {error}") from None

    def prepare(self) -> None:
        if Path(self.path).is_dir():
            return
        from safetensors import SafetensorError

        from arenaloop.sandbox.target import build_target

        temporary = Path(self.path + ".partial")
        try:
            build_target(temporary, self.seed, **self.target.options)
            temporary.rename(self.path)
        except (OSError, SafetensorError) as error:
            raise StorageError(f"{self.path}: {error}") from error


def start(target: TargetSettings, seed: int, out: Path) -> Start:
    """Where a target's training starts; a fresh target is drawn of the run's seed, and made below its directory.

    Raises:
        MissingExtraError: what training needs is not installed.
        ConfigError: no such kind of target.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers", "safetensors")):
        raise MissingExtraError("training", "train")
    kind, _, rest = target.model.partition(":")
    if kind == "hf" and rest:
        return Start(target)
    if target.model == "sandbox:target":
        return _FreshTarget(target, seed, out)
    raise ConfigError(f"target.model {target.model!r}: expected hf:ID_OR_PATH or sandbox:target")


def contestant_of(target: TargetSettings, server: TargetServer | None = None) -> Callable[[str, Path], Contestant]:
    """Makes a contestant of a checkpoint under a name; `server`: the target's own, where others ask it too."""
    server = server or server_of(target)

    def make(name: str, checkpoint: Path) -> Contestant:
        if server is not None:
            return Contestant(name, server.model(name, checkpoint), target.sampling.build())
        return Contestant(name, local_model(str(checkpoint), target, name), target.sampling.build())

    return make


def judge_of(
    settings: JudgeSettings, build: Callable[..., J], server: TargetServer | None = None
) -> Callable[[str, Path], J]:
    """Makes a judge of a checkpoint under a name: for a model that judges as well as it answers.

    Args:
        settings: template, verdict mode, sampling, chunk size and device; the SPEC in it is not looked at.
        build: what kind of judge, `judges.judge` or, also behind a server, `judges.pointwise` or `judges.meta`.
        server: the target's own, where it answers in this process's place.
    """

    def make(name: str, checkpoint: Path) -> J:
        own = settings.model_copy(update={"spec": f"hf:{checkpoint}", "name": name, "revision": None})
        return build(own) if server is None else build(own, server.model(name, checkpoint))

    return make
