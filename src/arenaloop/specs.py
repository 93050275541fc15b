"""SPEC (text or mapping) → object: the only place that knows every kind of model, judge and data source.

A SPEC names its kind before the first colon: ``openai:gpt-4o``, ``http://127.0.0.1:8000/v1#qwen?key_env=MY_KEY``,
``hf:org/model``, ``file:answers.json``, ``sandbox:scholar``, or the path of a YAML file that holds the mapping. Nothing
is asked of a server and no weights are loaded here; files are opened when they are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arenaloop.arena.answers import Contestant, match_recorded
from arenaloop.config import (
    ArenaLearningSettings,
    JudgeSettings,
    ModelSettings,
    TargetSettings,
    read_yaml,
    validate,
)
from arenaloop.errors import ConfigError, InputError, StorageError, nearest
from arenaloop.types import Prompt, Response, content_hash

if TYPE_CHECKING:
    from arenaloop.data.prompts import PromptSet
    from arenaloop.judges.pairwise import PairwiseJudge
    from arenaloop.models.base import Model
    from arenaloop.models.recorded import RecordedModel
    from arenaloop.recipes.arena_learning import ArenaLearning

__all__ = ["build_arena_learning", "contestant", "judge", "load_prompts", "model", "model_settings"]

_SERVERS_ONLY = ("system", "extra_body", "drop_params", "send_seed")
KINDS = ("openai:MODEL", "http://HOST:PORT/v1#MODEL", "hf:ID_OR_PATH", "file:ANSWERS", "sandbox:NAME", "FILE.yaml")
_DEFAULT_BASE_URL = "https://api.openai.com/v1"
_SANDBOX_DATA = ("prompts", "demonstrations")


def model_settings(text: str, name: str | None = None, kind: type[ModelSettings] = ModelSettings) -> ModelSettings:
    """A SPEC from the command line, as settings; a YAML file is read and checked.

    Raises:
        ConfigError, InputError: the file is missing or holds unknown keys.
    """
    if text.endswith((".yaml", ".yml")):
        values = read_yaml(text)
        settings = validate(kind, values, text)
    else:
        settings = kind(spec=text)
    return settings.model_copy(update={"name": name}) if name else settings


def contestant(settings: ModelSettings) -> Contestant:
    """A model with the decoding that its settings ask for."""
    built = model(settings)
    return Contestant(settings.name or built.name, built, settings.sampling.build())


def judge(settings: JudgeSettings) -> PairwiseJudge:
    """A judging model with its template."""
    from arenaloop.judges.pairwise import PairwiseJudge, template_names

    if settings.template not in template_names():
        known = ", ".join(template_names())
        raise ConfigError(
            f"judge template {settings.template!r}{nearest(settings.template, template_names())}: {known}"
        )
    built = _sandbox_judge(settings) if settings.spec.partition(":")[0] == "sandbox" else model(settings)
    from arenaloop.models.recorded import RecordedModel

    if isinstance(built, RecordedModel):
        raise ConfigError(f"judge {settings.spec}: recorded answers cannot judge")
    return PairwiseJudge(
        built, template=settings.template, sampling=settings.sampling.build(), name=settings.name or built.name
    )


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
    _refuse_servers_settings(settings)
    if kind == "hf" and rest:
        from arenaloop.models.checkpoint import require_chat_template

        built = _local(rest, settings, settings.name)  # first, so that a path without a model is named as that
        require_chat_template(rest, settings.revision)
        return built
    if kind == "file" and rest:
        from arenaloop.models.recorded import RecordedModel

        if not Path(rest).is_file():
            raise InputError(f"{rest}: no such file")
        return RecordedModel(settings.name or _file_stem(rest), rest)
    if kind == "sandbox" and rest:
        return _sandbox_player(rest, settings)
    raise ConfigError(f"SPEC {settings.spec!r}: expected one of {', '.join(KINDS)}")


def _refuse_servers_settings(settings: ModelSettings) -> None:
    """Refuse what would change a server's answers and does nothing to those of other models."""
    for key in _SERVERS_ONLY:
        if getattr(settings, key) != ModelSettings.model_fields[key].get_default(call_default_factory=True):
            raise ConfigError(f"SPEC {settings.spec!r}: {key} works with servers only")


def _file_stem(path: str) -> str:
    name = Path(path).name
    for ending in (".gz", ".jsonl", ".json"):
        name = name.removesuffix(ending)
    return name


