"""An engine without weights, with the ways to fail that vLLM has; a folder tells it when, and keeps count.

Options of a model's file: ``deaths`` (how engines end, once each: ``exit``, ``dead``, ``memory``), ``hangs`` (how often
loading hangs), ``missing`` (it cannot be loaded in this environment), ``folder`` (where counts are kept, since whoever
dies forgets).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

from arenaloop.calls.open_weights.base import Adapter, EngineSettings, Loaded
from arenaloop.errors import ConfigError
from arenaloop.types import Completion, Request, Status

POISON = "poisoned"


class EngineDeadError(Exception):
    """As vLLM's, which says by its name what it is."""


class FakeEngine:
    """Answers a question by its number and the adapter's name; judges by the answers' last digits."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings, self.more = settings, settings.more
        self.folder = Path(str(self.more["folder"]))
        self.dead = False

    async def load(self) -> Loaded:
        if self.more.get("missing"):
            raise ConfigError("vllm is not installed")
        if self._once("hang", int(self.more.get("hangs", 0))):
            await asyncio.sleep(3600)
        self._log("loaded", f"{self.settings.loras} {self.settings.lora_rank}")
        return Loaded("fake 1")

    async def answer(self, request: Request, adapter: Adapter | None) -> Completion:
        text = request.messages[-1]["content"]
        self._log("asked", request.key)
        await asyncio.sleep(0.02)  # others are in flight meanwhile
        if self.dead:
            raise EngineDeadError("EngineCore encountered an issue")
        for how in self.more.get("deaths", ()):
            if self._once(how, 1):
                if how == "exit":
                    os._exit(1)
                if how.startswith("memory"):  # as the kernel ends a process that has taken too much
                    os.kill(os.getpid(), signal.SIGKILL)
                self.dead = True
                raise EngineDeadError("EngineCore encountered an issue")
        if POISON in text and not re.search(r"answer \d+ of", text):
            raise ValueError("The prompt cannot be tokenised")
        if request.top_logprobs:  # a judge that answers by a label
            best = "1" if re.findall(r"answer \d+ of (\w+)", text)[-2] == "tuned" else "2"
            told = {label: -0.1 if label == best else -4.0 for label in "12"}
            return Completion(text=best, logprobs=(told,), tokens_in=9, tokens_out=1)
        return Completion(text=self._said(text, adapter), status=Status.OK, tokens_in=9, tokens_out=5)

    async def close(self) -> None:
        self._log("closed", "")

    def _said(self, text: str, adapter: Adapter | None) -> str:
        seen = re.findall(r"answer (\d+) of (\w+)", text)
        if len(seen) >= 2:
            first, second = (10 if who == "tuned" else 4 for _, who in seen[-2:])
            return f"They differ.\n\nScores: {first} {second}"
        number = re.findall(r"number (\d+)", text)
        return f"answer {number[-1] if number else 0} of {adapter.name if adapter else 'base'}"

    def _once(self, what: str, most: int) -> bool:
        """Whether this is to happen now; all engines of the folder together, so often at most."""
        for at in range(most):
            try:
                (self.folder / f"{what}.{at}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False

    def _log(self, what: str, text: str) -> None:
        with (self.folder / what).open("a") as file:
            file.write(f"{os.getpid()} {text}\n")
