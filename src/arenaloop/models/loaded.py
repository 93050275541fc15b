"""A local model in memory: requests to tokens, and new tokens to completions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arenaloop.models.chat import ChatTokens
from arenaloop.models.decoding import Continuation
from arenaloop.models.openai_wire import with_system
from arenaloop.models.reasoning import opened_by, part_reasoning
from arenaloop.models.reasoning_tags import FAMILIES, Tags
from arenaloop.normal_form import is_blank
from arenaloop.types import Completion, Request, Status, derive_seed

__all__ = ["Loaded"]

_TAIL = 32  # tokens at the end of a prompt, in which a chat template may open a block of reasoning


@dataclass(slots=True)
class Loaded:
    """A model in memory, what ends its turns, and how many tokens it takes."""

    module: Any
    tokenizer: Any
    chat: ChatTokens
    system: str | None
    end_ids: frozenset[int]
    window: int | None
    tags: tuple[Tags, ...] | None = None

    def prepare(self, request: Request) -> Continuation | Completion:
        """Tokenise a request, or say why it cannot be answered."""
        try:
            messages = request.messages if self.system is None else with_system(request.messages, self.system)
            prompt = self.chat.tokens(self.chat.render(messages, prompt=True) + request.prefill)
        except Exception as error:  # templates raise jinja2 errors of many kinds
            return Completion(status=Status.ERROR, error=f"the chat template refuses it: {error}", usd=0.0, calls=0)
        room = request.sampling.max_tokens if self.window is None else self.window - len(prompt)
        if room < 1:
            return Completion(
                status=Status.ERROR,
                error=f"the prompt has {len(prompt)} tokens, the context window {self.window}",
                tokens_in=len(prompt),
                usd=0.0,
                calls=0,
            )
        limit, sampling = min(room, request.sampling.max_tokens), request.sampling
        row = Continuation(prompt, limit, sampling.temperature, sampling.top_p, alternatives=request.top_logprobs)
        if sampling.temperature > 0:
            row.seed = derive_seed(
                "decode", request.seed, request.key or [dict(m) for m in request.messages], request.sample
            )
        if request.labels:
            row.look_after = functools.partial(self._begins_label, self._of_two_tokens(request.labels))
        if sampling.stop:
            row.stops = functools.partial(self._stopped, sampling.stop)
        return row

    def _stopped(self, stops: Sequence[str], tokens: list[int]) -> bool:
        """Whether one of the stop strings ends with the last of the tokens."""
        # a character may take several tokens, never more than four in byte-level vocabularies
        tail = self.tokenizer.decode(tokens[-4 * max(map(len, stops)) - 4 :], skip_special_tokens=True)
        return any(stop in tail for stop in stops)

    def _of_two_tokens(self, labels: Sequence[str]) -> frozenset[str]:
        """The labels that this tokenizer writes as two tokens, of which the first may be a label by itself."""
        return frozenset(
            label for label in labels if label[:1] in labels and len(self.chat.tokens(label, inside=True)) == 2
        )

    def _begins_label(self, labels: frozenset[str], likeliest: Sequence[tuple[int, float]]) -> int | None:
        """The likeliest token that one of these labels begins with; None where none is listed."""
        begins = {label[:1] for label in labels}
        return next((token for token, _ in likeliest if self.tokenizer.decode([token]).strip() in begins), None)

    def _logprobs(self, row: Continuation, labels: Sequence[str]) -> tuple[dict[str, float], ...] | None:
        """The likeliest alternatives of each token by their text, those of one text added up.

        Where a label of two tokens may begin, it is one alternative, of the probability of both; the second token is
        then none of the tokens.
        """
        if not row.alternatives:
            return None
        whole = self._of_two_tokens(labels)
        out: list[dict[str, float]] = []
        second = -1
        for step, likeliest in enumerate(row.likeliest):
            if step == second:
                continue
            told: dict[str, float] = {}
            for token, logprob in likeliest:
                text = self.tokenizer.decode([token])
                if step in row.looked and token == row.looked[step][0]:
                    for said, more in self._parted_label(text.strip(), row.looked[step][1], whole).items():
                        told[said] = float(np.logaddexp(told.get(said, -np.inf), logprob + more))
                    going_on = row.tokens[step] == token and step + 1 < len(row.tokens)
                    if going_on and text.strip() + self.tokenizer.decode([row.tokens[step + 1]]).strip() in whole:
                        second = step + 1
                    continue
                told[text] = float(np.logaddexp(told.get(text, -np.inf), logprob))
            out.append(told)
        return tuple(out)

    def _parted_label(
        self, begun: str, following: Sequence[tuple[int, float]], labels: frozenset[str]
    ) -> dict[str, float]:
        """Log-probabilities, once a text has begun, of the labels that begin with it and of the text alone."""
        told: dict[str, float] = {}
        for token, logprob in following:
            text = self.tokenizer.decode([token])
            if begun + text.rstrip() in labels:
                label = begun + text.rstrip()
                told[label] = float(np.logaddexp(told.get(label, -np.inf), logprob))
        alone = -sum(float(np.exp(logprob)) for logprob in told.values())
        return told | {begun: float(np.log1p(max(alone, -1.0 + 1e-12)))}

    def finish(self, row: Continuation, request: Request, seconds: float) -> Completion:
        """A row's completion; the end-of-turn token is counted but is not text."""
        if row.error is not None:
            return Completion(status=Status.ERROR, error=row.error, tokens_in=len(row.prompt), usd=0.0, seconds=seconds)
        out = row.tokens[:-1] if row.tokens[-1] in self.end_ids else row.tokens
        reasoning, text = self._parted(out, row.prompt, request)
        stops = request.sampling.stop
        found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
        text = text[: min(found)] if found else text
        truncated = row.finish_reason == "length"
        return Completion(
            text=text,
            status=Status.TRUNCATED if truncated else Status.EMPTY if is_blank(text) else Status.OK,
            finish_reason=row.finish_reason,
            reasoning=reasoning,
            tokens_in=len(row.prompt),
            tokens_out=len(row.tokens),
            logprobs=self._logprobs(row, request.labels),
            usd=0.0,
            seconds=seconds,
        )

    def _parted(self, out: Sequence[int], prompt: Sequence[int], request: Request) -> tuple[str | None, str]:
        """Reasoning and answer in new tokens; the rendered prompt tells whether the chat template opened a block."""
        decode, tags = self.tokenizer.decode, FAMILIES if self.tags is None else self.tags
        special = set(self.tokenizer.all_special_tokens)
        marked = any(part in special for tag in tags for part in tag)  # its tags are control tokens
        text = decode(out, skip_special_tokens=not marked)
        opened = opened_by(decode(prompt[-_TAIL:], skip_special_tokens=False), tags)
        asked = [message["content"] for message in request.messages]
        reasoning, answer, _ = part_reasoning(text, self.tags, asked=asked, opened=opened, guess=False)
        if marked:
            for token in special:
                reasoning = reasoning and reasoning.replace(token, "")
                answer = answer.replace(token, "")
        return reasoning, answer