def _server(settings: ModelSettings, spec: str, key_env: str | None = None) -> Model:
    from arenaloop.models.openai_api import OpenAIModel, Price

    url, mark, rest = spec.partition("#")
    name, _, query = rest.partition("?")
    if not mark or not name:
        raise ConfigError(f"SPEC {settings.spec!r}: expected URL#MODEL, as in http://127.0.0.1:8000/v1#qwen")
    if "?" in url:  # a key may stand there, and settings are written to disk
        shown = url.partition("?")[0]
        raise ConfigError(f"SPEC {shown}?…#{name}: a base URL has no query; name a key as in URL#MODEL?key_env=NAME")
    options = dict(parse_qsl(query, keep_blank_values=True))
    named = options.pop("key_env", None)
    key_env = settings.key_env or named or key_env
    if options:
        unknown = min(options)
        raise ConfigError(f"SPEC {settings.spec!r}: unknown option {unknown!r}{nearest(unknown, ['key_env'])}")
    if key_env and key_env != "OPENAI_API_KEY" and not os.environ.get(key_env):
        raise ConfigError(f"SPEC {settings.spec!r}: the environment variable {key_env} is not set")
    if key_env == "OPENAI_API_KEY" and not os.environ.get(key_env) and url.startswith(_DEFAULT_BASE_URL):
        raise ConfigError(f"SPEC {settings.spec!r}: the environment variable OPENAI_API_KEY is not set")
    price = settings.price
    return OpenAIModel(
        name=settings.name or name,
        model=name,
        base_url=url,
        key_env=key_env if key_env and os.environ.get(key_env) else None,
        system=settings.system,
        extra_body=settings.extra_body,
        price=Price(price.input, price.output, price.cached) if price else None,
        concurrency=settings.concurrency or 64,
        timeout=settings.timeout,
        retries=settings.retries,
        drop_params=settings.drop_params,
        send_seed=settings.send_seed,
    )


def _local(path: str, settings: ModelSettings | TargetSettings, name: str | None, revision: str | None = None) -> Model:
    from arenaloop.models.local import LocalModel

    return LocalModel(
        path,
        name=name or Path(path).name,
        revision=revision or settings.revision,
        chunk_size=settings.chunk_size,
        dtype=settings.dtype,
        device=settings.device,
    )


# ---------------------------------------------------------------------- the sandbox


def _sandbox_player(name: str, settings: ModelSettings) -> Model:
    from arenaloop.models.scripted import ScriptedModel
    from arenaloop.sandbox.players import SKILLS, Player

    if name not in SKILLS:
        known = list(SKILLS)
        raise ConfigError(f"SPEC {settings.spec!r}: no such player{nearest(name, known)}; known: {', '.join(known)}")
    try:
        player = Player(name, **settings.options)
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{settings.spec}, options {_shown(settings.options)}: {error}") from None
    return ScriptedModel(settings.name or name, player, version=player.skills)


def _sandbox_judge(settings: JudgeSettings) -> Model:
    from arenaloop.models.scripted import ScriptedModel
    from arenaloop.sandbox.judge import SandboxJudge

    _refuse_servers_settings(settings)
    if settings.spec != "sandbox:judge":
        raise ConfigError(f"judge {settings.spec!r}: the sandbox's judge is called sandbox:judge")
    try:
        script = SandboxJudge(**settings.options)
    except TypeError as error:
        raise ConfigError(f"judge {settings.spec}, options {_shown(settings.options)}: {error}") from None
    return ScriptedModel(settings.name or "sandbox-judge", script, version=settings.options)


