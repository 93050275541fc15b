"""What a model behind an OpenAI-compatible server is sent: the body of a request, and what of it the model fixes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from arenaloop.errors import ConfigError, nearest
from arenaloop.models.openai_wire import encode_body, encode_settings, structured, with_system
from arenaloop.types import Request, Sampling

__all__ = ["FEW", "Bodies"]

_MANY, FEW = 20, 5
"""Alternatives of a token that are asked for at most, and where a server refuses that."""
_PARAMETERS = ("temperature", "top_p", "max_tokens", "stop", "seed")


class Bodies:
    """The bodies of one model's requests; the arguments are those of `OpenAIModel`.

    Args:
        max_tokens: under which name the server takes the limit of new tokens.

    Raises:
        ConfigError: no such parameter to drop, or a field of `extra_body` that may not be set.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        max_tokens: str,
        system: str | None,
        extra_body: Mapping[str, Any],
        drop_params: Collection[str],
        send_seed: bool,
    ) -> None:
        for parameter in sorted(set(drop_params).difference(_PARAMETERS)):
            raise ConfigError(f"{name}: no parameter {parameter!r} to drop{nearest(parameter, list(_PARAMETERS))}")
        for field in ("messages", "stream", "n"):
            if field in extra_body:
                raise ConfigError(f"{name}: extra_body may not set {field!r}")
        self._model, self._system, self._extra_body = model, system, extra_body
        self._max_tokens, self._drop_params = max_tokens, drop_params
        self._sends_seed = send_seed and "seed" not in drop_params and "seed" not in extra_body
        self._alternatives = _MANY
        self._heads: dict[tuple[Sampling, int], bytes] = {}

    def gives_fewer(self, status: int, words: str) -> bool:
        """Whether an error may mean that it does not give as many alternatives; fewer are asked for from now on."""
        if status not in (400, 422) or "logprob" not in words:
            return False
        if self._alternatives > FEW:  # servers differ in how many they give
            self._alternatives = FEW
            self._heads.clear()
        return True

    def body(self, request: Request, samples: int = 1) -> bytes:
        """The request's body as JSON."""
        if request.schema is not None:
            head = encode_settings(self._settings(request))
        else:
            known = (request.sampling, request.top_logprobs)
            found = self._heads.get(known)
            if found is None:
                if len(self._heads) >= 64:
                    self._heads.clear()
                found = self._heads[known] = encode_settings(self._settings(request))
            head = found
        if samples > 1:
            head += b'"n":%d,' % samples
        if self._sends_seed:
            head += b'"seed":%d,' % (request.seed & 0x7FFFFFFF)
        messages = request.messages if self._system is None else with_system(request.messages, self._system)
        if request.prefill:  # the servers that go on from it see it as a turn that is not ended
            messages = [*messages, {"role": "assistant", "content": request.prefill}]
        return encode_body(head, messages)

    def _settings(self, request: Request) -> dict[str, Any]:
        """Every field of the body but the seed and the messages."""
        sampling = request.sampling
        # All are sent: what is left out would be the server's default, which differs from server to server.
        settings: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        settings[self._max_tokens] = sampling.max_tokens
        if sampling.stop:
            settings["stop"] = sampling.stop
        for parameter in self._drop_params:
            settings.pop(self._max_tokens if parameter == "max_tokens" else parameter, None)
        if request.top_logprobs:
            settings |= {"logprobs": True, "top_logprobs": min(request.top_logprobs, self._alternatives)}
        if request.schema is not None:
            settings["response_format"] = structured(request.schema)
        return {"model": self._model, **settings, **self._extra_body}
