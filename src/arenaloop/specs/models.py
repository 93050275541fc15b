"""SPEC → model. Nothing is asked of a server and no weights are loaded here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arenaloop.calls.answers import Contestant
from arenaloop.config import JudgeSettings, ModelSettings, PriceSettings, TargetSettings, read_yaml, validate
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.server_url import PUBLIC_PARAMETERS
from arenaloop.models.usage import Price
from arenaloop.specs.rewards import tried
from arenaloop.table_files import is_pattern

if TYPE_CHECKING:
    from arenaloop.models.base import Model
    from arenaloop.models.openai_api import OpenAIModel
    from arenaloop.models.recorded import RecordedModel

__all__ = [
    "contestant",
    "embedding_server",
    "local_model",
    "model",
    "model_settings",
    "planned_only",
    "price_of",
    "refuse_queries",
    "refuse_servers_settings",
    "server_model",
    "shown",
    "weights",
]

_SERVERS_ONLY = (
    "system", "extra_body", "drop_params", "send_seed", "urls", "rpm", "tpm", "samples_per_call", "headers",
)  # fmt: skip
KINDS = (
    "openai:MODEL",
    "http://HOST:PORT/v1#MODEL",
    "hf:ID_OR_PATH",
    "ray-vllm:MODEL",
    "file:ANSWERS",
    "sandbox:NAME",
    "FILE.yaml",
    "best_of_n:FILE.yaml",
)
_PREFIXES = frozenset(
    ("openai", "http", "https", "hf", "ray-vllm", "file", "sandbox", "builtin", "labels", "reward", "synthetic")
)
_BEST = "best_of_n:"
_DEFAULT_BASE_URL = "https://api.openai.com/v1"


def model_settings(text: str, name: str | None = None, kind: type[ModelSettings] = ModelSettings) -> ModelSettings:
    """A SPEC from the command line, as settings; a YAML file is read and checked.

    ``best_of_n:FILE.yaml`` is the file's model too, and says that the file has to say of how many samples the best.

    Raises:
        ConfigError, InputError: the file is missing or holds unknown keys.
    """
    file = text.removeprefix(_BEST)
    if text.startswith(_BEST) and not file.endswith((".yaml", ".yml")):
        raise ConfigError(f"SPEC {text!r}: expected {_BEST}FILE.yaml, the model's file with a best_of_n in it")
    if file.endswith((".yaml", ".yml")):
        settings = validate(kind, read_yaml(file), file)
        if settings.spec and settings.spec.partition(":")[0] not in _PREFIXES:
            raise ConfigError(f"{file}: {_unknown(settings)}")
        if text.startswith(_BEST) and settings.best_of_n is None:
            raise ConfigError(f"{file}: 'best_of_n' is missing, as in best_of_n: {{n: 16, reward: reward:DIR}}")
    else:
        settings = kind(spec=text)
    return settings.model_copy(update={"name": name}) if name else settings


def contestant(settings: ModelSettings) -> Contestant:
    """A model with the decoding that its settings ask for."""
    built = model(settings)
    name, sampling = settings.name or built.name, settings.sampling.build()
    if settings.best_of_n is None:
        return Contestant(name, built, sampling)
    from arenaloop.models.recorded import RecordedModel

    best = settings.best_of_n
    if isinstance(built, RecordedModel):
        raise ConfigError(f"SPEC {settings.spec!r}: best_of_n samples a model, and recorded answers are none")
    return Contestant(name, BestOfN(name, built, best.n, tried(best.reward), best.drop_truncated), sampling)


def model(settings: ModelSettings) -> Model | RecordedModel:
    """The model that a SPEC names.

    Raises:
        ConfigError: an unknown kind, or a SPEC that lacks a part.
    """
    kind, _, rest = settings.spec.partition(":")
    if kind in ("http", "https"):
        return _server(settings, settings.spec)
    if kind == "openai" and rest:
        base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE_URL
        return _server(settings, f"{base_url}#{rest}", key_env="OPENAI_API_KEY")
    refuse_servers_settings(settings, "system" if kind in ("hf", "ray-vllm") else "")
    if kind == "ray-vllm":
        from arenaloop.specs.ray_vllm import ray_weights

        return ray_weights(settings)
    if kind == "hf" and rest:
        from arenaloop.models.checkpoint import require_chat_template

        found = weights(rest)
        # first, so that a path without a model is named as that
        built = local_model(found, settings, settings.name or (Path(rest).stem if found != rest else None))
        require_chat_template(found, settings.revision)
        return built
    if kind == "file" and rest:
        from arenaloop.models.recorded import RecordedModel

        if not (Path(rest).exists() or is_pattern(Path(rest))):
            raise InputError(f"{rest}: no such file")
        return RecordedModel(settings.name or _file_stem(rest), rest, settings.reasoning_tags)
    if kind == "sandbox" and rest:
        return _sandbox_player(rest, settings)
    raise ConfigError(_unknown(settings))


def _unknown(settings: ModelSettings) -> str:
    """What is said of a SPEC of no kind: the kinds that there are, and what a path that exists is likely to be."""
    path, meant = Path(settings.spec), ""
    if path.is_file():
        meant = "labels" if isinstance(settings, JudgeSettings) else "file"
    elif path.is_dir():
        meant = "hf" if (path / "config.json").exists() else ""
    hint = f"; did you mean {meant}:{settings.spec}?" if meant else ""
    return f"SPEC {settings.spec!r}: expected one of {', '.join(KINDS)}{hint}"


def refuse_servers_settings(settings: ModelSettings, *obeyed: str) -> None:
    """Refuse settings of servers that do nothing to other models, but for those that are obeyed."""
    for key in _SERVERS_ONLY:
        if key not in obeyed and getattr(settings, key) != ModelSettings.model_fields[key].get_default(
            call_default_factory=True
        ):
            raise ConfigError(f"SPEC {settings.spec!r}: {key} works with servers only")


def _file_stem(path: str) -> str:
    name = Path(path).name
    for ending in (".gz", ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"):
        name = name.removesuffix(ending)
    return name


_PLANNED: ContextVar[bool] = ContextVar("planned", default=False)


@contextmanager
def planned_only(dry_run: bool = True) -> Iterator[None]:
    """Models that a dry run makes in this context are planned with and never asked: keys need not be set."""
    token = _PLANNED.set(dry_run)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def embedding_server(settings: ModelSettings) -> OpenAIModel | None:
    """The embeddings endpoint that a SPEC of a server names; None of other SPECs.

    Raises:
        ConfigError: a SPEC that lacks a part, or a setting that does nothing to embeddings.
    """
    kind, _, rest = settings.spec.partition(":")
    if kind not in ("http", "https", "openai"):
        return None
    for name in ("system", "send_seed", "drop_params", "samples_per_call", "best_of_n", "reasoning_tags"):
        if getattr(settings, name) != ModelSettings.model_fields[name].get_default(call_default_factory=True):
            raise ConfigError(f"embeddings {settings.spec!r}: {name} does nothing to embeddings")
    if kind == "openai":
        base_url = os.environ.get("OPENAI_BASE_URL") or _DEFAULT_BASE_URL
        return _server(settings, f"{base_url}#{rest}", key_env="OPENAI_API_KEY", embeds=True)
    return _server(settings, settings.spec, embeds=True)


def server_model(settings: ModelSettings, kind: type[OpenAIModel], **more: Any) -> OpenAIModel:
    """A model behind the server that a SPEC names, as one of a kind of its own.

    Args:
        settings: with the SPEC.
        kind: what is made.
        more: what that takes beside the arguments of `OpenAIModel`.
    """
    return _server(settings, settings.spec, kind=kind, **more)


def _server(
    settings: ModelSettings, spec: str, key_env: str | None = None, kind: type[OpenAIModel] | None = None, **more: Any
) -> OpenAIModel:
    from arenaloop.models.openai_api import OpenAIModel

    url, mark, rest = spec.partition("#")
    name, _, query = rest.partition("?")
    if not mark or not name:
        raise ConfigError(f"SPEC {settings.spec!r}: expected URL#MODEL, as in http://127.0.0.1:8000/v1#qwen")
    refuse_queries(url, f"#{name}")
    for other in settings.urls:
        if "#" in other:
            raise ConfigError(f"SPEC {settings.spec!r}: urls are base URLs, without '#': {other.partition('#')[0]}…")
        refuse_queries(other, "")
    options = dict(parse_qsl(query, keep_blank_values=True))
    named = options.pop("key_env", None)
    key_env = settings.key_env or named or key_env
    if options:
        unknown = min(options)
        raise ConfigError(f"SPEC {settings.spec!r}: unknown option {unknown!r}{nearest(unknown, ['key_env'])}")
    known = key_env and os.environ.get(key_env)
    if (
        key_env
        and not known
        and not _PLANNED.get()
        and (key_env != "OPENAI_API_KEY" or url.startswith(_DEFAULT_BASE_URL))
    ):
        raise ConfigError(f"SPEC {settings.spec!r}: the environment variable {key_env} is not set")
    return (kind or OpenAIModel)(
        name=settings.name or name,
        model=name,
        base_url=url,
        key_env=key_env if known else None,
        price=None if settings.price is None else price_of(settings.price),
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        retries=settings.retries,
        longest_wait=settings.longest_wait,
        reasoning_tags=settings.reasoning_tags,
        **more,
        **{key: getattr(settings, key) for key in _SERVERS_ONLY},
    )


def price_of(settings: PriceSettings) -> Price:
    """A price as models reckon with it."""
    return Price(settings.input, settings.output, settings.cached, settings.batch, settings.units)


def refuse_queries(url: str, model: str) -> None:
    """Refuse parameters of a URL that may be secret: settings are written to disk."""
    bare, mark, query = url.partition("?")
    public = [name.lower() in PUBLIC_PARAMETERS for name, _ in parse_qsl(query, keep_blank_values=True)]
    if mark and not (public and all(public)):
        raise ConfigError(
            f"SPEC {bare}?…{model}: a base URL has no query but api-version, since a key may stand in one; name a key "
            "as in URL#MODEL?key_env=NAME, and other headers in the model's YAML file (headers: {NAME: VARIABLE})"
        )


def weights(path: str) -> str:
    """Where the weights of hf:PATH stand: the path or hub id itself, or the directory that a GGUF file is converted to.

    Raises:
        InputError, MissingExtraError, StorageError: the file cannot be read, or not be converted.
    """
    from arenaloop.models.gguf import converted, is_gguf

    return str(converted(path)) if is_gguf(path) else path


def local_model(path: str, settings: ModelSettings | TargetSettings, name: str | None) -> Model:
    """Hugging Face weights in this process; they are loaded when they are first asked."""
    from arenaloop.models.local import LocalModel

    return LocalModel(
        path,
        name=name or Path(path).name,
        revision=settings.revision,
        chunk_size=settings.chunk_size,
        dtype=settings.dtype,
        device=settings.device,
        # a recipe's target has none of these
        system=getattr(settings, "system", None),
        threads=getattr(settings, "threads", None),
        reasoning_tags=getattr(settings, "reasoning_tags", None),
    )


def _sandbox_player(name: str, settings: ModelSettings) -> Model:
    from arenaloop.models.scripted import ScriptedModel
    from arenaloop.sandbox.author import AUTHOR, Author
    from arenaloop.sandbox.editors import EDITORS, Editor
    from arenaloop.sandbox.players import SKILLS, Player

    if name == AUTHOR:
        try:
            author = Author(**settings.options)
        except TypeError as error:
            raise ConfigError(f"{settings.spec}, options {shown(settings.options)}: {error}") from None
        return ScriptedModel(settings.name or name, author, version=author.version)
    if name not in {**SKILLS, **EDITORS}:
        known = [*SKILLS, *EDITORS, AUTHOR]
        raise ConfigError(f"SPEC {settings.spec!r}: no such player{nearest(name, known)}; known: {', '.join(known)}")
    try:
        player = (Editor if name in EDITORS else Player)(name, **settings.options)
        closing = getattr(player, "closing", "")
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{settings.spec}, options {shown(settings.options)}: {error}") from None
    return ScriptedModel(settings.name or name, player, version=[player.skills, closing] if closing else player.skills)


def shown(options: Mapping[str, Any]) -> str:
    """Options as one line of an error message."""
    return ", ".join(f"{key}={value!r}" for key, value in options.items())