def _shown(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _query(spec: str, allowed: Sequence[str]) -> tuple[str, dict[str, str]]:
    name, _, query = spec.removeprefix("sandbox:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if name not in _SANDBOX_DATA:
        raise ConfigError(
            f"{spec!r}: the sandbox has {' and '.join(_SANDBOX_DATA)}{nearest(name, list(_SANDBOX_DATA))}"
        )
    for key in options:
        if key not in allowed:
            raise ConfigError(f"{spec!r}: unknown option {key!r}{nearest(key, list(allowed))}")
    return name, options


def _count(spec: str, options: Mapping[str, str], key: str, default: int) -> int:
    text = options.get(key, str(default))
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{spec!r}: {key} must be a whole number, not {text!r}")
    return int(text)


# ---------------------------------------------------------------------- data


def load_prompts(spec: str, seed: int, *, exclude: Sequence[str] = ()) -> PromptSet:
    """Prompts of a file, or of the sandbox (``sandbox:prompts?n=500&split=test&seed=0``; the seed is the run's)."""
    from arenaloop.data.prompts import PromptSet, read_prompts

    if spec.startswith("sandbox:"):
        from arenaloop.sandbox.tasks import draw

        name, options = _query(spec, ("n", "seed", "split"))
        if name != "prompts":
            raise ConfigError(f"{spec!r}: expected sandbox:prompts?n=…")
        n, own = _count(spec, options, "n", 100), _count(spec, options, "seed", seed)
        tasks = draw(n, own, options.get("split", "train"), exclude=frozenset(exclude))
        return PromptSet(tuple(task.prompt for task in tasks))
    return read_prompts(spec)


def load_demonstrations(spec: str, seed: int) -> list[dict[str, Any]]:
    """Rows with ``messages`` from a file, or from the sandbox (``sandbox:demonstrations?n=3000``)."""
    if spec.startswith("sandbox:"):
        from arenaloop.data.selection import sft_row
        from arenaloop.sandbox.players import demonstrations

        name, options = _query(spec, ("n", "seed"))
        if name != "demonstrations":
            raise ConfigError(f"{spec!r}: expected sandbox:demonstrations?n=…")
        n, own = _count(spec, options, "n", 1000), _count(spec, options, "seed", seed)
        return [sft_row(prompt, (text,)) for prompt, text in demonstrations(n, own)]
    from arenaloop.data.demonstrations import read_demonstrations

    return read_demonstrations(spec)


# ---------------------------------------------------------------------- recipes


def build_arena_learning(settings: ArenaLearningSettings, out: Path, *, dry: bool = False) -> ArenaLearning:
    """Everything the Arena Learning recipe works on. Writes nothing, except a sandbox target when `out` exists.

    Args:
        settings: the recipe's file.
        out: the run directory; a fresh sandbox target is made below it by `prepare_start`.
        dry: only the plan is wanted: nothing is looked up on a hub.
    """
    from arenaloop.recipes.arena_learning import ArenaLearning, check

    data = settings.data
    _require_start(settings, dry=dry)
    demonstrations = load_demonstrations(data.demonstrations, settings.seed)
    seen = (
        [row["messages"][0]["content"] for row in demonstrations] if data.demonstrations.startswith("sandbox:") else []
    )
    test = load_prompts(data.test, settings.seed).prompts
    pool = load_prompts(data.prompts, settings.seed, exclude=seen)
    validation = load_prompts(data.validation, settings.seed).prompts if data.validation else ()
    opponents = [contestant(one) for one in settings.opponents]
    target = settings.target

    def make(name: str, checkpoint: Path) -> Contestant:
        return Contestant(name, _local(str(checkpoint), target, name, revision=""), target.sampling.build())

    recipe = ArenaLearning(
        settings=settings,
        start=str(_start_path(settings, out)),
        target=make,
        opponents=opponents,
        judge=judge(settings.judge),
        demonstrations=demonstrations,
        pool=pool.prompts,
        duplicates=pool.duplicates,
        test=test,
        validation=validation,
        utility=_gold if data.test.startswith("sandbox:") else None,
        fingerprint="" if dry else _start_fingerprint(settings),
        recorded=match_recorded(
            opponents,
            list({p.id: p for p in (*pool, *test, *validation)}.values()),
            allow_missing=settings.allow_missing,
        ),
    )
    check(recipe)
    return recipe


def _gold(prompt: Prompt, response: Response) -> float:
    from arenaloop.sandbox.tasks import utility

    return utility(prompt.last_user, response.texts[-1]) or 0.0


def _start_path(settings: ArenaLearningSettings, out: Path) -> Path | str:
    kind, _, rest = settings.target.model.partition(":")
    if kind == "hf" and rest:
        return rest
    if kind == "sandbox" and rest == "target":
        # named by what it is made from: a directory that is used again with another seed gets a start of its own
        return out / "checkpoints" / f"start-{_start_fingerprint(settings)[:8]}"
    raise ConfigError(f"target.model {settings.target.model!r}: expected hf:ID_OR_PATH or sandbox:target")


def _require_start(settings: ArenaLearningSettings, *, dry: bool) -> None:
    """Refuse a target that cannot be trained as a chat model, before anything is asked or written."""
    from arenaloop.errors import MissingExtraError

    if any(find_spec(name) is None for name in ("torch", "transformers", "safetensors")):
        raise MissingExtraError("training", "train")
    kind, _, rest = settings.target.model.partition(":")
    if kind == "hf" and rest:
        from arenaloop.models.checkpoint import require_chat_template

        _local(rest, settings.target, None)
        if not dry or Path(rest).is_dir():
            require_chat_template(rest, settings.target.revision)
    elif settings.target.model == "sandbox:target":
        from arenaloop.sandbox.target import check_sizes

        try:
            check_sizes(**settings.target.options)
        except TypeError as error:
            raise ConfigError(f"target.options {_shown(settings.target.options)}: {error}") from None


def _start_fingerprint(settings: ArenaLearningSettings) -> str:
    if settings.target.model == "sandbox:target":
        return content_hash("sandbox:target", settings.seed, settings.target.options)
    from arenaloop.models.checkpoint import checkpoint_fingerprint

    return checkpoint_fingerprint(settings.target.model.partition(":")[2], settings.target.revision)


def prepare_start(settings: ArenaLearningSettings, start: str) -> None:
    """Make the untrained sandbox target where the recipe starts from one and it is not there yet."""
    if settings.target.model != "sandbox:target" or Path(start).is_dir():
        return
    from safetensors import SafetensorError

    from arenaloop.sandbox.target import build_target

    temporary = Path(start).with_name(Path(start).name + ".partial")
    try:
        build_target(temporary, settings.seed, **settings.target.options)
        temporary.rename(start)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{start}: {error}") from error
