"""Judge templates: those shipped, and the user's own files, checked before the first call.

A template is Jinja text, rendered in a sandbox and in one pass: what is filled in is never parsed again. It gets these
variables, and no others:

* ``tag``: a code that contestants cannot know; every part of the material must stand behind a line that repeats it;
* ``history`` (given turns, each with ``role`` and ``content``), ``user`` (the turn to be answered), ``follow_ups``
  (later user turns) and ``seats`` (two lists: the texts of the first and of the second seat, one per turn);
* ``criteria``: the user's criteria, a list of texts, empty where there are none;
* ``mode``: ``text``, ``json`` or ``logprob``; what the closing words must ask for. With ``logprob``, ``explain`` is
  true where the judge is to reason before it names a seat.

``{% include "layout" %}`` and ``{% include "material" %}`` put in the paragraph that explains the markers, and the
marked material itself, as the shipped templates have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.judges.parsers import FORMS, Form, VerdictMode
from arenaloop.judges.skeletons import Shape, Skeleton, cut, only_places_texts
from arenaloop.types import Prompt, Response, content_hash

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["JudgeTemplate", "load_template", "render", "template_names"]

_VARIABLES = ("tag", "history", "user", "follow_ups", "seats", "criteria", "mode", "explain")
_NEEDED = ("tag", "user", "seats")
_PARTS = ("layout", "material")
_FIRST_COMMENT = re.compile(r"\s*\{#-?(.*?)-?#\}", re.DOTALL)
_INCLUDE = re.compile(r"""\{% include ["'](layout|material)["'] %\}""")
_PARSER_LINE = re.compile(r"\bparser:[ \t]*([\w-]+)")

_TAG = "\1tag\2"  # what a template is tried with: texts that no template holds by itself

_FORMER_HASHES = {"6c0a5f61ea60954883c188d1fd87ebef": "4736da9846698a442507718a5115e979"}
"""Hashes under which verdicts of a template were stored when its file was written otherwise, with the same words in
mode ``text``: these verdicts stay valid. (A test compares the words.)"""


@dataclass(frozen=True)
class JudgeTemplate:
    """A judge prompt, ready to be filled.

    Attributes:
        name: the shipped template's name, or the file's without its ending.
        hash: content hash of its text, of the parts that it includes, and of the criteria.
        form: how its answers are read.
        criteria: the user's criteria; empty for the template's own.
        modes: the verdict modes that its words can ask for.
    """

    name: str
    hash: str
    form: Form
    criteria: tuple[str, ...]
    modes: tuple[VerdictMode, ...]
    compiled: Template
    origin: str
    plain: bool = False
    """whether it only puts texts where they go, so that it is filled once and joined from then on"""


def template_names() -> list[str]:
    """The shipped templates."""
    return sorted(entry.name.removesuffix(".jinja") for entry in _shipped().iterdir() if entry.name.endswith(".jinja"))


@lru_cache(maxsize=16)
def _shipped_text(name: str) -> str:
    return str(_shipped().joinpath(name).read_text(encoding="utf-8"))


def _shipped() -> Any:
    return resources.files("arenaloop.judges").joinpath("templates")


def load_template(name: str, criteria: tuple[str, ...] = (), form: Form | None = None) -> JudgeTemplate:
    """A shipped template by its name, or the user's own by its path.

    A user's file says how its answers are read in its first comment, ``{# parser: scores #}``, unless `form` does; see
    `parsers.Form`.

    Args:
        name: a name of `template_names`, or a path (it ends in ``.jinja`` or holds a slash).
        criteria: what to judge by, in place of the shipped templates' own criteria.
        form: overrules what the file says.

    Raises:
        InputError: there is no such file, or it is no UTF-8 text.
        ConfigError: an unknown name; or a file that cannot be a judge template (FILE, line: why).
    """
    own = name.endswith((".jinja", ".j2")) or "/" in name
    if not own and name not in template_names():
        known = ", ".join(template_names())
        raise ConfigError(f"judge template {name!r}{nearest(name, template_names())}: {known}, or a path ending .jinja")
    origin = name if own else f"{name}.jinja"
    return _loaded(origin, _read(name) if own else _shipped_text(origin), criteria, form)


@lru_cache(maxsize=64)
def _loaded(origin: str, text: str, criteria: tuple[str, ...], form: Form | None) -> JudgeTemplate:
    compiled, used, texts = _compile(text, origin)
    declared = form or _declared_form(text, origin)
    digest = content_hash("template", *texts)
    digest = _FORMER_HASHES.get(digest, digest)
    if criteria:
        digest = content_hash("template", digest, list(criteria))
    if missing := [variable for variable in _NEEDED if variable not in used]:
        why = ": contestants could write its delimiters" if "tag" in missing else ""
        raise ConfigError(f"{origin}: does not use {', '.join(missing)}{why}")
    if criteria and "criteria" not in used:
        raise ConfigError(f"{origin}: does not use criteria, so those that are set would not reach the judge")
    template = JudgeTemplate(
        name=Path(origin).name.removesuffix(".j2").removesuffix(".jinja"),
        hash=digest,
        form=declared,
        criteria=criteria,
        modes=("text", "json", "logprob") if "mode" in used else _lone_modes(declared),
        compiled=compiled,
        origin=origin,
    )
    _check(template)
    # Parts are put in once, not at every filling, which halves its time; line numbers of errors would shift, so that
    # the template is tried before.
    whole = _INCLUDE.sub(lambda found: str(_part(found[1])).removesuffix("\n"), text)
    plain = only_places_texts(_environment().parse(whole))
    return replace(template, compiled=_environment().from_string(whole), plain=plain)


def _lone_modes(form: Form) -> tuple[VerdictMode, ...]:
    """The modes of a template whose words are the same in all of them."""
    return {"json": ("text", "json"), "label": ("text", "logprob")}.get(form, ("text",))  # type: ignore[return-value]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"judge template {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"judge template {path}: no UTF-8 text") from None


def _declared_form(text: str, origin: str) -> Form:
    comment = _FIRST_COMMENT.match(text)
    found = _PARSER_LINE.search(comment[1]) if comment else None
    known = ", ".join(FORMS)
    if found is None:
        raise ConfigError(
            f"{origin}: its first comment does not say how answers are read; {{# parser: NAME #}}: {known}"
        )
    if found[1] not in FORMS:
        raise ConfigError(f"{origin}: parser {found[1]!r}{nearest(found[1], list(FORMS))}; known: {known}")
    return cast(Form, found[1])


# ---------------------------------------------------------------------- Jinja


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Nothing is HTML: contestants' braces and tags stay as they are.
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, loader=FunctionLoader(_part))


def _part(name: str) -> str | None:
    return _shipped_text(f"parts/{name}.jinja") if name in _PARTS else None


def _compile(text: str, origin: str) -> tuple[Template, set[str], list[str]]:
    """The compiled template, the variables that it and its parts use, and the texts of all of them.

    Raises:
        ConfigError: a syntax error, an unknown variable or part (with the line).
    """
    from jinja2 import Template, TemplateSyntaxError, meta

    environment = _environment()
    try:
        tree = environment.parse(text, filename=origin)
        code = environment.compile(text, name=origin, filename=origin)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{origin}, line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):  # of Python's, for which Jinja writes
        raise ConfigError(f"{origin}: nested too deeply") from None
    used, texts = meta.find_undeclared_variables(tree), [text]
    for part in sorted(set(meta.find_referenced_templates(tree)), key=str):
        if part not in _PARTS:
            known = ", ".join(_PARTS)
            raise ConfigError(f"{origin}{_line_of(tree, part)}: no part {part!r}; a template may include {known}")
        texts.append(str(_part(part)))
        used |= meta.find_undeclared_variables(environment.parse(texts[-1]))
    for name in sorted(used - set(_VARIABLES)):
        known = ", ".join(_VARIABLES)
        where = _line_of(tree, name)
        raise ConfigError(f"{origin}{where}: no variable {name!r}{nearest(name, list(_VARIABLES))}; known: {known}")
    return Template.from_code(environment, code, environment.make_globals(None)), used, texts


