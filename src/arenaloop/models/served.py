"""A checkpoint of a training that a server answers for, in the place of this process.

What it says is known by its weights, not by the server's URL or the name that it has there: the model that is trained
again under an old name is another one, and a server that moves is the same.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import Any

from arenaloop.errors import EndpointDownError
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.types import Completion, Request, content_hash

__all__ = ["Loader", "ServedModel", "filled_in"]

_TOLD = 300
"""Characters of what a command has said last that its failure is told with."""


def filled_in(text: str, stage: str, checkpoint: str) -> str:
    """A text of the settings for one model: ``{stage}`` is its name, ``{checkpoint}`` where its weights are."""
    return text.replace("{stage}", stage).replace("{checkpoint}", checkpoint)


class Loader:
    """Has one server serve one checkpoint at a time, by commands of the user's.

    Args:
        load: run before a checkpoint is asked that the server does not serve yet.
        unload: run when nobody asks any more, so that what it held is free for the training.
    """

    def __init__(self, load: str, unload: str | None = None) -> None:
        self._load, self._unload = load, unload
        self._serves: tuple[str, str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free = asyncio.Condition()
        self._asking = 0

    @asynccontextmanager
    async def serving(self, stage: str, checkpoint: str) -> AsyncIterator[None]:
        """A time in which the server serves this checkpoint; those of others are waited for.

        Raises:
            EndpointDownError: the command failed.
        """
        loop, wanted = asyncio.get_running_loop(), (stage, checkpoint)
        if self._loop is not loop:
            self._loop, self._free, self._asking = loop, asyncio.Condition(), 0
        async with self._free:
            await self._free.wait_for(lambda: self._serves == wanted or not self._asking)
            if self._serves != wanted:
                self._serves = None
                await asyncio.to_thread(_run, self._load, stage, checkpoint)
                self._serves = wanted
            self._asking += 1
        try:
            yield
        finally:
            async with self._free:
                self._asking -= 1
                self._free.notify_all()

    async def over(self) -> None:
        """Nobody asks any more; a server that is to be unloaded is."""
        if self._unload is None or self._serves is None or self._asking:
            return
        (stage, checkpoint), self._serves = self._serves, None
        await asyncio.to_thread(_run, self._unload, stage, checkpoint)


class ServedModel(OpenAIModel):
    """A checkpoint behind an OpenAI-compatible server; arguments as of `OpenAIModel`.

    Args:
        weights: content hash of the checkpoint.
        checkpoint: where it is.
        loader: what has the server serve it; None where it does by itself.
    """

    def __init__(
        self, name: str, model: str, base_url: str, *, weights: str, checkpoint: str, loader: Loader | None, **more: Any
    ) -> None:
        super().__init__(name, model, base_url, **more)
        self.path, self._loader = checkpoint, loader
        self.fingerprint = content_hash(
            "served", weights, self.system, self.extra_body, sorted(self.drop_params), self.send_seed
        )

    async def complete(self, request: Request) -> Completion:
        """See `OpenAIModel.complete`."""
        if self._loader is None:
            return await super().complete(request)
        async with self._loader.serving(self.name, self.path):
            return await super().complete(request)

    async def complete_samples(self, requests: Sequence[Request]) -> list[Completion]:
        """See `OpenAIModel.complete_samples`."""
        if self._loader is None:
            return await super().complete_samples(requests)
        async with self._loader.serving(self.name, self.path):
            return await super().complete_samples(requests)

    async def aclose(self) -> None:
        """Close the connections, and tell the loader that nobody asks any more."""
        await super().aclose()
        if self._loader is not None:
            await self._loader.over()


def _run(command: str, stage: str, checkpoint: str) -> None:
    """Run a command to its end.

    Raises:
        EndpointDownError: it cannot be started, or failed.
    """
    words = [filled_in(word, stage, checkpoint) for word in shlex.split(command)]
    with TemporaryFile("w+", errors="replace") as said:  # no pipe, which a server that it leaves behind would hold
        try:
            code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False).returncode  # noqa: S603
        except OSError as error:
            raise EndpointDownError(f"{words[0]}: {error.strerror} (target.server)") from None
        said.seek(0)
        told = " ".join(said.read().split())[-_TOLD:]
    if code:
        raise EndpointDownError(f"{' '.join(words)} ended with {code}: {told or 'it said nothing'}")
