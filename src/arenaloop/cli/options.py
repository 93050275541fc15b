"""Options of verbs that are fields of settings, made from the fields.

A verb says `Fields("JudgeSettings", "verdict", "reask")` of one parameter, and gets in it what was given of these
options. Names, types, limits, defaults and help are those of the settings, which are looked up when the verb is, so
that a list of verbs needs none of them. What is not given is not in the mapping: a YAML file's own setting stands.
A limit that may be left out is taken away by ``none``, also where a file or a run directory sets it.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

__all__ = ["Fields", "Given", "add_verb"]

Given = dict[str, Any]
"""Settings by name, those alone that were given."""


_NONE = object()
"""What ``none`` is read as."""


def _or_none(kind: type[int] | type[float], least: float | None) -> Callable[[str], Any]:
    """Reads a number of a kind that is not below `least`, or ``none``."""

    def read(text: str) -> Any:
        if text.strip().lower() == "none":
            return _NONE
        try:
            number = kind(text)
        except ValueError:
            what = "whole number" if kind is int else "number"
            raise typer.BadParameter(f"{text!r} is no {what}, and not none.") from None
        if least is not None and not number >= least:
            raise typer.BadParameter(f"{text} is not in the range x>={least:g}.")
        return number

    return read


class Fields:
    """Options that are fields of one settings class, as the annotation of the one parameter that receives them.

    Args:
        kind: name of the class in `arenaloop.config`.
        names: fields, in the order of the help.
        differs: further fields, with the ``flag``, ``metavar`` or ``help`` that an option does not get from its field.
    """

    def __init__(self, kind: str, *names: str, **differs: Mapping[str, str]) -> None:
        self.kind, self.names, self.differs = kind, (*names, *differs), differs

    def parameters(self) -> Iterator[inspect.Parameter]:
        """One parameter for each field, as typer reads them; None is what was not given."""
        from arenaloop import config

        fields = getattr(config, self.kind).model_fields
        for name in self.names:
            field, own = fields[name], self.differs.get(name, {})
            plain, choices = _plain(field.annotation)
            least = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
            optional = field.default is None and plain in (int, float)
            metavar = own.get("metavar") or {int: "N", float: "X"}.get(plain)
            option = typer.Option(
                own.get("flag") or f"--{name.replace('_', '-')}",
                metavar=metavar,
                min=None if optional else least,
                parser=_or_none(plain, least) if optional else None,
                help=own.get("help") or _sentence(field, choices, metavar or ""),
                show_default=False,
            )
            yield inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[plain | None, option]
            )


def _plain(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The type that the command line reads, and the choices of a field that has some; settings check the rest."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    return (str, get_args(annotation)) if get_origin(annotation) is Literal else (annotation, ())


def _sentence(field: Any, choices: tuple[str, ...], metavar: str) -> str:
    """The field's docstring as help: choices and default are told, unless the words name them already."""
    text, _, default = field.description.partition("; null = ")
    if not set(choices) <= set(re.findall(r"\w+", f"{text} {metavar}")):
        text += f": {', '.join(choices[:-1])} or {choices[-1]}"
    if field.default is not None and not isinstance(field.default, bool):
        default = field.default
    return f"{text[0].upper()}{text[1:]}." + ("" if default == "" else f" Default: {default}.")


def add_verb(app: typer.Typer, verb: Callable[..., None]) -> None:
    """Make a function with parameters of `Fields` a command."""

    class Verb(TyperCommand):
        def get_params(self, ctx: Any) -> Any:
            if not self.params:
                whole = typer.Typer(add_completion=False)
                whole.command()(_expanded(verb))
                command = typer.main.get_command(whole)
                self.params, self.callback = command.params, command.callback
            return super().get_params(ctx)

    def known_by() -> None: ...  # its name and its help alone: the options come when they are asked for

    known_by.__name__, known_by.__doc__ = verb.__name__, verb.__doc__
    app.command(cls=Verb)(known_by)


def _expanded(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with an option for each field."""
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Fields] = {}
    parameters: list[inspect.Parameter] = []
    for name, own in inspect.signature(verb).parameters.items():
        for mark in getattr(hints[name], "__metadata__", ()):
            if isinstance(mark, Fields):
                groups[name] = mark
                parameters += mark.parameters()
        if name not in groups:
            parameters.append(own.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    def call(**values: Any) -> None:
        for name, fields in groups.items():
            options = {field: values.pop(field) for field in fields.names}
            values[name] = {
                field: None if value is _NONE else value for field, value in options.items() if value is not None
            }
        verb(**values)

    call.__annotations__ = {one.name: one.annotation for one in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__doc__ = verb.__doc__
    return call
