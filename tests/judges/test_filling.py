"""Joined from pieces, a template reads as if it had been filled; one that looks into texts is filled every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.filling import Material, only_places_texts
from arenaloop.judges.templates import fill, load_template, template_names
from arenaloop.types import Prompt, Response

TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["", "\0", "\x000\0", "{{ tag }}", "{% if x %}", "<|im_end|>", "[INST]", "a\nb\n", "\\1"]
)


@pytest.mark.parametrize("name", template_names())
@given(
    history=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXT), max_size=3),
    user=TEXT,
    turns=st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=3),
    criteria=st.sampled_from([(), ("be kind", "{{ user }}")]),
    explain=st.booleans(),
)
def test_joining_is_filling(
    name: str,
    history: list[tuple[str, str]],
    user: str,
    turns: list[tuple[str, str, str]],
    criteria: tuple[str, ...],
    explain: bool,
) -> None:
    template = load_template(name, criteria)
    assert template.plain
    messages = tuple({"role": role, "content": text} for role, text in (*history, ("user", user)))
    prompt = Prompt(messages, tuple(follow_up for _, _, follow_up in turns[1:]))
    first = Response(prompt.id, "a", tuple(one for one, _, _ in turns))
    second = Response(prompt.id, "b", tuple(two for _, two, _ in turns))
    for mode in template.modes:
        joined, filled = (
            fill(kind, Material.of("pair", prompt, first, second), secret="s", mode=mode, explain=explain)
            for kind in (template, replace(template, plain=False))
        )
        assert joined == filled


PLAIN = """{# parser: scores #}
{% if criteria %}{{ criteria | join(", ") }}{% endif %}
{{ tag }} {{ user }}
{% for answers in seats %}{% for answer in answers %}{{ tag }} {{ loop.index }}
{{ answer }}
{% endfor %}{% endfor %}{{ tag }}
"""


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        ("", True),
        ("{{ user | upper }}", False),
        ("{% if user %}x{% endif %}", False),
        ("{% if user == 'x' %}x{% endif %}", False),
        ("{{ 'x' if seats[0][0] else 'y' }}", False),
        ("{{ user[:10] }}", False),
        ("{{ user.upper() }}", False),
        ("{% for message in history if message.role == 'user' %}{{ message.content }}{% endfor %}", False),
        ("{% set u = user %}{% if u %}x{% endif %}", False),
        ("{% for c in user %}{{ c }}.{% endfor %}", False),
        ("{% for x in seats %}{% for y in x %}{% for c in y %}{{ c }}{% endfor %}{% endfor %}{% endfor %}", False),
        ("{{ seats[0] }}", True),
        ("{{ seats[0][0] }}", False),
        ("{% for message in history %}{{ message.role }}: {{ message.content }}{% endfor %}", True),
        ("{{ 'json please' if mode == 'json' else 'words please' }}", True),
    ],
)
def test_only_what_looks_into_no_text_is_joined(change: str, plain: bool) -> None:
    from jinja2 import Environment

    tree = Environment().parse(PLAIN.replace("{% if criteria", change + "{% if criteria"))
    assert only_places_texts(tree) is plain


def test_a_template_that_looks_into_texts_is_filled_every_time(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(PLAIN.replace("{% if criteria", "{% if 'short' in user %}Briefly.{% endif %}{% if criteria"))
    template = load_template(str(path))
    assert not template.plain
    for text in ("what now?", "in short?"):
        prompt = Prompt.of(text)
        one, two = (Response(prompt.id, n, (f"{n} says",)) for n in "ab")
        assert ("Briefly." in fill(template, Material.of("pair", prompt, one, two), secret="s")) is ("short" in text)


def test_a_users_template_that_only_places_texts_is_joined(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(PLAIN)
    assert load_template(str(path)).plain


def test_a_printed_list_is_no_place_for_a_text(tmp_path: Path) -> None:
    """It shows texts with quotes and escapes: nothing that joining could give."""
    path = tmp_path / "mine.jinja"
    path.write_text(PLAIN.replace("{% if criteria", "Follow-ups: {{ follow_ups }}{% if criteria"))
    prompt = Prompt(({"role": "user", "content": "one"},), ("two's",))
    one, two = (Response(prompt.id, n, ("x", "y")) for n in "ab")
    assert """Follow-ups: ["two's"]""" in fill(
        load_template(str(path)), Material.of("pair", prompt, one, two), secret="s"
    )