def _line_of(tree: Any, name: str | None) -> str:
    """Where a variable or a part is first named."""
    from jinja2 import nodes

    lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
    lines += [node.lineno for node in tree.find_all(nodes.Const) if node.value == name]
    return f", line {min(lines)}" if lines else ""


def _fill(template: JudgeTemplate, values: dict[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return template.compiled.render(values)
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, OverflowError) as error:
        where = _failed_line(error.__traceback__, template.origin)
        raise ConfigError(f"{template.origin}{where}: {error}") from None
    except (RecursionError, MemoryError) as error:
        why = "calls itself without end" if isinstance(error, RecursionError) else "makes too long a text"
        raise ConfigError(f"{template.origin}{_failed_line(error.__traceback__, template.origin)}: {why}") from None


def _failed_line(traceback: TracebackType | None, origin: str) -> str:
    line = ""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == origin:  # Jinja maps its frames to the template's lines
            line = f", line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line


# ---------------------------------------------------------------------- filling


def _tag(secret: str, prompt_id: str, first_hash: str, second_hash: str) -> str:
    return blake2b(f"{secret}\n{prompt_id}\n{first_hash}\n{second_hash}".encode(), digest_size=8).hexdigest()


_CHAT_TAG = re.compile(
    r"<(?=[|｜][^|｜<>\n]{1,40}[|｜]>|/?(?:s|bos|eos|SYS|<SYS>|(?:start|end)_of_turn)>|</SYS>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\])"
)


def _inert(text: str) -> str:
    """`text` with its chat tags broken by a blank, ``< |im_end|>``.

    Most servers take such tags for real ends of turns wherever they stand, codes or no codes: what follows them would
    be read as an instruction of ours, or as words of the judge's own.
    """
    return _CHAT_TAG.sub(lambda found: found[0] + " ", text) if "<" in text or "[" in text else text


@lru_cache(maxsize=256)
def _skeleton(template: JudgeTemplate, shape: Shape) -> Skeleton | None:
    return cut(shape, template.criteria, lambda values: _fill(template, values))


def render(
    template: JudgeTemplate,
    prompt: Prompt,
    first: Response,
    second: Response,
    *,
    secret: str,
    mode: VerdictMode = "text",
    explain: bool = False,
) -> str:
    """Fill the judge prompt for one seating; history and follow-up turns are shown whole, chat tags broken.

    Raises:
        ConfigError: a user's template fails on this material.
    """
    if template.plain:
        before, follow_ups = prompt.messages[:-1], prompt.follow_ups
        roles = tuple(message["role"] for message in before)
        shape = Shape(mode, explain, roles, len(first.texts), len(second.texts), len(follow_ups))
        texts = [_tag(secret, prompt.id, first.text_hash, second.text_hash)]
        texts += map(_inert, (prompt.last_user, *first.texts, *second.texts, *follow_ups))
        texts += [_inert(message["content"]) for message in before]
        if (skeleton := _skeleton(template, shape)) is not None:
            return skeleton.join(texts)
    values = {
        "tag": _tag(secret, prompt.id, first.text_hash, second.text_hash),
        "history": [message | {"content": _inert(message["content"])} for message in prompt.messages[:-1]],
        "user": _inert(prompt.last_user),
        "seats": [[_inert(text) for text in response.texts] for response in (first, second)],
        "follow_ups": [_inert(text) for text in prompt.follow_ups],
        "criteria": template.criteria,
        "mode": mode,
        "explain": explain,
    }
    return _fill(template, values)


def _check(template: JudgeTemplate) -> None:
    """Fill a template with known texts: each must stand behind a tag of its own, and a tag must close the last one.

    Raises:
        ConfigError: a text that contestants write could end its part, or is not shown; or filling fails.
    """
    history = ({"role": "user", "content": "\1history 1\2"}, {"role": "assistant", "content": "\1history 2\2"})
    asked = [
        (mode, explain) for mode in template.modes for explain in ((False, True) if mode == "logprob" else (False,))
    ]
    for mode, explain in asked:
        for turns, before in ((1, ()), (3, history)):
            seats = tuple(tuple(f"\1answer {seat}.{turn}\2" for turn in range(turns)) for seat in (1, 2))
            values = {
                "tag": _TAG,
                "history": before,
                "user": "\1user prompt\2",
                "seats": seats,
                "follow_ups": tuple(f"\1follow-up {turn}\2" for turn in range(1, turns)),
                "criteria": ["a criterion"] if template.criteria else [],
                "mode": mode,
                "explain": explain,
            }
            wanted = ["\1user prompt\2", *seats[0], *seats[1]]
            _check_parts(template.origin, re.findall("\1[^\2]*\2", _fill(template, values)), wanted)


def _check_parts(origin: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for text in wanted:
        if text not in found:
            raise ConfigError(f"{origin}: the {text[1:-1].partition('.')[0]} is not shown whole")
    for before, text in zip(["", *found], [*found, ""], strict=True):
        if text != _TAG and before != _TAG:
            what = f"the {text[1:-1].partition('.')[0]} has no tag before it" if text else "no tag after the last text"
            raise ConfigError(f"{origin}: {what}, so contestants could end a part of the material and begin another")
