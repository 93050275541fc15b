"""The steps that look at each row once, each by hand."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.cleaning.rows import Drop, Row, prompt_rows
from arenaloop.data.cleaning.steps import check_language, length_in, other_language, shared_prefix, too_short, toxic
from arenaloop.data.held_out import Turn
from arenaloop.errors import ConfigError, MissingExtraError
from arenaloop.types import Message, Prompt


def rows(*texts: str | tuple[str, ...]) -> list[Row]:
    """Rows of one user turn, or of several."""
    return [
        Row.of(line, [Turn("user", turn) for turn in ([text] if isinstance(text, str) else text)], {"n": line})
        for line, text in enumerate(texts, 1)
    ]


def lines(stay: Iterable[Row]) -> list[int]:
    return [row.line for row in stay]


def test_a_filter_sees_whole_conversations_and_may_say_why() -> None:
    seen: list[list[Message]] = []

    def is_toxic(conversations):
        seen.extend(conversations)
        return ["hate" if "bad" in one[0]["content"] else False for one in conversations]

    dropped: list[Drop] = []
    talk = [Turn("user", "a bad word"), Turn("assistant", "no")]
    stay = lines(toxic([*rows("fine"), Row.of(2, talk, {})], dropped.append, is_toxic))
    assert stay == [1]
    assert [(one.row.line, one.step, one.why) for one in dropped] == [(2, "toxic", "hate")]
    assert seen[1] == [{"role": "user", "content": "a bad word"}, {"role": "assistant", "content": "no"}]


def test_a_filter_is_asked_as_rows_are_drawn() -> None:
    asked: list[int] = []

    def is_toxic(conversations):
        asked.append(len(conversations))
        return [False] * len(conversations)

    stream = toxic(rows(*["some text"] * 600), lambda _: None, is_toxic)
    next(stream)
    assert asked == [256]
    assert sum(1 for _ in stream) == 599
    assert asked == [256, 256, 88]


@pytest.mark.parametrize(
    ("unit", "text", "length"),
    [
        ("char", "  123456789 ", 9),
        ("char", ("12345", " 67890\n"), 10),  # all turns of the user's together
        ("word", "one two, three!", 3),
        ("word", ("one", "two three"), 3),
        ("word", "你好世界", 2),  # of a script without blanks two characters are a word
        ("token", ("ab cd", "ef"), 3),
    ],
)
def test_lengths_by_hand(unit: str, text: str | tuple[str, ...], length: float) -> None:
    assert length_in(unit, lambda said: len(said.split()))(rows(text)[0]) == length


def test_the_answer_is_no_part_of_a_length() -> None:
    talk = Row.of(1, [Turn("system", "x" * 50), Turn("user", "hi"), Turn("assistant", "x" * 50)], {})
    assert length_in("char")(talk) == 2


def test_too_short_says_how_short() -> None:
    dropped: list[Drop] = []
    stay = too_short(rows("123456789", "1234567890"), dropped.append, 10, length_in("char"), "char")
    assert lines(stay) == [2]
    assert dropped[0].why == "9 chars"


TEN = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize(
    ("first", "second", "similarity"),
    [
        (f"{TEN} eleven", f"{TEN} twelve", None),
        (TEN, f"{TEN.upper()}?", 1.0),
        (f"{TEN} more", f"  **{TEN}** more", 1.0),
        ("hi there", "Hi, there!", 1.0),
        ((TEN, "yes"), (TEN, "no"), None),
        (("a b", "c d"), ("A b.", "c d"), 1.0),
    ],
)
def test_shared_beginnings(first, second, similarity: float | None) -> None:
    dropped: list[Drop] = []
    assert lines(shared_prefix(rows(first, second), dropped.append, 10, "word")) == [1]
    assert [(one.partner, one.similarity) for one in dropped] == [(1, similarity)]
    assert dropped[0].why.startswith(
        "begins with the same 10 words" if similarity is None else "the same when normalised"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("one two three four five six seven eight nine", TEN),  # shorter than the prefix: equal or nothing
        (f"zero {TEN}", TEN),
        (("a b", "c d"), "a b c d"),  # asked in two turns
        (("a b", "c d"), ("a b c", "d")),
        ("2 - 1", "2 + 1"),
    ],
)
def test_other_beginnings(first, second) -> None:
    assert lines(shared_prefix(rows(first, second), lambda _: None, 10, "word")) == [1, 2]


def test_a_prefix_of_characters() -> None:
    same = rows("write a poem", "write a poet", "write a song")
    assert lines(shared_prefix(same, lambda _: None, 10, "char")) == [1, 3]


def test_rows_of_one_line_are_told_apart() -> None:
    """A JSON list may stand on one line."""
    same = [Row.of(1, [Turn("user", "what is this")], {}), Row.of(1, [Turn("user", "What is this?")], {})]
    assert len(list(shared_prefix(same, lambda _: None, 10, "word"))) == 1


ENGLISH = "Please explain to me how a refrigerator keeps the food in it cold."
GERMAN = "Bitte erkläre mir, wie ein Kühlschrank die Lebensmittel darin kalt hält."
CHINESE = "请解释一下冰箱是如何让里面的食物保持低温的。"


def test_languages() -> None:
    dropped: list[Drop] = []
    mixed = rows(ENGLISH, GERMAN, CHINESE, "1234 + 5678 = ?")
    assert lines(other_language(mixed, dropped.append, "en", 0.5)) == [1, 4]
    assert [one.why[:13] for one in dropped] == ["written in de", "written in zh"]
    assert lines(other_language(mixed, lambda _: None, "de", 0.5)) == [2, 4]
    assert lines(other_language(mixed, lambda _: None, "en", 1.0))[:1] == [1]


def test_a_language_is_told_by_what_the_user_says() -> None:
    talk = Row.of(1, [Turn("system", GERMAN), Turn("user", ENGLISH), Turn("assistant", GERMAN)], {})
    assert lines(other_language([talk], lambda _: None, "en", 0.5)) == [1]


@pytest.mark.parametrize("code", ["zxx", "english", "EN", ""])
def test_unknown_languages_are_refused(code: str) -> None:
    with pytest.raises(ConfigError, match=f"no language '{code}'"):
        check_language(code)


def test_a_missing_library_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from arenaloop.data.cleaning import steps

    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    steps._identifier.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'arenaloop\[data\]'"):
        check_language("en")
    steps._identifier.cache_clear()


TEXTS = st.lists(st.text(alphabet="ab \n.", max_size=12), max_size=12)


@given(TEXTS, st.integers(1, 4), st.sampled_from(["word", "char"]))
def test_shared_prefix_is_idempotent_and_keeps_the_order(texts: list[str], length: int, unit: str) -> None:
    step = partial(shared_prefix, length=length, unit=unit)
    dropped: list[Drop] = []
    once = list(step(prompt_rows(map(Prompt.of, texts)), dropped.append))
    assert list(step(once, lambda _: None)) == once
    assert lines(once) == sorted(lines(once))
    assert len(once) + len(dropped) == len(texts)
    stay = set(lines(once))
    assert all(one.partner in stay and one.partner < one.row.line for one in dropped)
