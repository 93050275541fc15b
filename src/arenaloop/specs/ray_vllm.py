"""SPEC → weights in engines on a Ray cluster: ``ray-vllm:MODEL?tp=…&engines=…``. Nothing is started here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arenaloop.calls.engines.ray_cluster import look_for_ray, place
from arenaloop.calls.open_weights.base import VLLM, Adapter, EngineSettings
from arenaloop.config import ModelSettings, read_yaml
from arenaloop.errors import ConfigError, InputError, nearest

if TYPE_CHECKING:
    from arenaloop.calls.open_weights.model import RayWeights

__all__ = ["ray_weights"]

_OPTIONS = (
    "address", "dtype", "engine", "engines", "env", "gpus", "load_seconds", "lora", "max_model_len", "silent_seconds",
    "tp",
)  # fmt: skip
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_AT_ONCE = 256
"""Calls in flight for each engine where nothing else is set: as many sequences as vLLM works on at once."""
_OURS = ("model", "revision", "tokenizer_revision", "tensor_parallel_size", "dtype", "max_model_len", "seed",
         "enable_lora", "max_loras", "max_lora_rank")  # fmt: skip
"""Arguments of vLLM's that SPEC and settings decide."""


def ray_weights(settings: ModelSettings) -> RayWeights:
    """The model that ``ray-vllm:MODEL?OPTIONS`` names.

    Raises:
        ConfigError: an option that does not exist, or has an impossible value.
        InputError: a folder or file that is missing.
        MissingExtraError: Ray is not installed.
        StoppedError: ``address=auto``, and there is no cluster on this machine.
    """
    from arenaloop.calls.open_weights.actors import Wanted
    from arenaloop.calls.open_weights.model import RayWeights

    where = f"SPEC {settings.spec!r}"
    found, _, query = settings.spec.partition(":")[2].partition("?")
    if not found:
        raise ConfigError(f"{where}: expected ray-vllm:MODEL, as in ray-vllm:Qwen/Qwen3-8B?tp=1&engines=2")
    options = _options(query, where)
    look_for_ray("ray-vllm:")
    adapter = _adapter(options.get("lora"), where)
    tp = _number(options, "tp", 1, where)
    engine = options.get("engine", VLLM)
    module, colon, name = engine.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ConfigError(f"{where}: engine={engine}: expected MODULE:CLASS")
    wanted = Wanted(
        EngineSettings(
            _weights(found),
            settings.revision,
            tp,
            _dtype(options.get("dtype", settings.dtype), where),
            _number(options, "max_model_len", 0, where) or None,
            reasoning_tags=settings.reasoning_tags,
            more=_more(settings.options, where),
        ),
        engine,
        _number(options, "engines", 1, where),
        _number(options, "gpus", tp, where, least=0),
        place(options["address"]) if "address" in options else None,
        _environment(options.get("env"), where),
        _number(options, "load_seconds", 1800, where),
        _number(options, "silent_seconds", 900, where),
    )
    plain = Path(found).expanduser().resolve().name if Path(found).expanduser().is_dir() else found
    return RayWeights(
        settings.name or (adapter.name if adapter else plain),
        wanted,
        adapter=adapter,
        system=settings.system,
        concurrency=settings.concurrency or _AT_ONCE * wanted.engines,
    )


def _options(query: str, where: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigError(f"{where}: unknown option {name!r}{nearest(name, list(_OPTIONS))}")
        if not value:
            raise ConfigError(f"{where}: {name} has no value")
    return options


def _number(options: Mapping[str, str], name: str, default: int, where: str, least: int = 1) -> int:
    if name not in options:
        return default
    value = options[name]
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise ConfigError(f"{where}: {name}={value}: expected a whole number, at least {least}")
    return int(value)


def _dtype(name: str, where: str) -> str:
    if name not in _DTYPES:
        raise ConfigError(f"{where}: dtype={name}: expected one of {', '.join(_DTYPES)}")
    return name


def _weights(found: str) -> str:
    """A folder with an absolute path, since workers have a working directory of their own; a hub id as it is."""
    folder = Path(found).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder} does not hold a model: config.json is needed")
        return str(folder.resolve())
    if found.startswith(("/", ".", "~")) or found.count("/") > 1:
        raise InputError(f"{folder} is not a directory")
    return found


def _adapter(told: str | None, where: str) -> Adapter | None:
    """``NAME=PATH``, or a path whose last part is the name."""
    if told is None:
        return None
    from arenaloop.models.adapters import rank_of

    name, mark, path = told.partition("=")
    folder = Path(path if mark else told).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"{where}: lora: {folder} is not a directory")
    rank_of(folder)
    return Adapter(name if mark and name else folder.name, str(folder))


def _environment(told: str | None, where: str) -> dict[str, Any]:
    """Ray's ``runtime_env``: a YAML or JSON file's, or the conda environment of that name on the workers' machines."""
    if told is None:
        return {}
    return read_yaml(told) if told.endswith((".yaml", ".yml", ".json")) else {"conda": told}


def _more(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name in options:
        if name in _OURS:
            raise ConfigError(f"{where}: options: {name} is set by the SPEC or the model's own settings")
        if "remote_code" in name:
            raise ConfigError(f"{where}: options: {name}: code that comes with weights is not run")
    return dict(options)
