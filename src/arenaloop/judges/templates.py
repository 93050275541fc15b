"""Judge templates: those shipped, and the user's own files, checked before the first call.

A template is Jinja text, rendered in a sandbox and in one pass: what is filled in is never parsed again. Its first
comment says how answers are read and what it is about, ``{# parser: score, layout: answer #}``; the layout is ``pair``
where none is named (see `filling.Layout`), and a pattern of its own may read them (see `verdict_pattern`). It gets
these variables, and no others:

* ``tag``: a code that contestants cannot know; every part of the material must stand behind a line that repeats it;
* ``history`` (given turns, each with ``role`` and ``content``), ``user`` (the turn to be answered), ``follow_ups``
  (later user turns);
* of layouts ``pair`` and ``answer``: ``reference`` (the prompt's reference answers, mostly none);
* of layout ``pair``: ``seats`` (two lists: the texts of the first and of the second seat, one per turn); of ``answer``
  and ``judgements``: ``answer`` (its texts, one per turn); of ``judgements``: ``judgements`` (two texts);
* of ``pairs``, in place of all but the tag: ``items``, each with ``user`` and ``answers`` (two texts);
* ``criteria``: the user's criteria, a list of texts, empty where there are none;
* ``mode``: ``text``, ``json`` or ``logprob``; what the closing words must ask for. With ``logprob``, ``explain`` is
  true where the judge is to reason before it names a seat.

``{% include "layout" %}`` and ``{% include "material" %}`` put in the paragraph that explains the markers, and the
marked material itself, as the shipped templates have them; ``{% include "rubric" %}`` puts in the five criteria by
which one answer is scored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import resources
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from arenaloop.control_tokens import broken
from arenaloop.errors import ConfigError, InputError, nearest
from arenaloop.judges.answer_lines import SCORE_FORMS, Form
from arenaloop.judges.filling import LISTS, WITH_REFERENCE, Layout, Material, Skeleton, cut, only_places_texts, placed
from arenaloop.judges.parsers import FORMS, VerdictMode
from arenaloop.judges.verdict_pattern import VerdictPattern, declared_pattern
from arenaloop.regular_files import read_text
from arenaloop.types import Prompt, Response, content_hash

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["JudgeTemplate", "fill", "layout_of", "load_template", "template_names", "words_of"]


_ANSWERS: dict[Layout, tuple[tuple[Form, ...], tuple[VerdictMode, ...]]] = {
    "pair": (FORMS, ("text", "json", "logprob")),
    "pairs": (("choices",), ("text", "json")),
    "answer": ((*SCORE_FORMS, "pattern"), ("text", "json", "logprob")),
    "judgements": (("winner",), ("text", "json")),
    "prompt": ((*SCORE_FORMS, "category"), ("text", "json")),
}
"""How answers about a material may be given and read: the forms, and the verdict modes."""
_WORDED: dict[Form, tuple[VerdictMode, ...]] = {"json": ("text", "json"), "label": ("text", "logprob")}
"""The modes that a template can ask for whose words are the same in all of them; of other forms ``text`` alone, and
``logprob`` of a pattern that takes a label alone (AlpacaEval's prompt asks for m or M in both)."""
_SHIPPED = resources.files("arenaloop.judges") / "templates"
_PARTS = ("layout", "material", "rubric")
_FIRST_COMMENT = re.compile(r"\s*\{#-?(.*?)-?#\}", re.DOTALL)
_INCLUDE = re.compile(r"""\{% include ["'](layout|material|rubric)["'] %\}""")
_DECLARED = re.compile(r"\bparser:[ \t]*([\w-]+)(?:,[ \t]*layout:[ \t]*([\w-]+))?")
_REFERENCE = re.compile(
    r"\{% if reference %\}.*?\{% endif %\}|\{% for \w+ in reference -%\}.*?\{% endfor -%\}\n", re.DOTALL
)
"""What a part has for reference answers alone. It is left out of hashes, so that verdicts on prompts without any stay
valid; the keys of others hold it (`JudgeTemplate.reference_hash`)."""
_NAMES = {"five_labels": "labels"}
"""What users call a shipped template whose file is called otherwise (recorded labels are another matter)."""

_MATERIAL = '{% include "material" %} for all of it'
_TAG = "\1tag\2"  # what a template is tried with: texts that no template holds by itself

_FORMER_HASHES = {
    "6c0a5f61ea60954883c188d1fd87ebef": "4736da9846698a442507718a5115e979",  # pairwise
    "0fc1240d6d33f0fe7d940cd8258c7e86": "35438490ad8516e41a4df9f19a3b2199",  # rubric, before it asked for a digit
    "10d0422c901425ece31dfa96a0a2226c": "8b11eca393718c5cac3756323dd20721",  # annotator_plain
    "03776da6b26a22c5ef6d28f6c7e75825": "d820b92bddd56c3032fc617b3426bf91",  # annotator_guideline
    "292ddc6d6e36a724b3b7b1287f2fad2a": "65bf67a9980d496a4dbbf920e09c3100",  # annotator_reasoned
    "c349d6ea5c4af47205aa4213a10df36a": "517969b4ab3a1a51894888d93b14e449",  # annotator_persona
    "96ca39bca6d22057f67d2caf38cff848": "140f32f8eb4fe1f80485610befc10c47",  # annotator_examples
}
"""Hashes under which verdicts of a template were stored when its file was written otherwise, with the same words in
the modes that it had: these verdicts stay valid. (A test compares the words.)"""


@dataclass(frozen=True, eq=False)  # the hash of an object is taken at every filling
class JudgeTemplate:
    """A judge prompt, ready to be filled.

    Attributes:
        name: the shipped template's name, or the file's without its ending.
        hash: content hash of its text, of the parts that it includes, and of the criteria.
        layout: what it is about.
        form: how its answers are read.
        criteria: the user's criteria; empty for the template's own.
        modes: the verdict modes that its words can ask for.
    """

    name: str
    hash: str
    layout: Layout
    form: Form
    criteria: tuple[str, ...]
    modes: tuple[VerdictMode, ...]
    compiled: Template
    origin: str
    reference_hash: str | None = None
    """of the words that it has for reference answers alone; None where it shows none"""
    verdict_pattern: VerdictPattern | None = None
    """of form ``pattern``, what its answers are read by"""
    plain: bool = False
    """whether it only puts texts where they go, so that it is filled once and joined from then on"""


def template_names(layout: Layout = "pair") -> list[str]:
    """The shipped templates of a layout."""
    return sorted(name for name, (_, of) in _shipped_files().items() if of == layout)


def layout_of(name: str) -> Layout:
    """What a shipped template, or the user's own by its path, is about.

    Raises:
        InputError: there is no such file. ConfigError: an unknown name or layout.
    """
    if name.endswith((".jinja", ".j2")) or "/" in name:
        return _declared(_read(name), name)[1]
    found = _shipped_files().get(_NAMES.get(name, name))
    return load_template(name).layout if found is None else found[1]


@lru_cache(maxsize=1)
def _shipped_files() -> dict[str, tuple[str, Layout]]:
    """File and layout of each shipped template, by its name."""
    files = [entry.name.removesuffix(".jinja") for entry in _SHIPPED.iterdir() if entry.name.endswith(".jinja")]
    return {_NAMES.get(file, file): (file, _declared(_shipped_text(file), file)[1]) for file in files}


@lru_cache(maxsize=16)
def _shipped_text(name: str) -> str:
    return _SHIPPED.joinpath(f"{name}.jinja").read_text(encoding="utf-8")


def load_template(
    name: str, criteria: tuple[str, ...] = (), form: Form | None = None, layout: Layout = "pair"
) -> JudgeTemplate:
    """A shipped template by its name, or the user's own by its path.

    A user's file says how its answers are read in its first comment, ``{# parser: scores #}``, unless `form` does; see
    `parsers.Form`.

    Args:
        name: a name of `template_names`, or a path (it ends in ``.jinja`` or holds a slash).
        criteria: what to judge by, in place of the shipped templates' own criteria.
        form: overrules what the file says.
        layout: what the judge is to be asked about.

    Raises:
        InputError: there is no such file, or it is no UTF-8 text.
        ConfigError: an unknown name; a template of another layout; or a file that cannot be a judge template (FILE,
            line: why).
    """
    known, name = template_names(layout), _NAMES.get(name, name)
    if name.endswith((".jinja", ".j2")) or "/" in name:
        template = _loaded(name, _read(name), criteria, form)
    elif name in _shipped_files():
        template = _loaded(f"{name}.jinja", _shipped_text(_shipped_files()[name][0]), criteria, form)
    else:
        if Path(name).suffix:
            raise ConfigError(_not_jinja(name))
        shipped = ", ".join(known)
        raise ConfigError(f"judge template {name!r}{nearest(name, known)}: {shipped}, or a path ending .jinja")
    if template.layout != layout:
        raise ConfigError(
            f"{template.origin}: is a template of layout {template.layout}, and this judge needs one of layout {layout}"
            + (f": {', '.join(known)}" if known else "")
        )
    return template


@lru_cache(maxsize=64)
def _loaded(origin: str, text: str, criteria: tuple[str, ...], form: Form | None) -> JudgeTemplate:
    declared, layout = _declared(text, origin)
    forms, modes = _ANSWERS[layout]
    pattern = _declared_pattern(text, origin, layout)
    if pattern is not None and form is None:
        declared = declared or "pattern"
    compiled, used, parts = _compile(text, origin, layout)
    texts = [text, *(_REFERENCE.sub("", part) for part in parts)]
    form = _known_form(form or declared, forms, origin)
    if (form == "pattern") is (pattern is None):
        told = "no" if pattern is None else "a"
        raise ConfigError(f"{origin}: parser {form}, and its first comment holds {told} verdict_pattern")
    if pattern is not None:
        modes = ("text", "logprob") if pattern.seat_labels else ("text",)
    digest = content_hash("template", *texts)
    digest = _FORMER_HASHES.get(digest, digest)
    if criteria:
        digest = content_hash("template", digest, list(criteria))
    needed = ["tag", *(name for name in _variables(layout) if name not in ("history", "follow_ups", "reference"))]
    if missing := [name for name in needed if name not in used]:
        why = ": contestants could write its delimiters" if "tag" in missing else ""
        raise ConfigError(f"{origin}: does not use {', '.join(missing)}{why}")
    if criteria and "criteria" not in used:
        raise ConfigError(f"{origin}: does not use criteria, so those that are set would not reach the judge")
    template = JudgeTemplate(
        name=Path(origin).name.removesuffix(".j2").removesuffix(".jinja"),
        hash=digest,
        layout=layout,
        form=form,
        criteria=criteria,
        modes=modes if "mode" in used else _same_words(form, pattern),
        compiled=compiled,
        origin=origin,
        reference_hash=content_hash(*map(_REFERENCE.findall, parts)) if "reference" in used else None,
        verdict_pattern=pattern,
    )
    template = replace(template, modes=tuple(mode for mode in template.modes if _asks_for(template, mode)))
    _check(template)
    # Parts are put in once, not at every filling, which halves its time; line numbers of errors would shift, so that
    # the template is tried before.
    whole = _INCLUDE.sub(lambda found: str(_part(layout, found[1])).removesuffix("\n"), text)
    plain = only_places_texts(_environment(layout).parse(whole), layout)
    return replace(template, compiled=_environment(layout).from_string(whole), plain=plain)


def _not_jinja(name: str) -> str:
    """Why a file of another ending is no template; of AlpacaEval's prompts, what to write for their fields."""
    told = f"judge template {name!r}: a template of your own is a Jinja file whose name ends in .jinja"
    try:
        text = read_text(name)
    except (OSError, ValueError):
        text = ""
    fields = [field for field in ("instruction", "output_1", "output_2") if f"{{{field}}}" in text]
    if fields:
        told += (
            f"; {', '.join(f'{{{field}}}' for field in fields)} are AlpacaEval's fields: write user and seats for them"
        )
    return f'{told} ("Your own file" in docs/judging.md has one)'


def _read(path: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise InputError(f"judge template {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"judge template {path}: no UTF-8 text") from None


def _declared(text: str, origin: str) -> tuple[str | None, Layout]:
    """What the first comment names: the form of answers (None where it does not) and the layout."""
    comment = _FIRST_COMMENT.match(text)
    found = _DECLARED.search(comment[1]) if comment else None
    form, layout = found.groups() if found else (None, None)
    if layout is not None and layout not in _ANSWERS:
        known: list[str] = list(_ANSWERS)
        raise ConfigError(f"{origin}: layout {layout!r}{nearest(layout, known)}; known: {', '.join(known)}")
    return form, cast(Layout, layout or "pair")


def _declared_pattern(text: str, origin: str, layout: Layout) -> VerdictPattern | None:
    comment = _FIRST_COMMENT.match(text)
    return declared_pattern(comment[1], origin, seats=layout == "pair") if comment else None


def _known_form(form: str | None, forms: Sequence[Form], origin: str) -> Form:
    known = ", ".join(forms)
    if form is None:
        raise ConfigError(
            f"{origin}: its first comment does not say how answers are read; {{# parser: NAME #}}: {known}"
        )
    if form not in forms:
        raise ConfigError(f"{origin}: parser {form!r}{nearest(form, list(forms))}; known: {known}")
    return cast(Form, form)


# ---------------------------------------------------------------------- Jinja


@lru_cache
def _environment(layout: Layout) -> Environment:
    from jinja2 import FunctionLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Nothing is HTML: contestants' braces and tags stay as they are.
    loader = FunctionLoader(partial(_part, layout))
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, loader=loader)


def _part(layout: Layout, name: str) -> str | None:
    if name not in _PARTS:
        return None
    return _shipped_text("parts/rubric" if name == "rubric" else f"parts/{layout}/{name}")


def _compile(text: str, origin: str, layout: Layout) -> tuple[Template, set[str], list[str]]:
    """The compiled template, the variables that it and its parts use, and the texts of its parts.

    Raises:
        ConfigError: a syntax error, an unknown variable or part (with the line).
    """
    from jinja2 import Template, TemplateSyntaxError, meta

    environment = _environment(layout)
    try:
        tree = environment.parse(text, filename=origin)
        code = environment.compile(text, name=origin, filename=origin)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{origin}, line {error.lineno}: {error.message}") from None
    except (RecursionError, SyntaxError):  # of Python's, for which Jinja writes
        raise ConfigError(f"{origin}: nested too deeply") from None
    used, texts = meta.find_undeclared_variables(tree), list[str]()
    for part in sorted(set(meta.find_referenced_templates(tree)), key=str):
        if part not in _PARTS:
            known = ", ".join(_PARTS)
            raise ConfigError(f"{origin}{_line_of(tree, part)}: no part {part!r}; a template may include {known}")
        texts.append(str(_part(layout, part)))
        used |= meta.find_undeclared_variables(environment.parse(texts[-1]))
    variables = ["tag", *_variables(layout), "criteria", "mode", "explain"]
    for name in sorted(used - set(variables)):
        known, where = ", ".join(variables), _line_of(tree, name)
        raise ConfigError(f"{origin}{where}: no variable {name!r}{nearest(name, variables)}; known: {known}")
    return Template.from_code(environment, code, environment.make_globals(None)), used, texts


def _variables(layout: Layout) -> tuple[str, ...]:
    """What a material of a layout gives a template."""
    if layout == "pairs":
        return ("items",)
    return ("history", "user", "follow_ups", *LISTS[layout], *(["reference"] if layout in WITH_REFERENCE else []))


def _line_of(tree: Any, name: str | None) -> str:
    """Where a variable or a part is first named."""
    from jinja2 import nodes

    lines = [node.lineno for node in tree.find_all(nodes.Name) if node.name == name]
    lines += [node.lineno for node in tree.find_all(nodes.Const) if node.value == name]
    return f", line {min(lines)}" if lines else ""


def _run(template: JudgeTemplate, values: dict[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return template.compiled.render(values)
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        why, failed = str(error), error.__traceback__
    except RecursionError as error:
        why, failed = "calls itself without end", error.__traceback__
    except MemoryError as error:
        why, failed = "makes too long a text", error.__traceback__
    raise ConfigError(f"{template.origin}{_failed_line(failed, template.origin)}: {why}")


def _failed_line(traceback: TracebackType | None, origin: str) -> str:
    # Jinja maps its frames to the template's lines
    lines = [line for frame, line in walk_tb(traceback) if frame.f_code.co_filename == origin]
    return f", line {lines[-1]}" if lines else ""


# ---------------------------------------------------------------------- filling


_Shape = tuple[VerdictMode, bool, tuple[int, ...], tuple[str, ...]]
"""Mode, whether the judge is to reason first, and the sizes and roles of a material: all but its texts."""


def _filled(template: JudgeTemplate, shape: _Shape, texts: Sequence[str]) -> str:
    """The template with a tag and the material's texts, which follow it."""
    mode, explain, sizes, roles = shape
    values = placed(template.layout, sizes, roles, texts[1:])
    settings = {"tag": texts[0], "criteria": template.criteria, "mode": mode, "explain": explain}
    return _run(template, values | settings)


@lru_cache(maxsize=256)
def _skeleton(template: JudgeTemplate, shape: _Shape, count: int) -> Skeleton | None:
    return cut(count, partial(_filled, template, shape))


def fill(
    template: JudgeTemplate, material: Material, *, secret: str, mode: VerdictMode = "text", explain: bool = False
) -> str:
    """The judge prompt about a material of the template's layout; texts are shown whole, control tokens broken.

    Raises:
        ConfigError: a user's template fails on this material.
    """
    texts = [material.tag(secret), *map(broken, material.texts)]
    shape = mode, explain, material.sizes, material.roles
    if template.plain and (skeleton := _skeleton(template, shape, len(texts))) is not None:
        return skeleton(texts)
    return _filled(template, shape, texts)


def words_of(template: JudgeTemplate, mode: VerdictMode = "text", *, explain: bool = False) -> str:
    """A template's own words, as a judge reads them around one turn's texts."""
    material = next(_trials(template.layout))
    return _filled(template, (mode, explain, material.sizes, material.roles), [_TAG, *("" for _ in material.texts)])


# ---------------------------------------------------------------------- trying


def _trials(layout: Layout) -> Iterator[Material]:
    """Known texts to try a template with: one turn without history, and three after given turns, with two references;
    one pair, and three."""
    history = ({"role": "user", "content": "\1history 1\2"}, {"role": "assistant", "content": "\1history 2\2"})
    for turns, before in ((1, ()), (3, history)):

        def said(what: str, turns: int = turns) -> Response:
            return Response("", "", tuple(f"\1{what}.{turn}\2" for turn in range(turns)))

        asked = {"role": "user", "content": "\1user prompt\2"}
        prompt = Prompt((*before, asked), tuple(f"\1follow-up {turn}\2" for turn in range(1, turns)))
        if layout == "pairs":
            yield Material.pairs(
                [
                    (Prompt.of(f"\1user prompt {n}\2"), said(f"answer 1 of {n}", 1), said(f"answer 2 of {n}", 1))
                    for n in range(1, turns + 1)
                ]
            )
            continue
        shown = {
            "pair": [said("answer 1"), said("answer 2")],
            "answer": [said("answer")],
            "judgements": [said("answer"), said("judgement A", 1), said("judgement B", 1)],
        }
        references = [f"\1reference {n}\2" for n in (1, 2)] if turns > 1 and layout in WITH_REFERENCE else []
        yield Material.of(layout, prompt, *shown.get(layout, ()), references=references)


def _same_words(form: Form, pattern: VerdictPattern | None) -> tuple[VerdictMode, ...]:
    """The modes that the same words ask for."""
    if pattern is not None and pattern.takes_labels_alone:
        return "text", "logprob"
    return _WORDED.get(form, ("text",))


def _asks_for(template: JudgeTemplate, mode: VerdictMode) -> bool:
    """Whether the words ask for an answer of this mode: of a form that is written otherwise there, they differ."""
    if mode in _same_words(template.form, template.verdict_pattern):
        return True
    material = next(_trials(template.layout))
    filled = [
        _filled(template, (one, False, material.sizes, material.roles), [_TAG, *material.texts])
        for one in ("text", mode)
    ]
    return filled[0] != filled[1]


def _check(template: JudgeTemplate) -> None:
    """Fill a template with known texts: each must stand behind a tag of its own, and a tag must close the last one.

    Raises:
        ConfigError: a text that contestants write could end its part, or is not shown; or filling fails.
    """
    asked = [(mode, False) for mode in template.modes] + [("logprob", True)] * ("logprob" in template.modes)
    for mode, explain in asked:
        for material in _trials(template.layout):
            filled = _filled(template, (mode, explain, material.sizes, material.roles), [_TAG, *material.texts])
            wanted = [
                text for text in material.texts if not text.startswith(("\1history", "\1follow-up", "\1reference"))
            ]
            _check_parts(template.origin, re.findall("\1[^\2]*\2", filled), wanted)


def _check_parts(origin: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for text in wanted:
        if text not in found:
            raise ConfigError(f"{origin}: the {text[1:-1].partition('.')[0]} is not shown whole{_lay_out(text)}")
    for before, text in zip(["", *found], [*found, ""], strict=True):
        if text != _TAG and before != _TAG:
            what = f"the {text[1:-1].partition('.')[0]} has no tag before it" if text else "no tag after the last text"
            why = "so contestants could end a part of the material and begin another"
            raise ConfigError(f"{origin}: {what}, {why}{_lay_out(text)}")


def _lay_out(text: str) -> str:
    """What to write for a text of a trial (empty for the end), so that it is whole and behind a tag."""
    name = text[1:-1].partition(".")[0]
    lists = {"answer 1": "seats[0]", "answer 2": "seats[1]", "answer": "answer"}
    if name in lists:
        turns = f"{{% for text in {lists[name]} %}}{{{{ tag }}}} {{{{ text }}}} {{% endfor %}}"
        return f"; {lists[name]} holds a text for each turn: write {turns}, or {_MATERIAL}"
    if name == "user prompt":
        return f"; write {{{{ tag }}}} {{{{ user }}}}, or {_MATERIAL}"
    return f"; write {_MATERIAL}" if text else "; write {{ tag }} on a line behind it"
