"""The base of all settings, and the files and overrides that fill them: YAML, `--set key=value`, one-line errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.regular_files import read_text

__all__ = ["Settings", "dump_values", "dump_yaml", "override", "read_yaml", "validate"]

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown keys, defaults checked, field docstrings kept as descriptions.

    No number of theirs may be infinite or not a number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class _Loader(yaml.SafeLoader):
    """YAML without dates: no setting is one, and a name may look like one."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (ValueError, RecursionError) as error:  # a tagged value that is none, thousands of brackets
        raise yaml.YAMLError(str(error)) from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: the file is missing, is no YAML, or holds something else than a mapping.
    """
    path = Path(path)
    try:
        value = _load_yaml(read_text(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}{where}: {getattr(error, 'problem', None) or 'no YAML'}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a mapping of settings")
    return value


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.path=value`` assignments (values are read as YAML); lists are indexed by number.

    Raises:
        ConfigError: an assignment without ``=``, or a path that leads through a plain value.
    """
    out: dict[str, Any] = _copied(dict(values))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {assignment}: expected key=value")
        try:
            value = _load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: the value is no YAML") from error
        *parents, leaf = path.split(".")
        node: Any = out
        for part in parents:
            if isinstance(node, dict):
                if isinstance(node.get(part), str) and part not in ("data",):
                    node[part] = {"spec": node[part]}  # a bare SPEC grows into its mapping
                node = node.setdefault(part, {})
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                if isinstance(node[int(part)], str):
                    node[int(part)] = {"spec": node[int(part)]}
                node = node[int(part)]
            else:
                raise ConfigError(f"--set {assignment}: there is no setting {part!r}")
        if isinstance(node, dict):
            node[leaf] = value
        elif isinstance(node, list) and leaf.isdigit() and int(leaf) < len(node):
            node[int(leaf)] = value
        else:
            raise ConfigError(f"--set {assignment}: there is no setting {leaf!r}")
    return out


def _copied(value: Any) -> Any:
    """Plain data anew, each part once for every place where it stands: a YAML anchor's are to change one by one."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def validate(kind: type[S], values: Mapping[str, Any], source: str) -> S:
    """Check a mapping against its settings class.

    Raises:
        ConfigError: one line that names the source, the key and, for an unknown key, the nearest valid one.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_at(kind, first["loc"][:-1])
            message = f"unknown key {where!r}{nearest(str(first['loc'][-1]), known)}"
        elif first["type"] == "missing":
            message = f"{where!r} is missing"
        else:
            told = str(first["msg"]).removeprefix("Value error, ")
            message = f"{where}: {told}" if where else told
        raise ConfigError(f"{source}: {message}") from error


def _fields_at(kind: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The valid keys at a path of nested settings."""
    for part in path:
        if isinstance(part, int):
            continue
        field = kind.model_fields.get(str(part))
        inner = _settings_in(field.annotation) if field is not None else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _settings_in(argument)) is not None:
            return found
    return None


def dump_yaml(settings: Settings) -> str:
    """The resolved settings as YAML; keys are never part of settings, only names of environment variables."""
    return dump_values(settings.model_dump(mode="json"))


def dump_values(values: Mapping[str, Any]) -> str:
    """Settings as they were written to a file, as YAML."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
